"""How alerts reach somebody: a POST of JSON, a mail, or both; each tried a few times and never for long.

The receiver is not trusted: redirects are not followed, what it answers is not read, and everything has an end.
What went wrong is said without the URL, which is often a secret as a whole.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, cast

import aiohttp
import orjson
import stamina

from ingest import __version__
from ingest.errors import Undelivered
from ingest.mail_url import MailURL
from ingest.settings import Settings

#: Seconds that a receiver has to take an alert …
TIMEOUT = 5.0
#: … how often it is tried, and the seconds within which the last attempt begins: all looks end within a minute.
ATTEMPTS, TRY_FOR = 3, 15.0
#: Lines that a mail server may say over one connection, of 8 KB at most.
LINES_MAX = 200
#: Answers that may be better the next time.
PASSING = frozenset({408, 425, 429, *range(500, 600)})


# As in `ingest.copernica.api.retry`: where structlog is installed, stamina would print to standard output.
stamina.instrumentation.set_on_retry_hooks([stamina.instrumentation.LoggingOnRetryHook])


class _TryAgain(Exception):
    """It may be taken the next time."""


class _Lines:
    """What a mail server says, which has an end: smtplib collects the lines of an answer until one is the last."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = LINES_MAX

    def readline(self, size: int) -> bytes:
        """The next line."""
        if not self._left:
            raise OSError("too many lines")  # smtplib then closes the connection
        self._left -= 1
        return cast(bytes, self._file.readline(size))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _SMTP(smtplib.SMTP):
    """Does not listen without end."""

    def getreply(self) -> tuple[int, bytes]:
        """One answer; the lines of all of them on one connection are counted."""
        if self.file is None and self.sock is not None:
            self.file = _Lines(self.sock.makefile("rb"))
        return super().getreply()


class _SMTPOverTLS(_SMTP, smtplib.SMTP_SSL):
    """The same over TLS."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is told: one line, the same in full, and as JSON."""

    subject: str
    text: str
    fields: dict[str, object]


def channels(settings: Settings) -> dict[str, Callable[[Message], None]]:
    """What delivers a message, by the name of the setting; each raises `Undelivered`."""
    found: dict[str, Callable[[Message], None]] = {}
    if url := settings.alert_url:
        found["INGEST_ALERT_URL"] = lambda message: _persistently(lambda: asyncio.run(_post(url, message)))
    if route := settings.alert_smtp:
        found["INGEST_ALERT_SMTP"] = lambda message: _persistently(lambda: _mail(MailURL.read(route), message))
    return found


def deliver(settings: Settings, message: Message) -> list[str]:
    """Deliver a message by all that is set; returns what went wrong, a sentence each."""
    troubles = []
    for name, send in channels(settings).items():
        try:
            send(message)
        except Undelivered as error:
            troubles.append(f"{name}: {error}")
    return troubles


def _persistently(send: Callable[[], None]) -> None:
    try:
        stamina.retry(on=_TryAgain, attempts=ATTEMPTS, timeout=TRY_FOR, wait_initial=0.5, wait_max=5.0)(send)()
    except _TryAgain as error:
        raise Undelivered(str(error)) from None


async def _post(url: str, message: Message) -> None:
    """Raises `_TryAgain`, or `Undelivered` if that would not help."""
    headers = {"Content-Type": "application/json", "User-Agent": f"copernica-ingest/{__version__}"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.post(url, data=orjson.dumps(message.fields), headers=headers, allow_redirects=False) as answer,
        ):
            status = answer.status
            answer.close()  # whatever it still wants to say
    except TimeoutError:
        raise _TryAgain(f"the receiver did not answer within {TIMEOUT:.0f} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _TryAgain(f"the receiver cannot be reached ({type(error).__name__})") from None
    if status in PASSING:
        raise _TryAgain(f"the receiver answered {status}")
    if not 200 <= status < 300:
        raise Undelivered(f"the receiver answered {status}")


def _mail(route: MailURL, message: Message) -> None:
    """Raises `_TryAgain`, or `Undelivered` if that would not help."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = route.sender, ", ".join(route.recipients), message.subject
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    context = _trust(route)
    try:
        with closing(_connected(route, context)) as server:
            _greet(server, route, context)
            server.send_message(mail)
            with suppress(smtplib.SMTPException, OSError):  # it has it, whatever it says now
                server.quit()
    except smtplib.SMTPResponseException as error:
        kind = _TryAgain if 400 <= error.smtp_code < 500 else Undelivered
        raise kind(f"the mail server answered {error.smtp_code}") from None
    except ssl.SSLCertVerificationError:
        raise Undelivered("the mail server's certificate is signed by nobody whom this machine trusts") from None
    except (smtplib.SMTPException, OSError) as error:
        raise _TryAgain(f"the mail server does not take it ({type(error).__name__})") from None


def _trust(route: MailURL) -> ssl.SSLContext:
    """Whose certificates are taken: those that this machine trusts; any, where no encryption was asked for.

    Many a mail server offers STARTTLS with a certificate that it made itself. Mail servers take that from each
    other: without a password, the alternatives are the same mail in the clear, and no mail at all.
    """
    context = ssl.create_default_context()
    if not (route.tls or route.password):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _connected(route: MailURL, context: ssl.SSLContext) -> smtplib.SMTP:
    if route.tls:
        return _SMTPOverTLS(route.host, route.port, timeout=TIMEOUT, context=context)
    return _SMTP(route.host, route.port, timeout=TIMEOUT)


def _greet(server: smtplib.SMTP, route: MailURL, context: ssl.SSLContext) -> None:
    """Encrypt the connection if that is possible, and sign in if there is a password."""
    server.ehlo()
    if not route.tls and server.has_extn("starttls"):
        server.starttls(context=context)
        server.ehlo()
    elif not route.tls and route.password:
        raise Undelivered("the mail server offers no encryption, without which the password is not sent")
    if route.user:
        server.login(route.user, route.password)
