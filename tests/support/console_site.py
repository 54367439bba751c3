"""A whole site with a console, as `ingest dev` runs it: endpoint, workers, Valkey, a database, and the console."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode
from urllib.request import urlopen

from ingest.settings import SIGNER_FILE
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.signer import Signer
from tests.support.fake_copernica import TOKEN, fake_copernica
from tests.support.running import free_port, ingest, run, running, until
from workers.store.store import Store

T = TypeVar("T")

#: What those type who may act, and those who may only look.
PASSWORDS = {"operator": "correct horse battery", "reader": "only here to look round"}
FORM = "application/x-www-form-urlencoded"
#: The module that the site names as its handlers. Which of them fail, tests say with `ConsoleSite.failing`.
HANDLERS = '''
import os
from pathlib import Path

from workers import on


def work(event):
    """Fail for as long as the test wants that, with what an attacker may have put into the event."""
    if Path(os.environ["FAILING"]).exists():
        raise ValueError(f"no luck with {event.recipient} of {event.payload}")


@on("open", "click")
def activity(event):
    """Does well, always."""


@on("bounce", "failure", retries=0)
def hygiene(event):
    """Gives up at once when it fails: dead letters."""
    work(event)


@on("unsubscribe", "abuse", backoff=(3600.0,))
def suppression(event):
    """Tries again after an hour when it fails: something that waits, with its last error."""
    work(event)
'''

#: Seconds for all parts to start, on a machine that is busy.
PATIENCE = 90.0

#: In the site's folder: the log files that Copernica has.
LOG_FILES = "logs"

_numbers = itertools.count(1)


class ConsoleSite:
    """What tests know of a running site. They share it, so each makes recipients and mailings of its own."""

    def __init__(self, folder: Path, copernica: Mapping[str, str], database: str | None = None) -> None:
        """`copernica` are the settings with which the fake of its API is found."""
        self.folder = folder
        self.port, console_port = free_port(), free_port()
        #: Where the console is, without a slash at the end.
        self.url = f"http://127.0.0.1:{console_port}"
        #: What browsers keep of those who signed in, by role.
        self.sessions: dict[str, Any] = {}
        self.environ = {
            "PORT": str(self.port),
            "INGEST_DATA_DIR": str(folder / "data"),
            "INGEST_CONSOLE_PORT": str(console_port),
            "INGEST_CONSOLE_PASSWORD": PASSWORDS["operator"],
            "INGEST_CONSOLE_READ_PASSWORD": PASSWORDS["reader"],
            "INGEST_CONSOLE_SECRET": "sessions-outlive-a-restart-of-the-console",
            "INGEST_HANDLERS": "console_handlers",
            "INGEST_TZ": "Europe/Amsterdam",
            "FAILING": str(folder / "failing"),
            **copernica,
            **({"DATABASE_URL": database} if database else {}),
        }
        (folder / "console_handlers.py").write_text(HANDLERS)

    # --- what Copernica does ---

    def call(self, type_: str, **fields: object) -> int:
        """Send one call, signed as Copernica signs; returns the status of the answer.

        Fields that are not given are those of an everyday event; a list is sent as PHP sends one.
        """
        number = next(_numbers)
        everyday = {"type": type_, "id": f"{number:x}", "recipient": f"jan{number}@example.nl", "mailing": 4711}
        body = urlencode(list(_pairs({**everyday, "time": int(time.time()), **fields}))).encode()
        return self.raw_call(body)

    def raw_call(self, body: bytes, content_type: str = FORM, signed: bool = True, **headers: str) -> int:
        """Send any bytes as the body of a call."""
        host = f"127.0.0.1:{self.port}"
        made = {"Content-Type": content_type}
        if signed:
            signer = Signer.load(self.folder / "data" / SIGNER_FILE).for_account("account-1")
            made = signer.sign("/copernica", host, content_type, body)
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10.0)
        try:
            connection.request("POST", "/copernica", body, made | headers)
            return connection.getresponse().status
        finally:
            connection.close()

    # --- what an operator does at a prompt ---

    def ingest(self, *arguments: str) -> str:
        """What a command prints that succeeds; it has the settings of the site."""
        done = run(*arguments, environ=self.environ, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def database(self) -> str:
        """The URL of the store."""
        return self.environ.get("DATABASE_URL", f"sqlite:///{self.folder}/data/ingest.db")

    def ask(self, question: Callable[[Store], T]) -> T:
        """What a function of the store returns."""
        store = Store.open(self.database)
        try:
            return question(store)
        finally:
            store.close()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """For as long as the block runs, the handlers `hygiene` and `suppression` fail."""
        flag = Path(self.environ["FAILING"])
        flag.touch()
        try:
            yield
        finally:
            flag.unlink()

    # --- whether it is there ---

    def is_shown(self) -> bool:
        """Whether the console answers, be it with its login."""
        with suppress(OSError), urlopen(f"{self.url}/", timeout=5) as answer:
            return bool(answer.status == 200)
        return False


def _pairs(fields: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, list):
            yield from ((f"{name}[{place}]", str(one)) for place, one in enumerate(value))
        else:
            yield name, str(value)


@contextmanager
def console_site(folder: Path, database: str | None = None) -> Iterator[ConsoleSite]:
    """A running site in this folder, for as long as the block runs."""
    with ExitStack() as stack:
        (folder / LOG_FILES).mkdir()
        copernica = stack.enter_context(fake_copernica(FakeCopernica(folder / LOG_FILES, TOKEN)))
        site = ConsoleSite(folder, copernica, database)
        process = stack.enter_context(running(ingest("dev"), site.environ, folder / "dev.log", cwd=folder))
        until(lambda: "Now type" in process.output or not process.alive, "the banner", PATIENCE)
        assert process.alive, process.output
        until(site.is_shown, "the console")
        yield site
    faults = [line for line in process.output.splitlines() if line.startswith("console ") and "Traceback" in line]
    assert not faults, process.output
