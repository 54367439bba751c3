"""The built-in handler: pass each call on to a script that exists already.

`INGEST_FORWARD_URL=https://example.nl/old.php#types=open|click&rate=50/s&concurrency=4&timeout=10`, with commas
between several. Options stand behind `#`, which is never sent. The body goes on as it came, with the headers that
Copernica signed; but an old Date fails Copernica's own verifier, so calls are signed anew, by the rules of
Standard Webhooks, with `INGEST_FORWARD_SECRET`.

What the target answers: 2xx is done; 408, 429, 5xx and no answer are tried again (`Retry-After` is honoured); any
other answer, redirects included, is a dead letter at once.
"""

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import aiohttp
from standardwebhooks import Webhook

from ingest.batch import Record
from ingest.copernica.api.retry_after import is_temporary, seconds_to_wait
from ingest.copernica.events import EventType
from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.verification import unpack_headers
from workers.handlers.registry import TIMEOUT, GiveUp, Handler, TryLater, per_second

#: Calls under way at once to a target that does not say.
CONCURRENCY = 4
#: Headers of the original call that go on, if it had them.
PASSED_ON = (b"x-copernica-id", b"date", b"digest", b"signature")
#: Seconds that a call may take at the most, whatever is asked for.
MAX_TIMEOUT = 86_400
#: Seconds that a Retry-After is believed at the most.
MAX_RETRY_AFTER = 3600.0
NAME = "forward"


def handlers(settings: Settings) -> list[Handler]:
    """One handler for each target.

    Raises:
        SettingsError: a URL or one of its options cannot be used, or the secret is none.
    """
    if not settings.forward_url:
        return []
    signer = _signer(settings.forward_secret)
    return [_handler(url, signer) for url in settings.forward_url]


def _signer(secret: str | None) -> Webhook | None:
    if secret is None:
        return None
    encoded = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise SettingsError("INGEST_FORWARD_SECRET should be base64, as in whsec_MfKQ9r8GKYqrTwjUPD8ILPZI.")
    return Webhook(key)


def _handler(url: str, signer: Webhook | None) -> Handler:
    shown = re.sub(r"//.*@", "//", url)
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise SettingsError(f"INGEST_FORWARD_URL: {shown!r} is no target: {error}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"INGEST_FORWARD_URL: {shown!r} is no target; write https://example.nl/script.php.")
    options = dict(parse_qsl(parts.fragment))
    target = _Target(urlunsplit(parts._replace(fragment="")), signer)
    try:
        types = [EventType(name).value for name in options.pop("types", "").replace(" ", "|").split("|") if name]
        rate, timeout = options.pop("rate", None), float(options.pop("timeout", TIMEOUT))
        concurrency = int(options.pop("concurrency", CONCURRENCY))
        if options or concurrency < 1 or not 0 < timeout < MAX_TIMEOUT:
            raise ValueError(f"{', '.join(options) or 'concurrency or timeout'} cannot be that")
        return Handler(
            f"{NAME}:{parts.hostname}{port}{parts.path}", target.post, frozenset(types or map(str, EventType)),
            timeout=timeout, concurrency=concurrency, rate=per_second(rate) if rate else None,
            raw=True, breaker=True, finish=target.close,
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError(f"INGEST_FORWARD_URL: the options of {shown!r} cannot be used: {error}.") from None


@dataclass(slots=True)
class _Target:
    """One script, and the connections to it for as long as a job runs."""

    url: str
    signer: Webhook | None
    session: aiohttp.ClientSession | None = None

    async def post(self, record: Record) -> None:
        """Pass one call on.

        Raises:
            TryLater: the target has trouble, or cannot be reached.
            GiveUp: the target does not want this call.
        """
        if self.session is None:
            self.session = aiohttp.ClientSession(auto_decompress=False)
        try:
            async with self.session.post(
                self.url, data=io.BytesIO(record.body), headers=self._headers(record), allow_redirects=False
            ) as answer:
                status, retry_after = answer.status, answer.headers.get("Retry-After")
        except (aiohttp.ClientError, OSError) as error:
            raise TryLater(f"{type(error).__name__}: {error}") from None
        if 200 <= status < 300:
            return
        if is_temporary(status):
            seconds = seconds_to_wait(retry_after)
            pause = None if seconds is None else min(seconds, MAX_RETRY_AFTER)
            raise TryLater(f"the target answered {status}", pause)
        raise GiveUp(f"the target answered {status}")

    async def close(self) -> None:
        """Give the connections back."""
        if self.session is not None:
            await self.session.close()
            self.session = None

    def _headers(self, record: Record) -> Mapping[str, str]:
        original = dict(unpack_headers(record.headers))
        delivery_id = record.delivery_id.hex()
        headers = {name.decode(): original[name].decode("latin-1") for name in PASSED_ON if name in original}
        headers["Content-Type"] = record.content_type.decode("latin-1")
        headers["X-Ingest-Delivery-Id"] = delivery_id
        headers["X-Ingest-Received-At"] = datetime.fromtimestamp(record.received_at / 1e6, UTC).isoformat()
        if self.signer is not None:
            now = datetime.now(UTC)
            headers["webhook-id"] = delivery_id
            headers["webhook-timestamp"] = str(int(now.timestamp()))
            # The standard signs text; a body that is none is signed as what a receiver's decoder makes of it.
            body = record.body.decode("utf-8", "replace")
            headers["webhook-signature"] = self.signer.sign(delivery_id, now, body)
        return headers
