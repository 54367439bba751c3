"""The built-in handler, which forwards each call to an existing script.

`INGEST_FORWARD_URL=https://example.nl/old.php#types=open|click&rate=50/s&concurrency=4&timeout=10`; commas
separate several targets. Options come after `#`, which is never sent; the rest of the URL is called as written.
The body is forwarded as it came in, with every header that Copernica signed. It signs `Host` and the request
line as well, but these are the target's own, so what they were stands in `X-Ingest-Host` and `X-Ingest-Target`.
Its verifier rejects calls whose Date is old, so they are signed again as well, by the rules of Standard
Webhooks, with `INGEST_FORWARD_SECRET` (`workers.handlers.signing`).

    the target answers 2xx                      done
    408, 425, 429, 5xx, or it does not answer   tried again; `Retry-After` is honoured
    anything else, redirects included           a dead letter at once
"""

import base64
import io
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ingest.batch import Record
from ingest.copernica.api.retry_after import is_temporary, seconds_to_wait
from ingest.copernica.events import DAY, EventType
from ingest.copernica.header_fields import unpack_headers
from ingest.errors import SettingsError
from ingest.settings import Settings
from workers.handlers.registry import TIMEOUT, GiveUp, Handler, TryLater, per_second
from workers.handlers.signing import Signer

#: Calls under way at once by default: few enough for a script on a small web server.
CONCURRENCY = 4
#: Headers of the original call that are forwarded, if it had them, besides those that its signature covers.
FORWARDED_HEADERS = frozenset({b"x-copernica-id", b"date", b"digest", b"x-nonce", b"signature"})
#: Headers that belong to one connection, or that the forwarded request has of its own.
OWN_HEADERS = frozenset(
    b"host content-length content-type content-encoding transfer-encoding connection keep-alive proxy-connection "
    b"te trailer upgrade expect".split()
)
#: Seconds that `timeout` must be below, since a job waits that long: a day is surely a mistake.
MAX_TIMEOUT = DAY
#: Seconds for which a Retry-After is honoured at most: a mistake of the target must not stop it for days.
MAX_RETRY_AFTER = 3600.0
#: How the names of these handlers begin; host and path of the target follow.
NAME = "forward"

E = TypeVar("E", bound=Exception)

_URL = re.compile(r"(https?)://(?:([^/?#]*)@)?([^/?#@]+)([^#]*)(?:#(.*))?", re.IGNORECASE)
_HOST = re.compile(r"[!-~]+")
#: Everything that may stand in a request line: it is not encoded again.
_SENDABLE = "".join(map(chr, range(0x21, 0x7F)))
_COVERED = re.compile(rb'(?<![A-Za-z0-9_-])headers\s*=\s*"([^"]*)"', re.IGNORECASE)


def handlers(settings: Settings) -> list[Handler]:
    """One handler for each target.

    Raises:
        SettingsError: a URL, one of its options or the secret is invalid.
    """
    if not settings.forward_url:
        return []
    signer = None if settings.forward_secret is None else Signer.of(settings.forward_secret)
    return [_handler(number, url, signer) for number, url in enumerate(settings.forward_url, start=1)]


def _handler(number: int, url: str, signer: Signer | None) -> Handler:
    # Never the URL itself: a password or a token may be in any part of it, above all if it is mistyped.
    which = "INGEST_FORWARD_URL" if number == 1 else f"INGEST_FORWARD_URL: target {number}"
    match = _URL.fullmatch(url)
    if match is None or not url.isprintable():
        raise SettingsError(f"{which} is not a URL; write https://example.nl/script.php.")
    scheme, userinfo, host, path, fragment = match.groups()
    if "@" in (fragment or "") or ("@" in path and (userinfo is not None or ":" in host)):
        raise SettingsError(
            f"{which}: in a password write %2F for /, %3F for ? and %23 for #, elsewhere %40 for @."
        )
    try:
        options = Options.parse(fragment or "")
    except ValueError as error:
        raise SettingsError(f"{which}: the options after # are invalid: {error}.") from None
    target = _Target(_url(which, scheme, host, path), authorization(which, userinfo), signer)
    parts = urlsplit(f"//{host}")
    port = f":{parts.port}" if parts.port else ""
    return Handler(
        f"{NAME}:{parts.hostname}{port}{path.partition('?')[0]}",
        target.post,
        options.types,
        timeout=options.timeout,
        concurrency=options.concurrency,
        rate=options.rate,
        raw=True,
        breaker=True,
        finish=target.close,
    )


def _url(which: str, scheme: str, host: str, path: str) -> URL:
    """The URL to call, whose path and query are sent as they are written."""
    try:
        origin = URL(f"{scheme.lower()}://{host}")  # which writes the host as DNS wants it
        if not urlsplit(f"//{host}").hostname or not _HOST.fullmatch(origin.raw_host or ""):
            raise ValueError
    except ValueError:
        raise SettingsError(
            f"{which}: there is no valid host or port; write https://example.nl/script.php."
        ) from None
    path = quote(path, safe=_SENDABLE)
    return URL.build(
        scheme=origin.scheme,
        authority=origin.raw_authority,
        path=path if path.startswith("/") else f"/{path}",
        encoded=True,
    )


def authorization(which: str, userinfo: str | None) -> str | None:
    """The header for a name and a password in a URL, whose bytes are those that are written there."""
    if userinfo is None:
        return None
    name, _, password = userinfo.partition(":")
    if b":" in unquote_to_bytes(name):
        raise SettingsError(f"{which}: a name that is sent with a password cannot have a colon in it.")
    credentials = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return f"Basic {base64.b64encode(credentials).decode()}"


class Options(NamedTuple):
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

    def handler(
        self, name: str, call: Callable[[Any], Any], batch: int, finish: Callable[[], Coroutine[Any, Any, None]]
    ) -> Handler:
        """A built-in handler that has them, and is called with batches."""
        return Handler(
            name,
            call,
            self.types,
            batch=batch,
            timeout=self.timeout,
            concurrency=self.concurrency,
            rate=self.rate,
            finish=finish,
        )


@dataclass(slots=True)
class _Target:
    """One script, and the connections to it while a job runs."""

    url: URL
    authorization: str | None
    signer: Signer | None
    session: aiohttp.ClientSession | None = None

    async def post(self, record: Record) -> int:
        """Forward one call; returns the status that the target answered with.

        Raises:
            TryLater: the target has a temporary problem, or cannot be reached.
            GiveUp: the target refuses this call.
        """
        if self.session is None:
            self.session = aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=("Content-Type",))
        headers = headers_of(record, self.signer, self.authorization)
        try:
            async with self.session.post(
                self.url, data=io.BytesIO(record.body), headers=headers, allow_redirects=False
            ) as answer:
                status, retry_after = answer.status, answer.headers.get("Retry-After")
        except (aiohttp.ClientError, OSError) as error:
            raise TryLater(f"{type(error).__name__}: {error}") from None
        if 200 <= status < 300:
            return status
        if is_temporary(status):
            seconds = seconds_to_wait(retry_after)
            pause = None if seconds is None else min(seconds, MAX_RETRY_AFTER)
            raise _with(status, TryLater(f"the target answered {status}", pause))
        raise _with(status, GiveUp(f"the target answered {status}"))

    async def close(self) -> None:
        """Close the connections."""
        if self.session is not None:
            await self.session.close()
            self.session = None


def headers_of(record: Record, signer: Signer | None, authorization: str | None = None) -> CIMultiDict[str]:
    """The headers with which a call is passed on."""
    headers = CIMultiDict({_text(name): _text(value) for name, value in _signed(record.headers)})
    delivery_id = record.delivery_id.hex()
    if record.content_type:
        headers["Content-Type"] = _text(record.content_type)
    if authorization is not None:
        headers["Authorization"] = authorization
    headers["X-Ingest-Delivery-Id"] = delivery_id
    headers["X-Ingest-Received-At"] = datetime.fromtimestamp(record.received_at / 1e6, UTC).isoformat()
    headers["X-Ingest-Target"] = _text(record.target)
    if host := dict(unpack_headers(record.headers)).get(b"host"):
        headers["X-Ingest-Host"] = _text(host)
    if signer is not None:
        headers.update(signer.headers(delivery_id, int(time.time()), record.body))
    return headers


def _with(status: int, error: E) -> E:
    """An error that says, for what is kept of the call, which status the target answered with."""
    error.status = status  # type: ignore[attr-defined]  # users raise these too, who know of no status
    return error


def _signed(block: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a call that are forwarded: what its signature covers, and what it takes to verify that."""
    original = unpack_headers(block)
    match = _COVERED.search(dict(original).get(b"signature", b""))
    wanted = FORWARDED_HEADERS.union(match[1].lower().split() if match else ()) - OWN_HEADERS
    return [(name, value) for name, value in original if name in wanted]


def _text(value: bytes) -> str:
    """A value of a header as it is written out again, in UTF-8: the same bytes, unless they are not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
