"""SMTPeter with the real program: simulated log files are recovered whole, and nothing it writes has the token."""

import json
import signal
from pathlib import Path
from urllib.parse import quote

import pytest

from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from tests.support.fake_smtpeter import SMTPETER_TOKEN, fake_smtpeter, written
from tests.support.running import descendants, ingest, run, running, until
from workers.store.filters import Filter
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: Everything that makes Python and its libraries tell more.
TALKATIVE = {"LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1", "PYTHONWARNINGS": "default"}
DAY = "2026-11-20"
#: Seconds that one command may take on a machine that is busy.
LONG = 120.0


def shows(text: str) -> bool:
    spellings = SMTPETER_TOKEN, quote(SMTPETER_TOKEN), quote(SMTPETER_TOKEN, safe=""), "geheim"
    return any(spelling in text for spelling in spellings)


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/events.db"
    upgrade(url)
    return url


@pytest.fixture
def environ(tmp_path: Path, database: str) -> dict[str, str]:
    return {"DATABASE_URL": database, "INGEST_DATA_DIR": str(tmp_path / "data")}


def test_what_the_simulator_wrote_is_recovered_and_asked_for(
    tmp_path: Path, environ: dict[str, str], database: str
) -> None:
    logs = tmp_path / "logs"
    # Nothing listens there: every call is missed.
    sent = ("--events", "200", "--rate", "2000", "--keep-going", "--unsigned", "--url", "http://127.0.0.1:9/")
    run("simulate", *sent, "--smtpeter", "--with-logfiles", str(logs), environ=environ, seconds=LONG)
    days = sorted({path.name.split(".")[1] for path in logs.glob("opens.*.log")})
    faults = Faults("429@smtpeter,moved@smtpeter,500@events")
    with fake_smtpeter(FakeCopernica(logs, "another", faults)) as there:
        everything = environ | there
        command = ("reconcile", days[0], days[-1], "--partial", "--wait", "0", "--json")
        done = run(*command, environ=everything, seconds=LONG)
        assert done.returncode == 0, done.stderr
        question = ("events-of", "--template", "1207", "--since", days[0], "--json")
        asked = run(*question, environ=everything, seconds=LONG)
    *events, summary = map(json.loads, asked.stdout.splitlines())
    assert (asked.returncode, {one["in_store"] for one in events}, summary["unread"]) == (0, {"yes"}, 0)
    with Store.open(database) as store:
        stored = [event.type for event in store.find(Filter())]
    assert sum(kind["told"] for kind in summary["types"].values()) == len(events) == len(stored) > 100


@pytest.mark.parametrize("plan", ["429@smtpeter,short@smtpeter,500@events", "moved*99", "elsewhere*99"])
def test_no_command_writes_the_token_whatever_fails(tmp_path: Path, environ: dict[str, str], plan: str) -> None:
    logs = tmp_path / "logs"
    written(logs, "opens", DAY, [{"id": "m1", "recipient": "a@example.nl"}])
    with fake_smtpeter(FakeCopernica(logs, "another", Faults(plan))) as there:
        for command in (
            ("reconcile", DAY, "--wait", "0"),
            ("events-of", "--message", "m1", "--since", DAY, "--store", "--wait", "0"),
        ):
            done = run(*command, environ=environ | there | TALKATIVE, seconds=LONG)
            assert done.stdout + done.stderr, command
            assert not shows(done.stdout + done.stderr), command
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or not shows(path.read_bytes().decode("latin-1")), path


def test_no_list_of_processes_has_the_token(tmp_path: Path, environ: dict[str, str]) -> None:
    logs = tmp_path / "logs"
    written(logs, "opens", DAY, [])
    state = FakeCopernica(logs, "another", Faults("slow*99@smtpeter"))
    with fake_smtpeter(state) as there:
        command = ingest("reconcile", DAY, "--wait", "0")
        with running(command, environ | there, tmp_path / "reconcile.log") as process:
            until(lambda: state.seen, "a call", LONG)
            for pid in {process.pid, *descendants(process.pid)}:
                assert not shows(Path(f"/proc/{pid}/cmdline").read_text())
            process.send(signal.SIGINT)  # after which it removes what it has downloaded
            process.wait(LONG)
    assert not shows((tmp_path / "reconcile.log").read_text())
