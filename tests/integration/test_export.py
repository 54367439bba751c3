"""Days of events as files: what is in them, what a second run writes, and what a kill leaves."""

import csv
import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingest.cli.audit import noted
from ingest.copernica.events import DAY, EventType
from ingest.errors import Unavailable
from ingest.settings import Settings
from tests.support.builders import FORM, NINE, SECOND, delivery_id, event
from tests.support.cli import typed
from workers.export.day import Exported
from workers.export.run import export
from workers.export.targets import LOCK, Folder, Stored
from workers.operations.audit import entries
from workers.operations.erase import erase
from workers.store.filters import Filter
from workers.store.rows import folded_recipient
from workers.store.store import Store

pytestmark = pytest.mark.slow
FOLDER = "day=2026-11-20"
NEXT = NINE + DAY * SECOND

#: Whatever a driver or a format may stumble over.
ODD = [
    event(10, recipient='Zoë "de" V, <zoë@exämple.nl>', description='a\nb\r\n,"c";\'=1+1', url="", referer=None),
    event(11, user_agent="", state="null", extended="\\x00", payload={"a": {"b": [1, None, "é"]}, "c": None}),
    event(12, tags=[], raw=b'a=1&a=%ff\xff"', raw_type=FORM, code=-(2**63), profile=2**63 - 1),
    event(13, occurred_at=NINE + 999_999, received_at=NINE + DAY * SECOND, message_id=None, code=None, mailing=0),
]


def settings_for(store: Store, **more: str) -> Settings:
    return Settings.read({"DATABASE_URL": store.engine.url.render_as_string(hide_password=False), **more})


def run(store: Store, path: Path, form: str = "parquet", **more: Any) -> list[Exported]:
    return list(export(settings_for(store), Folder(path), form, **more))


def manifest(path: Path, form: str = "parquet") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / FOLDER / f"_manifest-{form}.json").read_bytes())
    return found


def exported(path: Path) -> dict[bytes, dict[str, Any]]:
    """All rows of a target, by DuckDB; each event is there once."""
    query = f"SELECT * EXCLUDE (day) FROM read_parquet('{path}/*/*.parquet', hive_partitioning=true)"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        answer = connection.execute(query)
        names = [column[0] for column in answer.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    assert len({row["delivery_id"] for row in rows}) == len(rows)
    return {row["delivery_id"]: row for row in rows}


def stored(store: Store) -> dict[bytes, dict[str, Any]]:
    """The same of the store."""
    return {found.delivery_id: found._asdict() for found in store.find(Filter())}


def same(row: dict[str, Any], event: dict[str, Any]) -> bool:
    """Whether a row of a file says what an event of the store does."""
    at = {name: int(row[name].timestamp() * 1_000_000 + 0.5) for name in ("occurred_at", "received_at")}
    own = {**row, **at, "payload": event["payload"] if event["raw"] else json.loads(row["payload"])}
    own.pop("folded_recipient")
    return own == event


def test_what_is_read_back_is_what_the_store_has(store: Store, tmp_path: Path) -> None:
    store.add([event(1), event(2, type=EventType.CLICK, url="https://example.nl/"), *ODD])
    store.add([event(3, occurred_at=NEXT, delivery_id=delivery_id(3, NEXT))])
    done = run(store, tmp_path / "to")
    found, have = exported(tmp_path / "to"), stored(store)
    assert found.keys() == have.keys()
    assert [key for key in have if not same(found[key], have[key])] == []
    assert found[delivery_id(10)]["folded_recipient"] == folded_recipient(ODD[0].recipient or "")
    assert [(one.day.day, one.rows) for one in done] == [(20, 6), (21, 1)]


def test_large_events_are_read_too_apart_from_the_others(store: Store, tmp_path: Path) -> None:
    """A few at a time, behind the others: there need not be memory for thousands of that size."""
    lengths = [10, 100_000, 4000, 5000, 10, 20_000]
    store.add([event(n, occurred_at=NINE + n, description="é" * length) for n, length in enumerate(lengths)])
    run(store, tmp_path / "to")
    found, have = exported(tmp_path / "to"), stored(store)
    assert [key for key in have if not same(found[key], have[key])] == []


def reading() -> list[str]:
    """The threads that read what is written next."""
    return [one.name for one in threading.enumerate() if one.name.startswith("reading")]


def test_who_takes_no_further_day_leaves_nothing_open_behind(store: Store, tmp_path: Path) -> None:
    store.add([event(n, occurred_at=NINE + n * DAY * SECOND) for n in range(4)])
    days = export(settings_for(store), Folder(tmp_path / "to"), "parquet")
    assert next(days).rows == 1
    assert reading(), "the next day is not read meanwhile"
    days.close()  # type: ignore[attr-defined]
    assert reading() == []
    assert [one.name for one in (tmp_path / "to").glob("**/*.tmp")] == []
    assert len(list(export(settings_for(store), Folder(tmp_path / "to"), "parquet"))) == 4


def test_a_day_that_cannot_be_read_costs_none_of_those_before(store: Store, tmp_path: Path) -> None:
    store.add([event(n, occurred_at=NINE + n * DAY * SECOND) for n in range(3)])
    (tmp_path / "to" / "day=2026-11-22").mkdir(parents=True)
    (tmp_path / "to" / "day=2026-11-22" / "_manifest-parquet.json").write_text('{"version": 99, "columns": 1}')
    with pytest.raises(Unavailable, match="A later release"):
        run(store, tmp_path / "to")
    assert len(exported(tmp_path / "to")) == 2


def test_nothing_is_read_while_others_have_their_turn(store: Store, tmp_path: Path) -> None:
    store.add([event(n, occurred_at=NINE + n * DAY * SECOND) for n in range(3)])
    seen = list[list[str]]()
    run(store, tmp_path / "to", breathe=lambda: seen.append(reading()))
    assert len(seen) >= 3
    assert [names for names in seen if names] == []


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_text_says_what_events_print(store: Store, tmp_path: Path, form: str) -> None:
    store.add([event(1), *ODD])
    run(store, tmp_path / "to", form)
    text = gzip.decompress((tmp_path / "to" / FOLDER / f"open.{form}.gz").read_bytes()).decode()
    printed = typed("events", "--format", form, environ={"DATABASE_URL": settings_for(store).database}).stdout
    assert text == printed
    assert manifest(tmp_path / "to", form)["rows"] == 5
    assert form != "csv" or len(list(csv.reader(text.splitlines(keepends=True)))) == 6


def test_a_second_run_writes_nothing_and_a_later_one_what_has_changed(store: Store, tmp_path: Path) -> None:
    to = tmp_path / "to"
    store.add([event(1), event(2, type=EventType.CLICK)])
    run(store, to)
    before = {one: one.stat().st_mtime_ns for one in to.glob("*/*")}
    assert [one.changed for one in run(store, to)] == [False]
    assert {one: one.stat().st_mtime_ns for one in to.glob("*/*")} == before
    # A call of that day that came late.
    store.add([event(3, type=EventType.CLICK, delivery_id=delivery_id(3, NEXT))])
    (done,) = run(store, to)
    assert (done.written, done.rows) == (1, 2)
    assert [(one["type"], one["rows"], one["edition"]) for one in manifest(to)["files"]] == [
        ("click", 2, 2), ("open", 1, 1),
    ]  # fmt: skip
    assert exported(to).keys() == stored(store).keys()


def test_an_event_that_changes_in_place_is_written_again(store: Store, tmp_path: Path) -> None:
    store.add([event(1, ip=None), event(2)])
    run(store, tmp_path / "to")
    assert store.fill_in([event(1, ip="192.0.2.9")]) == 1
    run(store, tmp_path / "to")
    assert exported(tmp_path / "to")[delivery_id(1)]["ip"] == "192.0.2.9"


def test_who_was_erased_is_in_no_file_any_more(store: Store, tmp_path: Path) -> None:
    to = tmp_path / "to"
    others = [event(0, delivery_id=delivery_id(0, NINE - DAY * SECOND), occurred_at=NINE - DAY * SECOND)]
    store.add([*others, event(1), event(2, type=EventType.CLICK, recipient="piet@example.nl"), event(3)])
    run(store, to)
    erase(store, "piet@example.nl", dry_run=False)
    erase(store, "jan@example.nl", dry_run=False)
    store.add([event(5, delivery_id=delivery_id(5, NEXT), occurred_at=NEXT, recipient="a@example.nl", profile=5)])
    run(store, to)
    assert exported(to).keys() == {delivery_id(5, NEXT)}
    assert b"piet" not in b"".join(one.read_bytes() for one in to.glob("*/*"))


def test_what_the_retention_deletes_stays_exported(store: Store, tmp_path: Path) -> None:
    to = tmp_path / "to"
    store.add([event(1), event(2)])
    run(store, to)
    store.erase([delivery_id(1)], [], [], [])
    (kept,) = export(settings_for(store, INGEST_RETENTION_DAYS="1"), Folder(to), "parquet")
    assert kept.why
    assert manifest(to)["frozen"] is True
    assert exported(to).keys() == {delivery_id(1), delivery_id(2)}
    # Whatever is set later: half of a day must never take the place of the whole one.
    (kept,) = run(store, to)
    assert not kept.changed
    assert run(store, to, anew=True)[0].rows == 1


def test_files_that_are_gone_or_damaged_are_written_again(store: Store, tmp_path: Path) -> None:
    to = tmp_path / "to"
    store.add([event(1), event(2, type=EventType.CLICK), event(3, type=EventType.DELIVERY)])
    run(store, to)
    (to / FOLDER / "open.parquet").unlink()
    (to / FOLDER / "click.parquet").write_bytes(b"PAR1")
    assert run(store, to)[0].written == 2
    (to / FOLDER / "_manifest-parquet.json").write_text("{")
    assert run(store, to)[0].written == 3
    assert exported(to).keys() == stored(store).keys()


class Killed(BaseException):
    """What takes the process away."""


class Mortal(Folder):
    """A folder whose process dies after so many of its steps; nothing is cleaned up then."""

    def __init__(self, path: Path, steps: int) -> None:
        super().__init__(path)
        self.steps = steps

    def _step(self) -> None:
        if not self.steps:
            raise Killed
        self.steps -= 1

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        self._step()
        with super().scratch() as path:
            try:
                yield path
            except Killed:
                if path.exists():
                    path.with_suffix(".killed.tmp").write_bytes(path.read_bytes())
                raise

    def put(self, name: str, path: Path) -> Stored:
        self._step()
        found = super().put(name, path)
        self._step()
        return found

    def delete(self, name: str) -> None:
        self._step()
        super().delete(name)


def test_a_kill_at_any_step_leaves_whole_files_and_the_next_run_does_the_rest(
    store: Store, tmp_path: Path
) -> None:
    older = event(0, delivery_id=delivery_id(0, NINE - DAY * SECOND), occurred_at=NINE - DAY * SECOND)
    store.add([older, event(1), event(2, type=EventType.CLICK), event(3, type=EventType.DELIVERY)])
    for steps in range(40):
        to = tmp_path / f"{steps}"
        run(store, to)
        late = delivery_id(100 + steps, NEXT)
        store.add([event(4, delivery_id=late), event(5, delivery_id=late + b"", type=EventType.FAILURE)])
        store.erase([row for row in stored(store) if stored(store)[row]["type"] == "click"], [], [], [])
        with suppress(Killed):
            list(export(settings_for(store), Mortal(to, steps), "parquet"))
            break
        exported(to)  # each event at most once
        run(store, to)
        assert exported(to).keys() == stored(store).keys()
        assert [one.name for one in to.glob("**/*.tmp")] == []
        assert {one["name"] for one in manifest(to)["files"]} == {
            one.name for one in (to / FOLDER).glob("*.parquet")
        }
        store.add([event(6, delivery_id=delivery_id(200 + steps), type=EventType.CLICK)])
    assert steps > 5


def test_two_exports_at_once_do_not_disturb_each_other(store: Store, tmp_path: Path) -> None:
    store.add([event(1)])
    with Folder(tmp_path / "to").alone(), pytest.raises(Unavailable, match="Another export"):
        run(store, tmp_path / "to")
    assert [one.name for one in (tmp_path / "to").iterdir()] == [LOCK]
    assert run(store, tmp_path / "to")[0].rows == 1


def test_the_command_says_what_it_did_and_what_is_wrong(store: Store, tmp_path: Path) -> None:
    environ = {"DATABASE_URL": settings_for(store).database, "INGEST_EXPORT_TO": f"{tmp_path}/to"}
    store.add([event(1)])
    done = typed("export", "--day", "2026-11-20", environ=environ)
    assert done.exit_code == 0, done.output
    assert "1 event in 1 file written; 1 event in all; not compared with log files yet" in done.output
    said = json.loads(typed("export", "--day", "2026-11-20", "--json", environ=environ).stdout)
    assert (said["files_written"], said["manifest"]["rows"]) == (0, 1)
    assert "there are no events" in typed("export", "--day", "2026-11-19", environ=environ).output
    assert "Say where to" in typed("export", environ=environ | {"INGEST_EXPORT_TO": ""}).stderr
    (tmp_path / "file").write_text("")
    refused = typed("export", "--to", f"{tmp_path}/file", environ=environ)
    assert (refused.exit_code, "cannot be written to" in refused.stderr) == (1, True)


def test_no_day_is_looked_at_that_is_still_to_come(store: Store, tmp_path: Path) -> None:
    environ = {"DATABASE_URL": settings_for(store).database, "INGEST_EXPORT_TO": f"{tmp_path}/to"}
    refused = typed("export", "--day", "9999-12-31", environ=environ)
    assert (refused.exit_code, "still to come" in refused.stderr) == (2, True)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    done = typed("export", "--day", f"{yesterday}", "--through", "9999-12-31", environ=environ)
    assert done.exit_code == 0, done.output
    assert len(re.findall("there are no events", done.output)) in (2, 3)  # midnight may have been meanwhile


def test_an_export_is_in_the_audit_from_its_beginning(store: Store, tmp_path: Path) -> None:
    """Or one that fails, or is killed, has given data away and nobody can see it."""
    environ = {"DATABASE_URL": settings_for(store).database}
    store.add([event(1)])
    typed("export", "--to", f"{tmp_path}/to", environ=environ)
    (tmp_path / "file").write_text("")
    typed("export", "--to", f"{tmp_path}/file", environ=environ)
    refused, done = entries(store, 2)
    assert (done.action, done.affected, done.error, done.what["to"]) == ("export", 1, None, f"{tmp_path}/to")
    assert (refused.affected, "cannot be written to" in (refused.error or "")) == (None, True)
    with Store.of(Settings.read(environ)) as open_meanwhile, noted(Settings.read(environ), "export", {}):
        assert entries(open_meanwhile, 1)[0].ended_at is None


def test_files_of_another_format_that_have_people_who_were_erased_are_told_of(
    store: Store, tmp_path: Path
) -> None:
    to, environ = tmp_path / "to", {"DATABASE_URL": settings_for(store).database}
    store.add([event(1), event(2, type=EventType.CLICK, recipient="piet@example.nl", profile=5)])
    run(store, to, "jsonl")
    assert [one.behind for one in run(store, to)] == [()]
    erase(store, "piet@example.nl", dry_run=False)
    done = typed("export", "--to", f"{to}", "--format", "parquet", environ=environ)
    assert f"{to} also has 1 day as jsonl, as they were once" in done.stderr
    # Nothing is left of the day, and nothing was ever written of it in the format of now.
    erase(store, "jan@example.nl", dry_run=False)
    assert [one.behind for one in run(store, to, "csv")] == [("parquet", "jsonl")]
    run(store, to, "jsonl")
    assert [one.behind for one in run(store, to, "csv")] == [("parquet",)]


def test_exported_files_are_private_but_in_a_folder_that_hands_its_group_on(store: Store, tmp_path: Path) -> None:
    store.add([event(1)])
    private, shared = tmp_path / "private", tmp_path / "shared"
    private.mkdir(0o755)
    shared.mkdir()
    shared.chmod(0o2750)
    run(store, private)
    run(store, shared)
    modes = {one: one.stat().st_mode & 0o7777 for to in (private, shared) for one in to.glob("*/*")}
    assert {mode for one, mode in modes.items() if one.is_relative_to(private)} == {0o600}
    assert {mode for one, mode in modes.items() if one.is_relative_to(shared)} == {0o640}
    assert (shared / FOLDER).stat().st_mode & 0o7777 == 0o2750


@pytest.mark.parametrize(
    "to", ["gs://bucket/x", "s3:/bucket/x", "file:///srv/x", "https://host/x", "s3://[bucket/x"]
)
def test_what_is_no_folder_and_no_bucket_is_not_made_a_folder(
    to: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    refused = typed("export", "--to", to, environ={"DATABASE_URL": settings_for(store).database})
    assert (refused.exit_code, "s3://bucket/prefix" in refused.stderr) == (2, True), refused.output
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "found",
    [b'{"version":1e999,"columns":1}', b"[" * 100_000, b'{"version":1,"columns":1,"files":[],"day":"2026-11-20",'
     b'"format":"parquet","edition":"x","written_at":"","over":true,"complete":null,"frozen":false,"rows":0}'],
    ids=["endless", "deep", "no number"],
)  # fmt: skip  # a list to be read across
def test_a_manifest_that_nobody_can_read_is_written_anew(store: Store, tmp_path: Path, found: bytes) -> None:
    store.add([event(1)])
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "_manifest-parquet.json").write_bytes(found)
    run(store, tmp_path)
    assert (manifest(tmp_path)["edition"], manifest(tmp_path)["rows"]) == (1, 1)
