"""The pages of mailings: over a real socket, with a real database."""

import pytest
from aiohttp.test_utils import TestClient

from ingest.copernica.api.results import Product
from ingest.copernica.api.statistics import read_emailing
from ingest.copernica.events import EventType
from tests.support.builders import NINE, SECOND, event
from tests.support.cli import typed
from tests.support.console import console
from workers.mailings import names
from workers.mailings.refresh import refresh
from workers.store.store import Store

HOSTILE = '"><script>alert(1)</script>\u202e'


@pytest.fixture
def environ(database: str) -> dict[str, str]:
    return {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"}


def send(store: Store, mailing: int, first: int, at: int = NINE) -> None:
    kinds = [EventType.DELIVERY] * 4 + [EventType.OPEN] * 3 + [EventType.CLICK, EventType.FAILURE]
    store.add(
        [
            event(
                first + number, type=kind, mailing=mailing, message_id=f"{mailing}-{number % 4}",
                occurred_at=at + number * 600 * SECOND, url="https://a.example/" + HOSTILE, tags=[HOSTILE, "news"],
                description=HOSTILE, user_agent=HOSTILE,
            )
            for number, kind in enumerate(kinds)
        ]
    )  # fmt: skip  # a list to be read across
    emailing = read_emailing({"id": mailing, "subject": HOSTILE, "template": 3, "destinations": 10})
    assert emailing is not None
    names.keep(store, Product.MARKETING_SUITE, [emailing])


async def text_of(client: TestClient, path: str, status: int = 200) -> str:  # type: ignore[type-arg]
    answer = await client.get(path)
    assert answer.status == status, path
    return await answer.text()


async def test_an_empty_page_says_what_to_do(environ: dict[str, str]) -> None:
    async with console(environ) as client:
        assert "ingest webhooks list" in await text_of(client, "/mailings")
        assert "Choose mailings to compare" in await text_of(client, "/mailings/compare")
        assert "Nothing is known of this mailing" in await text_of(client, "/mailing/7", 404)
        assert "No mailing has this tag" in await text_of(client, "/mailings/tag?name=x", 404)


async def test_what_comes_from_outside_stays_text_everywhere(environ: dict[str, str], store: Store) -> None:
    for number in (7, 8):
        send(store, number, number * 100, NINE + number * 3600 * SECOND)
    refresh(store, 9)
    async with console(environ) as client:
        for path in ("/mailings", "/mailing/7", "/mailings/compare?m=7&m=8", "/mailings/tag?name=news"):
            text = await text_of(client, path)
            assert "alert(1)" in text
            assert "<script>alert" not in text
            assert "\u202e" not in text
        text = await text_of(client, "/mailing/7")
        assert "75.0%" in text, "three of four that were delivered were opened"
        assert "data-chart=" in text
        listed = await text_of(client, "/mailings")
        assert listed.index("/mailing/8") < listed.index("/mailing/7"), "the newest first"


async def test_a_list_goes_on_where_a_page_ended(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add([event(n, mailing=n, occurred_at=NINE + n // 2 * 3600 * SECOND) for n in range(1, 8)])
    refresh(store, 9)
    monkeypatch.setattr("workers.mailings.listing.mailings.__defaults__", (None, 3))
    seen: list[str] = []
    async with console(environ) as client:
        path: str | None = "/mailings"
        while path:
            text = await text_of(client, path)
            seen += [part.partition('"')[0] for part in text.split('data-open href="/mailing/')[1:]]
            _, _, rest = text.partition('href="/mailings?after=')
            path = f"/mailings?after={rest.partition(chr(34))[0]}" if rest else None
    assert seen == ["7", "6", "5", "4", "3", "2", "1"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("/mailings?number=abc", 200),
        ("/mailings?number=99999999999999999999", 200),
        ("/mailings?after=x", 200),
        ("/mailings/compare?m=1&m=2&m=3&m=4&m=5&m=<b>", 200),
        ("/mailing/999999999999999999", 404),
        ("/mailing/9999999999999999999999", 404),
        ("/mailings/tag?name=%00", 404),
        ("/mailings/tag?name=" + "x" * 5000, 404),
    ],
)
async def test_a_wrong_address_is_answered_by_a_page(environ: dict[str, str], asked: str, status: int) -> None:
    async with console(environ) as client:
        await text_of(client, asked, status)


async def test_a_number_leads_to_its_mailing(environ: dict[str, str]) -> None:
    async with console(environ) as client:
        answer = await client.get("/mailings?number=%2390210", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/mailing/90210")


def test_the_command_shows_the_same(environ: dict[str, str], store: Store) -> None:
    send(store, 7, 1)
    listed = typed("mailings", environ=environ)
    assert (listed.exit_code, "7" in listed.stdout) == (0, True)
    one = typed("mailings", "7", environ=environ)
    assert "75.0%" in one.stdout
    assert '"rate":0.75' in typed("mailings", "7", "--json", environ=environ).stdout.replace(" ", "")
    assert typed("mailings", "8", environ=environ).exit_code == 1
