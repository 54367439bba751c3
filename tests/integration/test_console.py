"""What every answer of the console has: over a real socket, with a real database."""

import hashlib

import pytest

from ingest.console.assets import address, assets
from tests.support.console import console
from tests.support.source import ROOT
from workers.store.store import Store

VENDORED = ROOT / "ingest" / "console" / "static" / "vendor"


@pytest.fixture
def environ(database: str) -> dict[str, str]:
    return {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"}


async def test_a_page_loads_only_our_own_files_and_is_kept_by_nobody(environ: dict[str, str]) -> None:
    async with console(environ) as client:
        answer = await client.get("/")
        text = await answer.text()
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        for part in ("<script>", "style=", " onclick", "http://", "https://"):
            assert part not in text


async def test_what_is_not_there_is_said_in_a_page(environ: dict[str, str]) -> None:
    async with console(environ) as client:
        answer = await client.get("/<script>alert(1)</script>")
        assert answer.status == 404
        assert "There is no such page" in (text := await answer.text())
        assert "<script>alert" not in text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/handler?name=x&before={'9' * 5000}", 404),
        ("/audit?who=%00&action=%00", 200),
        ("/dead-letter/abcd?handler=%00", 404),
        ("/erase?recipient=jan%00@example.nl", 400),
    ],
)
async def test_what_no_database_can_hold_is_no_fault_of_ours_or_the_databases(
    environ: dict[str, str], store: Store, redis_url: str, path: str, status: int
) -> None:
    async with console({**environ, "REDIS_URL": redis_url}) as client:
        assert (await client.get(path)).status == status


async def test_an_action_that_no_page_of_ours_sent_is_refused(environ: dict[str, str]) -> None:
    async with console(environ) as client:
        assert (await client.post("/", data={"_csrf": "guessed"})).status == 403


@pytest.mark.parametrize(("asked", "word"), [("nl-BE,en;q=0.5", "Nu"), ("de,en;q=0.9,nl;q=0.1", "Now")])
async def test_a_page_is_in_the_browsers_language(environ: dict[str, str], asked: str, word: str) -> None:
    async with console(environ, **{"Accept-Language": asked}) as client:
        assert f"<h1>{word}</h1>" in await (await client.get("/")).text()


async def test_a_file_is_kept_for_good_under_its_hash(environ: dict[str, str]) -> None:
    async with console(environ) as client:
        answer = await client.get(address("console.css"))
        assert (answer.status, "immutable" in answer.headers["Cache-Control"]) == (200, True)
        for path in (
            address("console.css").replace(assets()["console.css"].mark, "0" * 12),
            "/static/x/../app.py",
        ):
            assert (await client.get(path)).status == 404


def test_what_others_made_is_as_they_published_it() -> None:
    listed = dict(line.split()[::-1] for line in (VENDORED / "SHA256SUMS").read_text().splitlines())
    there = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VENDORED.glob("*.[jc]s*")}
    assert there == listed
    assert {file.name.partition("-")[0] for file in VENDORED.glob("*.js")} <= {
        file.name.partition(".")[0].partition("-")[0] for file in VENDORED.glob("*.LICENSE")
    }
