"""The built-in handler, which forwards each call to an existing script.

`INGEST_FORWARD_URL=https://example.nl/old.php#types=open|click&rate=50/s&concurrency=4&timeout=10`; commas
separate several targets. Options come after `#`, which is never sent. The body is forwarded as it came in, with
the headers that Copernica signed. Copernica's own verifier rejects calls whose Date is old, so they are signed
again as well, by the rules of Standard Webhooks, with `INGEST_FORWARD_SECRET`.

    the target answers 2xx                      done
    408, 425, 429, 5xx, or it does not answer   tried again; `Retry-After` is honoured
    anything else, redirects included           a dead letter at once
"""

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Self
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

#: Calls under way at once by default: few enough for a script on a small web server.
CONCURRENCY = 4
#: Headers of the original call that are forwarded, if it had them: what its signature covers.
FORWARDED_HEADERS = (b"x-copernica-id", b"date", b"digest", b"signature")
#: Seconds that `timeout` must be below, since a job waits that long: a day is surely a mistake.
MAX_TIMEOUT = 86_400
#: Seconds for which a Retry-After is honoured at most: a mistake of the target must not stop it for days.
MAX_RETRY_AFTER = 3600.0
#: How the names of these handlers begin; host and path of the target follow.
NAME = "forward"


def handlers(settings: Settings) -> list[Handler]:
    """One handler for each target.

    Raises:
        SettingsError: a URL, one of its options or the secret is invalid.
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
    shown = re.sub(r"//.*@", "//", url)  # without a password
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise SettingsError(f"INGEST_FORWARD_URL: {shown!r} is not a URL: {error}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"INGEST_FORWARD_URL: {shown!r} is not a URL; write https://example.nl/script.php.")
    target = _Target(urlunsplit(parts._replace(fragment="")), signer)
    try:
        options = _Options.parse(parts.fragment)
    except ValueError as error:
        raise SettingsError(f"INGEST_FORWARD_URL: the options of {shown!r} are invalid: {error}.") from None
    return Handler(
        f"{NAME}:{parts.hostname}{port}{parts.path}",
        target.post,
        options.types,
        timeout=options.timeout,
        concurrency=options.concurrency,
        rate=options.rate,
        raw=True,
        breaker=True,
        finish=target.close,
    )


class _Options(NamedTuple):
    """The options of a target; see the same fields of `Handler`."""

    types: frozenset[str]
    rate: float | None
    concurrency: int
    timeout: float

    @classmethod
    def parse(cls, fragment: str) -> Self:
        """Read the fragment of a target's URL.

        Raises:
            ValueError: there is an unknown option, or an invalid value.
        """
        options = dict(parse_qsl(fragment))
        names = options.pop("types", "").replace(" ", "|").split("|")
        rate = options.pop("rate", None)
        concurrency = int(options.pop("concurrency", CONCURRENCY))
        timeout = float(options.pop("timeout", TIMEOUT))
        if options:
            raise ValueError(f"{', '.join(options)} is none of types, rate, concurrency and timeout")
        if concurrency < 1:
            raise ValueError("concurrency should be at least 1")
        if not 0 < timeout < MAX_TIMEOUT:
            raise ValueError(f"timeout should be more than 0 and less than {MAX_TIMEOUT} seconds")
        types = frozenset(EventType(name).value for name in names if name)
        return cls(
            types or frozenset(map(str, EventType)), per_second(rate) if rate else None, concurrency, timeout
        )


@dataclass(slots=True)
class _Target:
    """One script, and the connections to it while a job runs."""

    url: str
    signer: Webhook | None
    session: aiohttp.ClientSession | None = None

    async def post(self, record: Record) -> None:
        """Forward one call.

        Raises:
            TryLater: the target has a temporary problem, or cannot be reached.
            GiveUp: the target refuses this call.
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
        """Close the connections."""
        if self.session is not None:
            await self.session.close()
            self.session = None

    def _headers(self, record: Record) -> Mapping[str, str]:
        original = dict(unpack_headers(record.headers))
        delivery_id = record.delivery_id.hex()
        headers = {
            name.decode(): original[name].decode("latin-1") for name in FORWARDED_HEADERS if name in original
        }
        headers["Content-Type"] = record.content_type.decode("latin-1")
        headers["X-Ingest-Delivery-Id"] = delivery_id
        headers["X-Ingest-Received-At"] = datetime.fromtimestamp(record.received_at / 1e6, UTC).isoformat()
        if self.signer is not None:
            now = datetime.now(UTC)
            headers["webhook-id"] = delivery_id
            headers["webhook-timestamp"] = str(int(now.timestamp()))
            # The standard signs text; a body that is not UTF-8 is signed as receivers decode it, errors replaced.
            body = record.body.decode("utf-8", "replace")
            headers["webhook-signature"] = self.signer.sign(delivery_id, now, body)
        return headers
