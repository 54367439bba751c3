"""The examples in PHP as whole sites: PHP's own web server, a worker, and the frameworks as Debian packages them.

Laravel is in `php-laravel-framework`; Symfony's webhooks are in `php-symfony-webhook` from Debian 13 on.
`PHP_SHARE` names another folder than `/usr/share/php` that packages were unpacked into.
"""

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.support.running import clean_environ, free_port, running, until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
#: What makes an application of an example.
AROUND = ROOT / "tests" / "php_around"
SHARE = Path(os.environ.get("PHP_SHARE", "/usr/share/php"))
#: The file by which each framework is known to be there, and where it comes from.
FRAMEWORKS = {
    "laravel": ("Illuminate/Foundation/Application.php", "apt-get install php-laravel-framework"),
    "symfony": (
        "Symfony/Component/Webhook/autoload.php",
        "on Debian 13: apt-get install php-symfony-framework-bundle php-symfony-webhook "
        "php-symfony-doctrine-messenger php-doctrine-persistence php-symfony-yaml",
    ),
}
#: Small bodies only, warnings as an answer, no buffer: PHP without an ini file.
CARELESS = ("display_errors=1", "display_startup_errors=1", "output_buffering=0")
#: What larger bodies need, as the documentation says.
USUAL = ("post_max_size=32M", "display_errors=0")


@dataclass
class PhpSite:
    """One example that takes calls."""

    port: int
    path: str
    folder: Path
    environ: Mapping[str, str]
    #: The command that does what is due.
    worker: tuple[str, ...]
    #: SQL that makes due what is to be tried again.
    make_due: str
    #: SQL that counts what waits.
    waiting: str
    #: SQL that takes away what a call is kept in.
    breaking: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def post(self, body: bytes, headers: Mapping[str, str], method: str = "POST") -> int:
        """Send a call; returns the status of the answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, self.path, body, dict(headers))
            return connection.getresponse().status

    def work(self) -> list[dict[str, Any]]:
        """Have the worker do what is due; returns all that was ever handled, in order."""
        if count := self.sql(self.waiting)[0][0]:
            command = ["php", *(part.format(count=count) for part in self.worker)]
            subprocess.run(
                command, env={**clean_environ(), **self.environ}, cwd=self.folder, check=True, timeout=60
            )
        found = self.folder / "events.jsonl"
        return [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """What SQL finds, or does, in the site's database."""
        with closing(sqlite3.connect(self.folder / "calls.db", timeout=20)) as connection, connection:
            return connection.execute(statement).fetchall()


def signed(
    body: bytes, *secrets: str, delivery_id: str, second: int | None = None, content_type: str | None = None
) -> dict[str, str]:
    """The headers of a call, as the ingester would send it with these secrets."""
    at = int(time.time()) if second is None else second
    signatures = [
        base64.b64encode(
            hmac.digest(
                base64.b64decode(secret.removeprefix("whsec_")),
                f"{delivery_id}.{at}.".encode() + body,
                hashlib.sha256,
            )
        ).decode()
        for secret in secrets
    ]
    return {
        "Content-Type": content_type or "application/x-www-form-urlencoded",
        "X-Ingest-Delivery-Id": delivery_id,
        "webhook-id": delivery_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


@contextmanager
def php_site(
    name: str, folder: Path, secret: str, options: tuple[str, ...] = USUAL, **more: str
) -> Iterator[PhpSite]:
    """The example of this name, for as long as the block runs; skips the test where it cannot be had."""
    if lack := missing(name):
        pytest.skip(lack)
    shutil.copytree(EXAMPLES / name, folder)
    if (AROUND / name).exists():
        shutil.copytree(AROUND / name, folder, dirs_exist_ok=True)
    if name == "laravel":  # an empty folder, of which git keeps nothing
        (folder / "bootstrap" / "cache").mkdir(parents=True, exist_ok=True)
    environ = {
        "INGEST_FORWARD_SECRET": secret,
        "EVENTS_FILE": str(folder / "events.jsonl"),
        "FAIL_FILE": str(folder / "fail"),
        "CALLS_DSN": f"sqlite:{folder}/calls.db",
        "DB_FILE": str(folder / "calls.db"),
        "PHP_SHARE": str(SHARE),
        "PHP_CLI_SERVER_WORKERS": "4",
        **more,
    }
    site = PhpSite(free_port(), folder=folder, environ=environ, **_SITES[name])
    _make_tables(site, name)
    front = [str(folder / "public" / "index.php")] if name != "php" else []
    ini = [part for option in options for part in ("-d", option)]
    server = ["php", *ini, "-S", f"127.0.0.1:{site.port}", "-t", str(folder / "public"), *front]
    with running(server, environ, folder.with_suffix(".log"), cwd=folder) as process:
        try:
            until(lambda: _is_up(site), "PHP's web server")
            yield site
        finally:  # PHP's own workers outlive it otherwise
            os.killpg(process.pid, signal.SIGTERM)


#: What differs between the examples.
_SITES: dict[str, dict[str, Any]] = {
    "php": {
        "path": "/copernica.php",
        "worker": ("work.php",),
        "make_due": "UPDATE copernica_calls SET due_at = 0",
        "waiting": "SELECT count(*) FROM copernica_calls WHERE done_at IS NULL",
        "breaking": "DROP TABLE copernica_calls",
    },
    "laravel": {
        "path": "/copernica",
        "worker": ("artisan", "queue:work", "--stop-when-empty", "--quiet"),
        "make_due": "UPDATE jobs SET available_at = 0",
        "waiting": "SELECT count(*) FROM jobs",
        "breaking": "DROP TABLE jobs",
    },
    "symfony": {
        "path": "/webhook/copernica",
        "worker": ("console.php", "messenger:consume", "async", "--limit={count}", "--quiet"),
        "make_due": "UPDATE messenger_messages SET available_at = '2000-01-01 00:00:00'",
        "waiting": "SELECT count(*) FROM messenger_messages WHERE queue_name = 'default'",
        "breaking": "DROP TABLE messenger_messages",
    },
}


def missing(name: str) -> str | None:
    """What this machine lacks for the example of this name, in words."""
    if shutil.which("php") is None:
        return "there is no `php` on this machine; on Debian: apt-get install php-cli php-sqlite3"
    if "pdo_sqlite" not in subprocess.run(["php", "-m"], capture_output=True, text=True, check=True).stdout:
        return "this PHP has no SQLite; on Debian: apt-get install php-sqlite3"
    if name in FRAMEWORKS and not (SHARE / FRAMEWORKS[name][0]).exists():
        return f"there is no {name.title()} in {SHARE}; {FRAMEWORKS[name][1]}"
    return None


def _make_tables(site: PhpSite, name: str) -> None:
    (site.folder / "calls.db").touch()
    if name != "laravel":
        with closing(sqlite3.connect(site.folder / "calls.db")) as connection:
            connection.executescript((site.folder / "tables.sql").read_text())
    made = {
        "laravel": (("artisan", "queue:table"), ("artisan", "migrate", "--force")),
        "symfony": (("console.php", "messenger:setup-transports"),),
    }
    for command in made.get(name, ()):
        environ = {**clean_environ(), **site.environ}
        subprocess.run(
            ["php", *command], env=environ, cwd=site.folder, check=True, timeout=60, stdout=subprocess.DEVNULL
        )


def _is_up(site: PhpSite) -> bool:
    try:
        return site.post(b"", {}) > 0
    except OSError:
        return False
