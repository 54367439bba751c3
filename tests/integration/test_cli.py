"""The commands, as typed; most of them in this process, because starting one takes half a second."""

import csv
import io
import json
import sys
from base64 import b64decode
from contextlib import closing
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlencode

import pytest

from ingest.batch import Record
from ingest.copernica.events import TEXT_COLUMNS, Event, EventType, decode
from ingest.errors import SettingsError
from ingest.settings import Settings
from tests.support.builders import FORM
from tests.support.cli import NOWHERE, findings, typed
from tests.support.postgres import Server
from workers.records import Quarantined
from workers.store.schema import VERSION
from workers.store.store import Store


@pytest.fixture
def environ(redis_url: str, sqlite_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": sqlite_url,
        "INGEST_VERIFY": "off",
        "INGEST_DATA_DIR": str(tmp_path),
    }


@pytest.fixture
def stored(database: str, store: Store, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """A store with five events in it, once of each kind."""
    bodies = [
        b"type=open&id=m1&time=1795165200&recipient=jan%40example.nl&tags[]=a&tags[]=b",
        b"type=open&id=m2&time=1795168800&recipient=%3DHYPERLINK%28%22x%22%29&useragent=%2Bcmd",
        b"type=click&id=m1&time=1795172400&recipient=jan%40example.nl&original=https%3A%2F%2Fexample.nl%2F",
        b"type=delivery&id=m1&time=1795165100&recipient=%F0%9F%98%80%40example.nl&code=250",
        b"type=new-thing&x=%FF&y=1&y=2",
    ]
    add(store, *bodies)
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": database,
        "INGEST_VERIFY": "off",
        "INGEST_DATA_DIR": str(tmp_path),
    }


def add(store: Store, *bodies: bytes) -> None:
    received = 1_795_172_400_000_000
    store.add([decode(body, FORM, "/copernica", received, bytes([n] * 12)) for n, body in enumerate(bodies)])


def lines(*arguments: str, environ: dict[str, str]) -> list[dict[str, object]]:
    done = typed("events", "--format", "jsonl", *arguments, environ=environ)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_events_as_lines_of_json_hold_everything(stored: dict[str, str]) -> None:
    events = lines(environ=stored)
    assert [event["type"] for event in events] == ["open", "open", "click", "delivery", "unknown"]
    assert events[0] == {
        "delivery_id": "00" * 12, "type": "open", "message_id": "m1", "occurred_at": "2026-11-20T09:00:00Z",
        "received_at": "2026-11-20T11:00:00Z", "recipient": "jan@example.nl", "ip": None, "url": None,
        "user_agent": None, "referer": None, "profile": None, "subprofile": None, "database": None,
        "collection": None, "mailing": None, "code": None, "extended": None, "state": None, "description": None,
        "tags": ["a", "b"], "payload": {}, "path": "/copernica", "source": "webhook", "raw": None,
        "raw_type": None,
    }  # fmt: skip  # a list to be read across, not a column of single words
    assert events[3]["code"] == 250
    assert events[4]["payload"] == {"type": "new-thing", "x": "\udcff", "y": ["1", "2"], "time": None}
    assert b64decode(str(events[4]["raw"])) == b"type=new-thing&x=%FF&y=1&y=2"
    assert events[4]["raw_type"] == FORM


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--type", "open"], [0, 1]),
        (["--type", " Click,delivery ,"], [2, 3]),
        (["--recipient", "JAN@example.nl"], [0, 2]),
        (["--message", "m1", "--type", "click"], [2]),
        (["--since", "2026-11-20T10:00", "--until", "2026-11-20T11:00"], [1]),
        (["--since", "2026-11-20T12:00+01:00", "--type", "click"], [2]),
        (["--until", "500w"], []),
    ],
)
def test_events_can_be_chosen(stored: dict[str, str], arguments: list[str], ids: list[int]) -> None:
    assert [event["delivery_id"] for event in lines(*arguments, environ=stored)] == [f"{n:02x}" * 12 for n in ids]


def test_an_unknown_type_is_answered_with_the_known_ones(environ: dict[str, str]) -> None:
    done = typed("events", "--type", "open,clik", environ=environ)
    assert done.exit_code == 2
    (said,) = [line for line in done.stderr.splitlines() if "clik" in line]
    assert all(kind in said for kind in EventType)
    assert done.stdout == ""


def as_csv(*arguments: str, environ: dict[str, str]) -> list[dict[str, str]]:
    done = typed("events", "--format", "csv", *arguments, environ=environ)
    assert done.exit_code == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout_bytes.decode(), newline="")))


def test_events_as_csv_run_no_formula(stored: dict[str, str]) -> None:
    rows = as_csv(environ=stored)
    assert rows[1]["recipient"] == '\'=HYPERLINK("x")'
    assert rows[1]["user_agent"] == "'+cmd"
    assert rows[0]["tags"] == "a;b"
    assert (rows[3]["code"], rows[3]["profile"], rows[3]["raw"]) == ("250", "", "")
    assert json.loads(rows[4]["payload"])["y"] == ["1", "2"]


def test_no_cell_of_a_csv_begins_as_a_formula_does(database: str, store: Store, redis_url: str) -> None:
    signs = ("=", "+", "-", "@", "\uff1d")
    harmless = ("'=", "1-2", "a=1")
    texts = [*(f'{sign}1+cmd|x,"y' for sign in signs), *harmless]
    names = ("id", "recipient", "ip", "original", "useragent", "referer", "extended", "state", "description")
    forms = [[*((name, text) for name in names), ("tags[]", text), ("tags[]", "b")] for text in texts]
    add(store, *(urlencode([("type", "failure"), *fields]).encode() for fields in forms))
    rows = as_csv(environ={"REDIS_URL": redis_url, "DATABASE_URL": database})
    assert [row["recipient"] for row in rows] == [*("'" + text for text in texts[: len(signs)]), *harmless]
    columns = [*(TEXT_COLUMNS[name] for name in names), "tags"]
    assert all({row[column].removesuffix(";b") for column in columns} == {row["recipient"]} for row in rows)
    assert not any(value.startswith(signs) for row in rows for value in row.values())


def test_no_cell_of_a_csv_is_a_formula_by_whatever_it_is_divided(environ: dict[str, str]) -> None:
    forms = (
        "Mozilla;{0}cmd|x", 'Mozilla; "{0}cmd|x', "Mozilla;\t{0}cmd", "a\n{0}cmd", "a\r{0}cmd", "a;b;{0}c;{0}d",
        '"\n{0}c', "\t{0}c", '"{0}c', " {0}c",
    )  # fmt: skip  # read across
    signs = "=+-@\uff1d"
    evils = [form.format(sign) for form in forms for sign in signs]
    with closing(Store.open(environ["DATABASE_URL"])) as store:
        names = ("type", "useragent", "recipient", "id", "ip", "tags[]", "tags[]", "x")
        add(store, *(urlencode([(name, evil) for name in (*names, evil)]).encode() for evil in evils))
    said = typed("events", "--format", "csv", environ=environ).stdout
    lines = said.splitlines()
    assert len(lines) == 1 + len(evils)
    for line in lines:
        cells = [
            *line.split(";"),
            *line.split("\t"),
            *next(csv.reader([line])),
            *next(csv.reader([line], delimiter=";")),
        ]
        assert not [cell for cell in cells if cell.lstrip(' "').startswith(tuple(signs))]
    assert [json.loads(row["payload"])["x"] for row in as_csv(environ=environ)] == evils


@pytest.mark.parametrize(("form", "header"), [("csv", ",".join(Event._fields)), ("table", "occurred UTC")])
def test_without_events_the_header_is_there_all_the_same(environ: dict[str, str], form: str, header: str) -> None:
    done = typed("events", "--format", form, environ=environ)
    assert (done.exit_code, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert done.stdout.startswith(header)


@pytest.mark.parametrize(
    "typed_", ["failed list", "failed waiting", "audit", "mailings", "gaps", "stats", "handlers"]
)
def test_where_there_is_nothing_a_script_gets_a_document_or_no_line_as_the_help_says(
    environ: dict[str, str], typed_: str
) -> None:
    done = typed(*typed_.split(), "--json", environ=environ)
    assert (done.exit_code, done.stderr) == (0, "")
    is_lines = "JSON lines" in typed(*typed_.split(), "--help", environ=environ).stdout
    assert done.stdout == "" if is_lines else json.loads(done.stdout) is not None


def test_events_as_a_table_for_people(stored: dict[str, str]) -> None:
    done = typed("events", environ=stored)
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines()][:2] == [
        ["occurred", "UTC", "type", "recipient", "message_id"],
        ["2026-11-20T09:00:00Z", "open", "jan@example.nl", "m1"],
    ]
    wide = typed("events", "--limit", "1", "--tz", "Europe/Amsterdam", environ=stored | {"COLUMNS": "200"})
    assert [line.split() for line in wide.stdout.splitlines()] == [
        ["occurred", "Europe/Amsterdam", "type", "recipient", "message_id", "ip", "url"],
        ["2026-11-20T10:00:00+01:00", "open", "jan@example.nl", "m1"],
    ]
    elsewhere = stored | {"INGEST_TZ": "Asia/Kolkata"}
    assert "2026-11-20T14:30:00+05:30" in typed("events", "--type", "open", environ=elsewhere).stdout


def test_only_so_many_events_are_shown_as_are_asked_for(stored: dict[str, str]) -> None:
    for limit, ids in ((1, ["00"]), (3, ["00", "01", "02"]), (9, ["00", "01", "02", "03", "04"])):
        assert [event["delivery_id"] for event in lines("--limit", str(limit), environ=stored)] == [
            id_ * 12 for id_ in ids
        ]


def test_a_table_shows_no_control_characters(environ: dict[str, str]) -> None:
    store = Store.open(environ["DATABASE_URL"])
    add(store, b"type=open&recipient=a%1B%5B2J%0Ab%C2%9B%E2%80%AE&id=" + b"m" * 50)
    store.close()
    (_, line) = typed("events", environ=environ).stdout.splitlines()
    assert "a\\x1b[2J\\nb\\x9b\\u202e" in line
    assert "m" * 9 + "…" in line


NOTHING_ELSEWHERE = {"batches_waiting": 0, "dead_batches": 0, "spooled_calls": 0, "bad_files": 0}


def test_erase_says_what_it_would_do_and_what_it_did(stored: dict[str, str], store: Store) -> None:
    call = Record(bytes([9] * 12), 0, b"/copernica", b"", b"neither form nor JSON, but from jan@example.nl")
    store.add((), [Quarantined(call, "unreadable")], [call, call._replace(delivery_id=bytes([10] * 12))])
    counts = {"events_deleted": 2, "events_blanked": 0, "quarantine_deleted": 1, "unverified_deleted": 2}
    counts |= dict.fromkeys(("handlers_deleted", "events_unread", "seconds_to_read_them"), 0)
    erase = ("erase", "--recipient", "Jan@Example.NL")
    would = typed(*erase, "--dry-run", "--json", environ=stored)
    assert json.loads(would.stdout) == {**counts, **NOTHING_ELSEWHERE, "dry_run": True}
    would = typed(*erase, "--dry-run", environ=stored)
    assert "2 would be deleted" in would.stdout
    assert (store.stored(), store.quarantined(), store.unverified()) == (5, 1, 2)
    for words, answer, code in ((["--json"], "", 2), ([], "", 2), ([], "n\n", 1)):
        undone = typed(*erase, *words, environ=stored, answer=answer)
        assert (undone.exit_code, "2 would be deleted" in undone.stdout) == (code, bool(answer))
        assert (store.stored(), store.quarantined(), store.unverified()) == (5, 1, 2)
    did = typed(*erase, "--json", "--yes", environ=stored)
    assert json.loads(did.stdout) == {**counts, **NOTHING_ELSEWHERE, "dry_run": False}
    assert (store.stored(), store.quarantined(), store.unverified()) == (3, 0, 0)
    again = typed(*erase, environ=stored, answer="y\n")
    assert (again.exit_code, "Erase all of this for good?" in again.stderr) == (0, True)
    assert "0 deleted" in again.stdout
    refused = typed("erase", "--recipient", "@example.nl", environ=stored)
    assert refused.exit_code == 2
    assert "whole e-mail address" in refused.stderr


def test_upgrading_twice_does_nothing_the_second_time(
    environ: dict[str, str], postgres_server: Server, tmp_path: Path
) -> None:
    for url in (f"sqlite:///{tmp_path}/new/folder/x.db", postgres_server.new_database("none")):
        done = typed("db", "upgrade", environ={"DATABASE_URL": url})
        assert (done.exit_code, done.stdout, done.stderr) == (0, f"The schema is now at {VERSION}.\n", "")
        again = typed("db", "upgrade", environ={"DATABASE_URL": url})
        assert (again.exit_code, again.stdout) == (0, f"The schema is already at {VERSION}.\n")
        assert lines(environ=environ | {"DATABASE_URL": url}) == []


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_url_of_postgresql_may_begin_as_is_usual(
    environ: dict[str, str], postgres_server: Server, scheme: str
) -> None:
    url = postgres_server.new_database("events", "template").replace("postgresql", scheme, 1)
    status = typed("status", "--json", environ=environ | {"DATABASE_URL": url})
    assert json.loads(status.stdout)["stored"] == 0, status.stderr


def test_check_looks_at_the_database_and_at_how_long_events_are_kept(stored: dict[str, str]) -> None:
    code, found = findings(stored)
    assert code == 0
    assert found["retention"][0] == "risk"
    assert "INGEST_RETENTION_DAYS" in found["retention"][1]
    if "sqlite" not in stored["DATABASE_URL"]:  # the tests' own servers are hasty ones
        assert found["database"][0] == "risk"
        assert "a crash of its machine can lose events" in found["database"][1]
    else:
        assert found["database"][0] == "ok"
        assert found["database"][1].endswith("holds 5 events")
    _, found = findings(stored | {"INGEST_RETENTION_DAYS": "400"})
    assert found["retention"] == ("ok", "events are deleted after 400 days")


def test_check_says_that_there_are_no_tables(
    environ: dict[str, str], postgres_server: Server, tmp_path: Path
) -> None:
    for url in (f"sqlite:///{tmp_path}/none.db", postgres_server.new_database("none")):
        code, found = findings(environ | {"DATABASE_URL": url})
        assert code == 1
        assert found["database"][0] == "wrong"
        assert found["database"][1].endswith("run `ingest db upgrade`.")


def test_status_of_an_idle_site(stored: dict[str, str]) -> None:
    figures = json.loads(typed("status", "--json", environ=stored).stdout)
    assert (figures["backlog"], figures["stored"], figures["oldest_age_seconds"]) == (0, 5, None)
    assert [warning["code"] for warning in figures["warnings"]] == ["no-endpoint", "no-worker"]
    shown = typed("status", environ=stored)
    assert shown.exit_code == 2
    assert "No worker is running" in shown.stdout
    quiet = typed("status", "--quiet", environ=stored)
    assert (quiet.exit_code, quiet.stdout[:18]) == (2, "ALARM no-endpoint:")


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (["status"], {"REDIS_URL": "redis://:geheim@127.0.0.1:1/0"}, 2, "redis://127.0.0.1:1/0 does not answer"),
        (["status"], {"REDIS_URL": ""}, 2, "REDIS_URL is not set"),
        (["drain"], {"DATABASE_URL": "sqlite:////proc/nowhere/x.db"}, 1, "/proc/nowhere/x.db"),
        (["events"], {"DATABASE_URL": "sqlite:////tmp/no/such/file.db"}, 1, "no database"),
        (["events", "--follow"], {"REDIS_URL": "redis://:geheim@127.0.0.1:1/0"}, 1, "does not answer"),
        (["status"], {"DATABASE_URL": NOWHERE}, 2, "127.0.0.1:1/d cannot be used"),
        (["stats"], {"DATABASE_URL": NOWHERE}, 1, "; see that it runs and that DATABASE_URL is right."),
        (
            ["stats"],
            {"DATABASE_URL": "mysql://u:geheim@127.0.0.1:1/d"},
            1,
            "; see that it runs and that DATABASE_",
        ),
        (
            ["erase", "--recipient", "a@b.nl", "--yes"],
            {"DATABASE_URL": NOWHERE},
            1,
            "127.0.0.1:1/d cannot be used",
        ),
        (["db", "upgrade"], {"DATABASE_URL": NOWHERE}, 1, "127.0.0.1:1/d cannot be used"),
        (["drain"], {"DATABASE_URL": NOWHERE}, 1, "127.0.0.1:1/d cannot be used"),
        (["stats"], {"DATABASE_URL": "oracle://u:geheim@h/d"}, 2, "DATABASE_URL"),
        (["stats"], {"DATABASE_URL": "postgresql://127.0.0.1:1/d?password=geheim"}, 1, "127.0.0.1:1/d"),
        (["stats"], {"DATABASE_URL": "postgresql://u:geheim@h:port/d"}, 2, "DATABASE_URL"),
        (["stats"], {"INGEST_RETENTION_DAYS": "-1"}, 2, "INGEST_RETENTION_DAYS"),
    ],
)
def test_a_mistake_gives_one_sentence_and_an_exit_code(
    environ: dict[str, str],
    arguments: list[str],
    changes: dict[str, str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = typed(*arguments, environ=environ | changes)
    assert done.exit_code == code
    assert said in done.stderr
    assert "geheim" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("ingest: ")]) == 1


@pytest.mark.parametrize(
    "url",
    [
        "oracle://u:geheim@h/d",
        "oracle://u:/geheim@h/d",
        "oracle://u:x@geheim@h/d",
        "oracle://h/d?password=geheim",
        "u:geheim@h/d",
        "postgres:u:geheim@h/d",
        "postgresql+psycopg2://u:geheim@h/d",
    ],
)
def test_an_unusable_database_url_is_shown_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL cannot be used") as refused:
        Settings.read({"DATABASE_URL": url})
    assert "geheim" not in str(refused.value)
    assert "postgresql://user:password@host/database" in str(refused.value)


@pytest.mark.parametrize("arguments", [["check"], ["status"], ["drain"]])
def test_options_of_the_redis_url_cannot_change_what_commands_understand(
    environ: dict[str, str], arguments: list[str]
) -> None:
    options = "?decode_responses=true&encoding=latin-1&protocol=3&socket_timeout=0.000001&timeout=0"
    done = typed(*arguments, environ=environ | {"REDIS_URL": environ["REDIS_URL"] + options})
    assert done.exit_code in (0, 1, 2), done.output
    assert done.stderr == ""
    assert ("REDIS_URL sets decode_responses, " in done.stdout) is (arguments == ["check"])


def test_a_password_that_a_library_quotes_is_not_shown(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "quoting.py").write_text("raise ImportError('cannot reach redis://u:geheim@h, \\x1b[31m')")
    changes = {"INGEST_HANDLERS": "quoting", "DATABASE_URL": "postgresql://u:geheim@127.0.0.1:1/d"}
    with patch.object(sys, "path", [str(tmp_path), *sys.path]):
        done = typed("check", environ=environ | changes)
    assert "geheim" not in done.output
    assert "\x1b" not in done.output
