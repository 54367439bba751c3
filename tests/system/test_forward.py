"""A call's whole way: from Copernica through the endpoint, the drain and the handlers' job to a script."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from standardwebhooks import Webhook

from ingest.settings import Settings
from ingest.simulation.signer import Signer
from tests.support.http import Script, listening
from tests.support.running import answers, exchange, free_port, ingest, run, running, until
from workers.handlers import configured, jobs
from workers.store.store import Store

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b"type=open&id=5fd2&recipient=jan%40example.nl&ip=192.0.2.7&note=%E2%82%AC+%ff&time=1795165964"
FORM = b"application/x-www-form-urlencoded"


@pytest.fixture
def script() -> Iterator[Script]:
    with listening() as script:
        yield script


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """The jobs of this test read its own settings."""
    configured.forget_handlers()
    yield
    configured.forget_handlers()


def test_a_call_goes_on_as_it_came_with_what_copernica_signed(
    redis_url: str, sqlite_url: str, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer.new("account-1234")
    (tmp_path / "keys.json").write_text(json.dumps({signer.key_id: signer.dkim_record}))
    port = free_port()
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": sqlite_url,
        "INGEST_ACCOUNTS": "1234",
        "INGEST_KEYS": str(tmp_path / "keys.json"),
        "PORT": str(port),
        "INGEST_FORWARD_URL": f"{script.url}?from=ingest#types=open",
        "INGEST_FORWARD_SECRET": SECRET,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    signed = signer.sign("/copernica", f"127.0.0.1:{port}", FORM.decode(), BODY)
    with running(ingest("serve"), environ, tmp_path / "log"):
        until(lambda: answers(port), "the endpoint")
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        request = f"POST /copernica HTTP/1.1\r\n{lines}\r\n".encode() + BODY
        assert exchange(port, request).startswith(b"HTTP/1.1 200")
    assert "1 event stored" in run("drain", environ=environ).stdout
    assert jobs.hand_on_job() == 1
    (name,) = configured.known_handlers(Settings.read())
    assert jobs.handle_job(name)["done"] == 1

    (seen,) = script.seen
    assert seen.path == "/old.php?from=ingest"
    assert seen.body == BODY
    for name in ("Content-Type", "X-Copernica-ID", "Date", "Digest", "Signature"):
        assert seen.headers[name.lower()] == signed[name]
    with closing(Store.open(sqlite_url)) as store, store.reading() as connection:
        stored = connection.execute(text("SELECT delivery_id FROM events")).scalar_one()
    assert seen.headers["x-ingest-delivery-id"] == bytes(stored).hex()
    assert seen.headers["x-ingest-received-at"].endswith("+00:00")
    assert seen.headers["webhook-id"] == bytes(stored).hex()
    Webhook(SECRET).verify(seen.body, seen.headers, json_parse=False)
