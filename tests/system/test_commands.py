"""Commands that are processes of their own: what they need, and how they end."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ingest.copernica.events import Event, decode
from ingest.simulation.calls import Simulator
from tests.support.builders import FORM, event
from tests.support.cli import BUFFERED
from tests.support.fake_copernica import client, log_file
from tests.support.running import answers, clean_environ, free_port, ingest, run, running, until
from tests.support.sql import execute
from workers.store.store import Store


def fill(store: Store, events: int) -> None:
    """Store ever more copies of a few hundred events: `add` itself would take a while for as many as this."""
    calls = Simulator(seed=5)
    bodies = [calls.call().body for _ in range(500)]
    store.add(
        [decode(body, FORM, "/copernica", 0, bytes(8) + n.to_bytes(4, "big")) for n, body in enumerate(bodies)]
    )
    mark = "`" if store.engine.dialect.name == "mysql" else '"'
    names = ", ".join(f"{mark}{name}{mark}" for name in Event._fields if name != "delivery_id")
    fresh = {
        "sqlite": "SELECT randomblob(12)",
        "postgresql": "SELECT substr(decode(md5(random()::text), 'hex'), 1, 12)",
        "mysql": "SELECT random_bytes(12)",
    }[store.engine.dialect.name]
    with store.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN" if store.engine.dialect.name == "sqlite" else "SELECT 1")
        while (number := connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one()) < events:
            connection.exec_driver_sql(
                f"INSERT INTO events (delivery_id, {names}) {fresh}, {names} FROM events LIMIT {events - number}"
            )
        connection.commit()


#: Whether coverage is measured, which itself uses SQLite in each process.
IS_COVERED = not os.environ.keys().isdisjoint({"COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"})
#: An `ingest` that says at its end the most memory that it needed.
MEASURED = """
import atexit, re, sys
from pathlib import Path
from ingest.cli.main import main
peak = lambda: re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
atexit.register(lambda: sys.stderr.write(peak()))
main()
"""


def test_any_number_of_events_is_shown_in_little_memory(
    database: str, store: Store, redis_url: str, tmp_path: Path
) -> None:
    fill(store, 60_000)
    environ = {**clean_environ(), "DATABASE_URL": database, "REDIS_URL": redis_url, **BUFFERED}
    argv = [sys.executable, "-c", MEASURED, "events", "--format", "jsonl"]
    shown = tmp_path / "events.jsonl"
    with shown.open("wb") as out:
        done = subprocess.run(argv, env=environ, stdout=out, stderr=subprocess.PIPE, timeout=60, check=True)
    with shown.open("rb") as events:
        assert sum(1 for _ in events) == 60_000
    assert int(done.stderr) < 110_000, "kB"
    # And a reader that has seen enough is no error, however much there is to come.
    command = " ".join(map(shlex.quote, ingest("events", "--format", "csv"))) + " | head -n 3"
    head = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], env=environ, capture_output=True, timeout=20, check=False
    )
    assert (head.returncode, head.stderr, head.stdout.count(b"\n")) == (0, b"", 3)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("events", 0),
        ("events --format jsonl", 0),
        ("events --format csv", 0),
        ("stats", 0),
        ("stats --json", 0),
        ("--help", 0),
        ("stats --help", 0),
        ("status", 2),  # what is wrong is said elsewhere, and stays wrong
        ("check", 1),
        ("failed list", 0),
        ("simulate --help", 0),
    ],
)
def test_a_reader_that_leaves_is_no_error(sqlite_url: str, arguments: str, code: int, tmp_path: Path) -> None:
    with closing(Store.open(sqlite_url)) as store:
        store.add([event(n) for n in range(200)])
    with subprocess.Popen(
        ingest(*arguments.split()),
        env=clean_environ() | BUFFERED | {"DATABASE_URL": sqlite_url, "INGEST_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
        assert said.count("\n") == (1 if code == 2 else 0), said
        assert process.wait() == code


#: How Python encodes its output by itself where the locale is ISO-8859-1, and where there is none at all.
NARROW = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "none": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


#: Commands, one after the other in a process, since that of each takes a second to start.
IN_TURN = """
import json, sys
from ingest.cli.main import main
for command in json.loads(sys.argv[1]):
    print(end="\x1e", flush=True)
    try:
        main(command)
    except SystemExit:
        pass
    sys.stdout.flush()
"""


@pytest.mark.parametrize("locale", NARROW)
def test_no_output_fails_for_want_of_a_character(
    sqlite_url: str, redis_url: str, tmp_path: Path, locale: str
) -> None:
    body = "type=open&id=m1&time=1795165200&recipient=zoë@exämple.nl&tags[]=Šimůnek&tags[]=😀&x=\ud800"
    with closing(Store.open(sqlite_url)) as store:
        store.add([decode(body.encode("utf-8", "surrogatepass"), FORM, "/copernica", 0, bytes(12))])
    file = tmp_path / "cdm-click.2026-11-20.log.csv"
    file.write_text("id,time,recipient,😀\n", encoding="utf-8")
    commands = [
        *("events --format jsonl", "events", "events --format csv", "stats", "status", "check", "--help"),
        *("events --help", "import --help", f"import {file} --no-handlers", f"import {file} --no-handlers --json"),
    ]
    environ = clean_environ() | NARROW[locale]
    environ |= {"DATABASE_URL": sqlite_url, "REDIS_URL": redis_url, "INGEST_VERIFY": "off"}
    environ |= {"INGEST_DATA_DIR": str(tmp_path / "düta"), "INGEST_HANDLERS": "hándlers"}
    argv = [sys.executable, "-c", IN_TURN, json.dumps([command.split() for command in commands])]
    done = subprocess.run(
        argv, env=environ, cwd=tmp_path, capture_output=True, timeout=120, encoding="latin-1", check=True
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Encode" not in done.stdout + done.stderr
    _, *outputs = done.stdout.split("\x1e")
    assert len(outputs) == len(commands)
    assert all(outputs), outputs
    assert json.loads(outputs[0])["tags"] == ["Šimůnek", "😀"]


def test_what_is_typed_is_found_whatever_the_locale(sqlite_url: str) -> None:
    body = urlencode({"type": "open", "recipient": "zoë@example.nl"}).encode()
    with closing(Store.open(sqlite_url)) as store:
        store.add([decode(body, FORM, "/copernica", 0, bytes(12))])
    for recipient in ("zoë@example.nl", os.fsdecode("zoë@example.nl".encode("latin-1"))):
        done = run("events", "--recipient", recipient, environ=NARROW["none"] | {"DATABASE_URL": sqlite_url})
        assert done.stdout.count("\n") == 2, done
        assert done.returncode == 0


@pytest.mark.parametrize("arguments", ["stats", "--help", "check"])
def test_a_full_disk_behind_the_output_is_one_sentence(sqlite_url: str, arguments: str) -> None:
    command = " ".join(map(shlex.quote, ingest(*arguments.split()))) + " >/dev/full"
    environ = clean_environ() | {"DATABASE_URL": sqlite_url}
    done = subprocess.run(["bash", "-c", command], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "ingest: The output cannot be written: No space left on device; write it elsewhere.\n",
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_output_that_is_closed_is_no_error(sqlite_url: str, closed: str) -> None:
    command = " ".join(map(shlex.quote, ingest("stats"))) + " " + closed
    done = subprocess.run(["bash", "-c", command], env=clean_environ() | {"DATABASE_URL": sqlite_url}, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_what_a_process_opens_never_takes_the_place_of_its_input_or_output(tmp_path: Path, closed: str) -> None:
    """The endpoint's socket did, where it was started without an input: its processes found none."""
    code = (
        "import sys, os; from ingest.cli import streams; streams.set_up(); file = os.open(sys.argv[1], 65)\n"
        "where = [os.readlink(f'/proc/self/fd/{n}') for n in range(3) if os.get_inheritable(n)]\n"
        "os.write(file, f'{file} {where[0]} {where[1]} {where[2]}'.encode())"
    )
    plain = shlex.join([sys.executable, "-c", code, str(tmp_path / "found")])
    subprocess.run(["bash", "-c", f"{plain} </dev/null >/dev/null 2>/dev/null {closed}"], check=True)
    file, *standard = (tmp_path / "found").read_text().split()
    assert (int(file) > 2, standard) == (True, ["/dev/null"] * 3)


def test_a_traceback_of_ours_shows_no_secret(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import workers.store.store as store\n"
        "def broken(url): raise RuntimeError('in postgresql://u:geheim@h \\x1b[31m')\n"
        "store.Store.open = broken\n"
    )
    environ = {"DATABASE_URL": "postgresql://u:geheim@h/d", "PYTHONPATH": str(tmp_path)}
    done = run("stats", environ=environ)
    assert "RuntimeError: in postgresql://u:***@h \\x1b[31m" in done.stderr
    assert "geheim" not in done.stderr


def test_a_forward_target_that_cannot_be_used_stops_the_worker(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_FORWARD_URL": "ftp://example.nl/x"}
    done = run("worker", "--queue", "handlers", environ=environ, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "INGEST_FORWARD_URL" in done.stderr


async def test_the_fake_runs_as_a_command_with_faults_until_it_is_stopped(tmp_path: Path) -> None:
    name = "cdm-click.2026-11-20.log"
    log_file(tmp_path, name, 3000)
    command = ingest("fake-api", "--logfiles", str(tmp_path), "--port", "0", "--fail", "cut@download,429@token")
    with running(command, {}, tmp_path / "log") as process:
        until(lambda: "COPERNICA_TOKEN=" in process.output, "the fake")
        environ = dict(re.findall(r"^export (\w+)=(\S+)$", process.output, re.MULTILINE))
        assert set(environ) == {"COPERNICA_API_URL", "COPERNICA_AUTH_URL", "COPERNICA_TOKEN"}
        async with client(environ) as copernica:
            await copernica.download(name, tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == (tmp_path / name).read_bytes()
        process.send(signal.SIGINT)
        assert process.wait() == 0
        assert "Traceback" not in process.output
        assert "Requests by what they were about: token 2, download 2." in process.output


def test_no_other_command_loads_what_sending_needs() -> None:
    script = "import sys, ingest.cli.main, ingest.cli.render.console; sys.exit('httptools' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (["worker"], {"DATABASE_URL": "sqlite:////proc/nowhere/x.db"}, 1, "/proc/nowhere/x.db"),
        (["worker"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, 1, "does not answer"),
        (["serve"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, 1, "does not answer"),
        (["serve"], {"INGEST_VERIFY": "on"}, 2, "INGEST_ACCOUNTS is not set"),
        (["serve"], {"INGEST_VERIFY": "on", "INGEST_ACCOUNTS": "1", "INGEST_KEYS": "/no/such"}, 2, "/no/such"),
        (["serve"], {"INGEST_DNS_SERVERS": "dns.example"}, 2, "INGEST_DNS_SERVERS"),
        (["serve"], {"HOST": "no.such.host.invalid"}, 2, "HOST="),
        (["serve"], {"HOST": "192.0.2.1"}, 1, "192.0.2.1"),
        (["serve"], {"INGEST_PATH": "copernica"}, 2, "INGEST_PATH="),
        (["simulate", "--url", "http://127.0.0.1:1/copernica"], {}, 1, "Nothing answers"),
        (["simulate", "--url", "ftp://x"], {}, 2, "ftp://x"),
        (["simulate", "--types", "open,nonsense"], {}, 2, "nonsense"),
    ],
)
def test_a_mistake_gives_one_sentence_and_an_exit_code(
    redis_url: str,
    sqlite_url: str,
    arguments: list[str],
    changes: dict[str, str],
    code: int,
    said: str,
    tmp_path: Path,
) -> None:
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_VERIFY": "off", **changes}
    done = run(*arguments, environ=environ, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("ingest: ")]) == 1


def test_an_endpoint_refuses_tables_of_an_older_release_and_keeps_nothing_of_the_database_loaded(
    sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    environ = {
        "DATABASE_URL": sqlite_url,
        "REDIS_URL": redis_url,
        "INGEST_ACCOUNTS": "1",
        "PORT": str(free_port()),
    }
    with running(ingest("serve"), environ, tmp_path / "log") as process:
        until(lambda: answers(int(environ["PORT"])), "the endpoint")
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        ours = {"cryptography", "uvloop"} | (set() if IS_COVERED else {"sqlite3"})
        assert not [name for name in ours if name in loaded]
    with closing(Store.open(sqlite_url)) as store:
        execute(store, "UPDATE alembic_version SET version_num = '0001'")
    refused = run("serve", environ=environ)
    assert refused.returncode == 1
    assert "has schema 0001" in refused.stderr
    assert "Traceback" not in refused.stderr
