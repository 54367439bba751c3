"""What several test files share: a real server, on a Unix socket that only the tests know."""

import gc
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings

from ingest import shown
from ingest.dev import embedded_redis
from ingest.redis_client import connect
from tests.support import constants, running
from tests.support.leftovers import DATA, nothing_is_left
from tests.support.mariadb import EmptyMaria, binaries, mariadb
from tests.support.mariadb import Server as MariaServer
from tests.support.postgres import EmptyDatabase, Server, postgres
from workers.store.other_release import noted
from workers.store.schema import upgrade
from workers.store.store import Store

# Tests may run as root, in a container for instance; the workers that they start would refuse to.
os.environ["INGEST_ALLOW_ROOT"] = "1"
# Nor may the settings of whoever runs them count.
os.environ["INGEST_ENV_FILE"] = "off"


#: Seconds that an empty server may take to come up, on a machine that is busy.
START_TIMEOUT = 20.0

# The same examples each time, so that everybody gets the same answer; `make fuzz` searches at random.
settings.register_profile("same", deadline=None, max_examples=40, derandomize=True, database=None)
settings.load_profile("same")
constants.try_those_of(())


def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto`: one process more than there are cores, since some of them always wait for a server."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


#: What decides whether an event is kept, handed on and deleted once: `make test` asks it of SQLite, and
#: `make test-system` of all databases. Only `make test-databases` asks the others of what people are shown.
KEPT = {
    "store",
    "drain",
    "schema",
    "erase",
    "work_queue",
    "three_sources",
    "runner",
    "reconcile",
    "matching",
    "catch_up",
    "gaps",
    "dead_letters",
    "replay",
    "daily_jobs",
}
KEPT |= {"takeover", "late_verification", "oracle", "totals", "stream_marks", "stream_servers", "search_index"}
KEPT |= {"mariadb", "postgres_surroundings"}
#: What `make test` asks of PostgreSQL nevertheless.
ALSO_OF_POSTGRESQL = "test_everything_is_stored_and_acknowledged[postgresql]"

#: How a file says that all its tests are slow.
_WHOLLY_SLOW = re.compile(r"^pytestmark = \[?pytest\.mark\.slow\b", re.MULTILINE)


#: What has no part in taking, storing and handing on a call, and takes seconds to test: all of it is slow.
#: Files of tests, by their folder and what they are about.
BESIDE = frozenset({
    *(f"integration/{name}" for name in (
        "alerts", "api_calls", "api_client", "api_readers", "catch_up", "cli", "console", "daily_jobs", "event",
        "handler_history", "import", "mailing_figures", "metrics", "oracle", "pseudonyms", "reconcile", "results",
        "scale", "search", "smtpeter_client", "stats", "totals", "totals_of_days", "webhooks_cli", "workbench",
        "wrong_server",
    )),
    *(f"unit/{name}" for name in ("hostile_logfiles", "simulated_logfiles", "simulation", "truth")),
    "both_redis/rate_limit", "simulation/simulation",
})  # fmt: skip  # a list to be read across


def _is_beside(path: Path) -> bool:
    """Whether all that a file tests is slow: what people see, or what is `BESIDE`."""
    name = f"{path.parent.name}/{path.name.removeprefix('test_').removesuffix('.py')}"
    return name.startswith("integration/console_") or name in BESIDE


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import files of which the `-m` of the Makefile's targets wants no test: that takes long."""
    wanted, path = config.option.markexpr, collection_path
    if not wanted or path.suffix != ".py" or not path.name.startswith("test_"):
        return None
    text = path.read_text(encoding="utf-8")
    is_slow = _is_beside(path) or bool(_WHOLLY_SLOW.search(text))
    left_out = {
        "not (system or slow": is_slow and "mark.smoke" not in text,
        "(system or slow)": path.parent.name == "unit" and "mark.slow" not in text and not _is_beside(path),
        "databases": path.parent.name == "unit" and "database" not in text,
    }
    return any(left_out[begin] for begin in left_out if wanted.startswith(begin)) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep `make test` short: it leaves to others what people see, and most of the other databases."""
    for item in items:
        name = item.path.name.removeprefix("test_").removesuffix(".py")
        if _is_beside(item.path):
            item.add_marker(pytest.mark.slow)
        parameters = (
            item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        )
        database = parameters.get("database", "sqlite")
        if database != "sqlite" and name not in KEPT:
            item.add_marker(pytest.mark.databases)
        elif database != "sqlite":
            if item.name == ALSO_OF_POSTGRESQL:
                item.add_marker(pytest.mark.smoke)
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end: the collector of garbage need not go through them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails the session if a test leaves a process, a port or a file; in each process that runs tests."""
    tmp_path_factory.getbasetemp()  # where the folders of tests are is decided before TMPDIR changes
    with nothing_is_left():
        yield


@pytest.fixture(autouse=True)
def _secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test sets as a secret is a word that others may use."""
    monkeypatch.setattr(shown, "_secrets", set())
    monkeypatch.setattr(shown, "_pattern", None)


@pytest.fixture(autouse=True)
def _keeps_its_data_elsewhere() -> Iterator[None]:
    """Names the test (or those beside it, in other processes) that was given no folder for its data."""
    before = DATA.exists()
    yield
    assert before or not DATA.exists(), f"{DATA} was made just now: set INGEST_DATA_DIR"


@pytest.fixture(autouse=True)
def _meets_no_other_release() -> Iterator[None]:
    """That one test met tables of another release does not end the workers of others."""
    yield
    noted.forget()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what its processes said, and where the rest of that lies."""
    report = yield
    if report.failed:
        report.sections.extend(running.last_words())
    if call.when == "teardown":
        running.logs.clear()
    return report


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """The URL of a server that runs as `ingest dev` runs it, and goes when the tests are over."""
    folder = Path(tempfile.mkdtemp(prefix="ingest-"))
    socket = folder / "valkey.sock"
    command = [str(embedded_redis.binary()), str(embedded_redis.configuration())]
    command += ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"unix://{socket}"
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_TIMEOUT
    with connect(url) as client:
        while True:
            try:
                client.ping()
                return
            except redis.RedisError:
                assert process.poll() is None, "the server ended at once"
                assert time.monotonic() < until, "the server does not come up"
                time.sleep(0.02)


@pytest.fixture
def redis_url(valkey_server: str) -> str:
    """The URL of the server, emptied."""
    with connect(valkey_server) as client:
        client.flushall()
    return valkey_server


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the emptied server."""
    with connect(redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A real PostgreSQL server, with our tables in the database `template`."""
    with postgres() as server:
        upgrade(server.new_database("template"))
        yield server


@pytest.fixture(scope="session")
def postgres_database(postgres_server: Server) -> EmptyDatabase:
    """A database with our tables, which each test gets emptied."""
    return EmptyDatabase(postgres_server, "events", "template")


@pytest.fixture(scope="session")
def maria_server() -> Iterator[MariaServer]:
    """A real MariaDB server; where there is none, what needs it is skipped."""
    if binaries() is None:
        pytest.skip(
            "NOT TESTED: the store on MariaDB, of which there is no server here (apt-get install mariadb-server)"
        )
    with mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def maria_database(maria_server: MariaServer) -> EmptyMaria:
    """A database of it with our tables, which each test gets emptied."""
    return EmptyMaria(maria_server, "events")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with our tables and nothing in them; a copy of it is made faster than its tables."""
    path = tmp_path_factory.mktemp("template") / "events.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a SQLite file with our tables, empty."""
    shutil.copy(sqlite_template, tmp_path / "events.db")
    return f"sqlite:///{tmp_path}/events.db"


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a database with our tables, empty; once of each kind."""
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite_url")
        return url
    if request.param == "mariadb":
        maria: EmptyMaria = request.getfixturevalue("maria_database")
        return maria.url()
    database: EmptyDatabase = request.getfixturevalue("postgres_database")
    return database.url()


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """That database, opened."""
    store = Store.open(database)
    yield store
    store.close()


@pytest.fixture
def fill_memory(client: redis.Redis) -> Iterator[Callable[[], object]]:
    """Call it, and the server refuses every write that needs memory until the test is over."""
    limit = client.config_get("maxmemory")["maxmemory"] or "0"
    yield lambda: client.config_set("maxmemory", 1)
    client.config_set("maxmemory", limit)
