"""The page that shows who did what, and the command beside it."""

import json
import re

import pytest

from ingest.cli.audit import person
from tests.support.cli import typed
from tests.support.console import console
from workers.operations import audit
from workers.store.console_tables import audit as table
from workers.store.store import Store


@pytest.fixture
def environ(database: str) -> dict[str, str]:
    return {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"}


async def test_the_page_shows_what_was_done_and_by_whom_and_goes_on_by_a_cursor(
    environ: dict[str, str], store: Store
) -> None:
    async with console(environ) as client:
        assert "Nobody has done anything yet" in await (await client.get("/audit")).text()
        for number in range(51):
            who = "piet" if number % 2 else "<script>jan\x1b"
            audit.noted(store, who, audit.CONSOLE, "retry", {"handler": f"h{number}"}, lambda: 3, "192.0.2.7")
        text = await (await client.get("/audit")).text()
        assert "&lt;script&gt;jan\\x1b" in text
        assert "192.0.2.7" in text
        assert ">h50<" in text
        assert ">h0<" not in text
        (further,) = re.findall(r"/audit\?before=\d+", text)
        assert ">h0<" in await (await client.get(further)).text()
        one = await (await client.get("/audit?who=piet&action=retry")).text()
        assert ">h49<" in one
        assert ">h50<" not in one
        assert "Nobody did that" in await (await client.get("/audit?who=nobody&action=x&before=zz")).text()


def test_a_command_is_written_down_with_who_typed_it(environ: dict[str, str], store: Store) -> None:
    assert typed("failed", "drop", "--handler", "a", "--yes", environ=environ).exit_code == 0
    assert typed("pause", "events", environ=environ).exit_code == 1  # Redis is away
    rows = [json.loads(line) for line in typed("audit", "--json", environ=environ).stdout.splitlines()]
    assert [(row["action"], row["who"], row["via"], row["affected"]) for row in rows] == [
        ("pause", person(), "command", None),
        ("drop", person(), "command", 0),
    ]
    assert rows[0]["error"]
    assert rows[1]["what"] == {"handler": "a"}
    (line,) = typed("audit", "--action", "drop", environ=environ).stdout.splitlines()[1:]
    assert "handler=a" in line


def test_a_command_is_done_where_the_audit_cannot_be_written(redis_url: str) -> None:
    away = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d", "REDIS_URL": redis_url}
    assert typed("pause", "events", environ=away).exit_code == 0
    assert typed("resume", environ=away).exit_code == 0


@pytest.mark.parametrize("dry", [True, False])
def test_who_was_erased_is_not_kept_in_the_audit(environ: dict[str, str], store: Store, dry: bool) -> None:
    how = "--dry-run" if dry else "--yes"
    done = typed("erase", "--recipient", "Jan@Example.nl", how, environ=environ)
    assert done.exit_code == 0
    found = audit.entries(store, 10)
    assert [one.action for one in found] == ([] if dry else ["erase"])
    assert "xample" not in str(found)


@pytest.mark.parametrize(
    "said",
    [
        {"recipient": "jan@example.nl"},
        {"filter": {"address": "jan", "error": "550 <jan@example.nl> is unknown"}},
        {"path": "/x?to=jan%40example.nl", "tags": ["a", "to:jan@example.nl"]},
        {"who": "jan\uff20example.nl", "long": "x" * 5000 + "jan@example.nl", "null": "\x00jan@example.nl"},
    ],
)
def test_no_address_is_kept_whatever_is_written_down(store: Store, said: dict[str, object]) -> None:
    with pytest.raises(ZeroDivisionError):
        audit.noted(store, "piet", audit.CONSOLE, "replay", said, lambda: 1 // 0)
    (entry,) = audit.entries(store, 1)
    assert "example.nl" not in str(entry)
    assert entry.error == "ZeroDivisionError"


def test_old_actions_are_forgotten(store: Store) -> None:
    audit.noted(store, "jan", audit.CONSOLE, "retry", {}, lambda: 1)
    began = audit.entries(store, 1)[0].began_at // 1_000_000
    assert audit.expire(store, began + (audit.KEPT_DAYS - 1) * 86400) == 0
    assert audit.expire(store, began + (audit.KEPT_DAYS + 1) * 86400) == 1
    with store.reading() as connection:
        assert connection.execute(table.select()).all() == []
