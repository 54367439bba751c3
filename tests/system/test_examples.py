"""The examples do what their texts say."""

import json
import shutil
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from tests.support.fake_copernica import TOKEN, add_profile, fake_copernica, fields_of
from tests.support.running import answers, exchange, free_port, ingest, run, running, until
from workers.store.schema import upgrade

EXAMPLES = Path(__file__).parents[2] / "examples"


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        return [tuple(row) for row in connection.execute(query)]


def form(**fields: object) -> bytes:
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


def post(port: int, body: bytes) -> None:
    head = (
        f"POST /copernica HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    assert exchange(port, head.encode() + body).startswith(b"HTTP/1.1 200")


def test_contacts_are_kept_up_to_date_and_no_event_counts_twice(tmp_path: Path) -> None:
    folder = tmp_path / "contacts"
    shutil.copytree(EXAMPLES / "contacts", folder)
    port, found = free_port(), folder / "contacts.db"
    environ = {"INGEST_HANDLERS": "contacts", "INGEST_VERIFY": "off", "PORT": str(port)}
    with running(ingest("dev"), environ, tmp_path / "log", cwd=folder) as dev:
        until(lambda: "Now type" in dev.output, "the banner")
        jan = {"recipient": "Jan%40example.nl", "time": 1795165964}
        post(port, form(type="open", id="a", **jan))
        post(port, form(type="open", id="a", **jan | {"time": 1795165999}))
        post(port, form(type="click", id="a", original="https://example.nl/", **jan))
        post(port, form(type="bounce", id="b", recipient="weg%40example.nl", time=1795165964))
        post(port, form(type="abuse", id="c"))
        query = "SELECT address, last_seen, opens, clicks, bounced FROM contacts ORDER BY address"
        expected = [
            ("jan@example.nl", "2026-11-20 09:13:19+00:00", 2, 1, 0),
            ("weg@example.nl", None, 0, 0, 1),
        ]
        until(lambda: found.exists() and "contacts: " in dev.output, "the handler")
        until(lambda: "seen" in str(rows(found, "SELECT name FROM sqlite_master")), "the tables")
        until(lambda: rows(found, query) == expected, "the contacts")
        again = run("replay", "--handler", "contacts", environ=environ, cwd=folder)
        assert again.returncode == 0, again.stderr
        assert "5 events" in again.stdout or "4 events" in again.stdout
        until(lambda: dev.output.count("contacts: ") >= 2, "the second time")
        assert rows(found, query) == expected
    assert "Traceback" not in dev.output


def test_the_last_click_is_written_into_the_profile(tmp_path: Path) -> None:
    folder = tmp_path / "write-back"
    shutil.copytree(EXAMPLES / "write-back", folder)
    fake, port = FakeCopernica(None, TOKEN, Faults("ok@profile,503@profile,cut@profile")), free_port()
    jan, gone = 1, 2
    add_profile(fake, jan, "jan@example.nl")
    add_profile(fake, gone, "weg@example.nl", removed=1795165964)
    with fake_copernica(fake) as access:
        environ = {"INGEST_HANDLERS": "write_back", "INGEST_VERIFY": "off", "PORT": str(port), **access}
        with running(ingest("dev"), environ, tmp_path / "log", cwd=folder) as dev:
            until(lambda: "Now type" in dev.output, "the banner")
            for at, number in ((1795165964, jan), (1795165999, jan), (1795165900, jan), (1795165964, gone)):
                post(port, form(type="click", id="a", original="x", time=at, profile=number))
            post(port, form(type="click", id="b", original="x", time=1795166999))  # of nobody's profile
            until(
                lambda: fields_of(fake, jan).get("LastClick") == "2026-11-20 09:13:19",
                "the time of the last click",
            )
            until(lambda: dev.output.count("4 events done") == 1, "the first time")
            again = run("replay", "--handler", "write_back", environ=environ, cwd=folder)
            assert again.returncode == 0, again.stderr
            until(lambda: dev.output.count("4 events done") == 2, "the second time")
    assert fields_of(fake, jan).get("LastClick") == "2026-11-20 09:13:19"
    assert fake.seen.count(f"PUT /profile/{jan}/fields") <= 3, "a time that is there is not written again"
    assert "Traceback" not in dev.output
    assert TOKEN not in dev.output


def settings(path: Path) -> dict[str, str]:
    """What a file of settings says."""
    lines = (line.partition("=") for line in path.read_text().splitlines() if line and line[0] != "#")
    return {name: value.strip('"') for name, _, value in lines}


def start_environ(redis_url: str, folder: Path, more: dict[str, str]) -> dict[str, str]:
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": f"sqlite:///{folder}/events.db", "INGEST_VERIFY": "off"}
    upgrade(environ["DATABASE_URL"])
    return environ | {"PORT": str(free_port())} | more


def test_the_php_script_gets_what_the_ingester_took(redis_url: str, tmp_path: Path) -> None:
    php = shutil.which("php")
    if php is None:
        pytest.skip("there is no `php` on this machine; on Debian: apt-get install php-cli")
    said = settings(EXAMPLES / "php-behind" / ".env")
    script_port = free_port()
    said["INGEST_FORWARD_URL"] = said["INGEST_FORWARD_URL"].replace(":8080", f":{script_port}")
    environ = start_environ(redis_url, tmp_path, said)
    port, written = int(environ["PORT"]), tmp_path / "events.jsonl"
    server = [php, "-S", f"127.0.0.1:{script_port}", "-t", str(EXAMPLES / "php-behind")]
    its = {"INGEST_FORWARD_SECRET": said["INGEST_FORWARD_SECRET"], "EVENTS_FILE": str(written)}
    with (
        running(server, its, tmp_path / "php.log"),
        running(ingest("serve"), environ, tmp_path / "web.log"),
        running(ingest("worker"), environ, tmp_path / "worker.log"),
        running(ingest("worker", "--queue", "handlers"), environ, tmp_path / "handlers.log"),
    ):
        until(lambda: answers(port), "the endpoint")
        stranger = exchange(
            script_port, b"POST /old.php HTTP/1.0\r\nHost: t\r\nContent-Length: 9\r\n\r\ntype=open"
        )
        assert b" 401 " in stranger
        began = time.monotonic()
        post(port, form(type="click", id="a", recipient="jan%40example.nl", tags="%5B%5D", note="%E2%82%AC+%26"))
        url = f"http://127.0.0.1:{port}/copernica"
        assert run("simulate", "--url", url, "--unsigned", "--events", "99", environ={}).returncode == 0
        until(lambda: written.exists() and written.read_text().count("\n") == 100, "100 lines")
        assert time.monotonic() - began > 0.5  # 50 at once, 50 within the next second
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    sent = {"type": "click", "id": "a", "recipient": "jan@example.nl", "tags": "[]", "note": "€ &"}
    assert sent in lines
    assert rows(tmp_path / "events.db", "SELECT count(*) FROM dead_letters") == [(0,)]


def test_the_php_script_refuses_another_secret(redis_url: str, tmp_path: Path) -> None:
    php = shutil.which("php")
    if php is None:
        pytest.skip("there is no `php` on this machine; on Debian: apt-get install php-cli")
    port, body, now = free_port(), "type=open&id=1", datetime.now(UTC)
    secret = settings(EXAMPLES / "php-behind" / ".env")["INGEST_FORWARD_SECRET"]
    its = {"INGEST_FORWARD_SECRET": secret, "EVENTS_FILE": str(tmp_path / "events.jsonl")}
    server = [php, "-S", f"127.0.0.1:{port}", "-t", str(EXAMPLES / "php-behind")]
    with running(server, its, tmp_path / "php.log"):
        until(lambda: b"HTTP/1" in _try(port), "the script")
        for key, sent, status in (
            (secret, body, b" 200 "),
            ("whsec_QW5vdGhlcg==", body, b" 401 "),
            (secret, body + "&forged=1", b" 401 "),
        ):
            signature = Webhook(key).sign("abc", now, body)
            head = (
                "POST /old.php HTTP/1.0\r\nHost: t\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                f"webhook-id: abc\r\nwebhook-timestamp: {int(now.timestamp())}\r\n"
                f"webhook-signature: {signature}\r\nContent-Length: {len(sent)}\r\n\r\n"
            )
            assert status in exchange(port, (head + sent).encode())
    assert (tmp_path / "events.jsonl").read_text().splitlines() == ['{"type":"open","id":"1"}']


def _try(port: int) -> bytes:
    try:
        return exchange(port, b"GET /old.php HTTP/1.0\r\nHost: t\r\n\r\n", seconds=1.0)
    except OSError:
        return b""
