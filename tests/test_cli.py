"""The commands, as typed."""

import csv
import json
import subprocess
from pathlib import Path

import pytest

from ingest.copernica.events import decode
from tests.running import clean_environ, ingest, run
from workers.store import Store

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def environ(redis_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/events.db",
        "INGEST_VERIFY": "off",
    }


@pytest.fixture
def stored(environ: dict[str, str]) -> dict[str, str]:
    """A store with five events in it."""
    bodies = [
        b"type=open&id=m1&time=1795165200&recipient=jan%40example.nl&tags[]=a&tags[]=b",
        b"type=open&id=m2&time=1795168800&recipient=%3DHYPERLINK%28%22x%22%29&useragent=%2Bcmd",
        b"type=click&id=m1&time=1795172400&recipient=jan%40example.nl&original=https%3A%2F%2Fexample.nl%2F",
        b"type=delivery&id=m1&time=1795165100&recipient=%F0%9F%98%80%40example.nl&code=250",
        b"type=new-thing&x=%FF&y=1&y=2",
    ]
    store = Store.open(environ["DATABASE_URL"])
    received = 1_795_172_400_000_000
    store.add([decode(body, FORM, "/copernica", received, bytes([n] * 12)) for n, body in enumerate(bodies)])
    store.close()
    return environ


def lines(*arguments: str, environ: dict[str, str]) -> list[dict[str, object]]:
    done = run("events", "--format", "jsonl", *arguments, environ=environ)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_events_as_lines_of_json_hold_everything(stored: dict[str, str]) -> None:
    events = lines(environ=stored)
    assert [event["type"] for event in events] == ["open", "open", "click", "delivery", "unknown"]
    assert events[0] == {
        "delivery_id": "00" * 12, "type": "open", "message_id": "m1", "occurred_at": "2026-11-20T09:00:00Z",
        "received_at": "2026-11-20T11:00:00Z", "recipient": "jan@example.nl", "ip": None, "url": None,
        "user_agent": None, "referer": None, "tags": ["a", "b"], "payload": {}, "path": "/copernica",
        "source": "webhook",
    }  # fmt: skip
    assert events[4]["payload"] == {"type": "new-thing", "x": "\udcff", "y": ["1", "2"]}


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--type", "open"], [0, 1]),
        (["--recipient", "jan@example.nl"], [0, 2]),
        (["--message", "m1", "--type", "click"], [2]),
        (["--since", "2026-11-20T10:00", "--until", "2026-11-20T11:00"], [1]),
        (["--since", "2026-11-20T12:00+01:00", "--type", "click"], [2]),
        (["--until", "500w"], []),
    ],
)
def test_events_can_be_chosen(stored: dict[str, str], arguments: list[str], ids: list[int]) -> None:
    assert [event["delivery_id"] for event in lines(*arguments, environ=stored)] == [f"{n:02x}" * 12 for n in ids]


def test_events_as_csv_run_no_formula(stored: dict[str, str]) -> None:
    done = run("events", "--format", "csv", environ=stored)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert rows[1]["recipient"] == '\'=HYPERLINK("x")'
    assert rows[1]["user_agent"] == "'+cmd"
    assert rows[0]["tags"] == "a;b"
    assert json.loads(rows[4]["payload"])["y"] == ["1", "2"]


def test_events_as_a_table_for_people(stored: dict[str, str]) -> None:
    done = run("events", environ=stored)
    assert "2026-11-20T09:00:00Z  open       jan@example.nl" in done.stdout


def test_a_reader_that_leaves_is_no_error(stored: dict[str, str]) -> None:
    with subprocess.Popen(
        ingest("events", "--format", "jsonl"),
        env=clean_environ() | stored,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 0


def test_status_of_an_idle_site(stored: dict[str, str]) -> None:
    figures = json.loads(run("status", "--json", environ=stored).stdout)
    assert (figures["backlog"], figures["stored"], figures["oldest_age"]) == (0, 5, None)
    assert len(figures["warnings"]) == 2  # neither endpoint nor worker
    shown = run("status", environ=stored)
    assert shown.returncode == 0
    assert "No worker is running" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (["status"], {"REDIS_URL": "redis://:geheim@127.0.0.1:1/0"}, 1, "redis://127.0.0.1:1/0 does not answer"),
        (["status"], {"REDIS_URL": ""}, 2, "REDIS_URL is not set"),
        (["drain"], {"DATABASE_URL": "sqlite:////proc/nowhere/x.db"}, 1, "/proc/nowhere/x.db"),
        (["worker"], {"DATABASE_URL": "sqlite:////proc/nowhere/x.db"}, 1, "/proc/nowhere/x.db"),
        (["worker"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, 1, "does not answer"),
        (["serve"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, 1, "does not answer"),
        (["serve"], {"INGEST_VERIFY": "on"}, 2, "INGEST_ACCOUNTS is not set"),
        (["serve"], {"INGEST_VERIFY": "on", "INGEST_ACCOUNTS": "1", "INGEST_KEYS": "/no/such"}, 2, "/no/such"),
        (["serve"], {"INGEST_DNS_SERVERS": "dns.example"}, 2, "INGEST_DNS_SERVERS"),
        (["serve"], {"HOST": "no.such.host.invalid"}, 2, "HOST="),
        (["serve"], {"HOST": "192.0.2.1"}, 1, "192.0.2.1"),
        (["serve"], {"INGEST_PATH": "copernica"}, 2, "INGEST_PATH="),
        (["events"], {"DATABASE_URL": "sqlite:////tmp/no/such/file.db"}, 1, "no database"),
        (["simulate", "--url", "http://127.0.0.1:1/copernica"], {}, 1, "Nothing answers"),
        (["simulate", "--url", "ftp://x"], {}, 2, "ftp://x"),
        (["simulate", "--types", "open,nonsense"], {}, 2, "nonsense"),
    ],
)
def test_a_mistake_gives_one_sentence_and_an_exit_code(
    environ: dict[str, str], arguments: list[str], changes: dict[str, str], code: int, said: str, tmp_path: Path
) -> None:
    done = run(*arguments, environ=environ | changes, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("ingest: ")]) == 1
