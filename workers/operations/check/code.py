"""Users' handlers, and what Copernica's REST API lets us do: missed events are recovered by its log files."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.retry import RetryPolicy
from ingest.copernica.smtpeter.client import SMTPeter
from ingest.errors import Forbidden, InvalidToken, RestError
from ingest.health import RiskCode
from ingest.settings import Settings
from workers.handlers.listing import registered
from workers.operations.check.clock import compared
from workers.operations.check.findings import About, Finding, ok, risk, wrong

#: Attempts for each question: a person waits.
ATTEMPTS = 2
#: Seconds that the modules of handlers may take to be imported: workers wait for as long as it takes.
IMPORT_SECONDS = 120.0


def handlers(settings: Settings) -> Finding:
    """Have the handlers imported by another process, which a module may end, with an exit code that says 0."""
    found = registered(settings, IMPORT_SECONDS)
    if found.problems:
        return wrong("handlers", RiskCode.HANDLERS_BROKEN, " ".join(found.problems))
    names = ", ".join(found.names)
    if settings.forward_url and not (settings.forward_secret or "INGEST_FORWARD_SECRET" in settings.withheld):
        text = f"{names}; INGEST_FORWARD_SECRET is not set: targets cannot tell your calls"
        return risk("handlers", RiskCode.FORWARD_UNSIGNED, text)
    return ok("handlers", names or "none (INGEST_HANDLERS, INGEST_FORWARD_URL)")


def copernica(settings: Settings) -> Iterator[Finding]:
    """Ask for the account, for its log files and for its webhooks, by the token."""
    if "COPERNICA_TOKEN" in settings.withheld:
        yield ok("log files", "what runs here has a token; set COPERNICA_TOKEN in this shell too to check it")
        return
    if settings.copernica_token is None:
        text = "COPERNICA_TOKEN is not set: what is missed while the endpoint is away stays missing"
        yield risk("log files", RiskCode.TOKEN_MISSING, text)
        return
    yield from asyncio.run(_asked(_rights(settings)))


def smtpeter(settings: Settings) -> Iterator[Finding]:
    """Ask SMTPeter for its log files, if there is a token for it."""
    if settings.smtpeter_token is not None:
        yield from asyncio.run(_asked(_days(settings)))


async def _asked(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


async def _days(settings: Settings) -> AsyncIterator[Finding]:
    async with SMTPeter.with_settings(settings, RetryPolicy(attempts=ATTEMPTS)) as api:
        try:
            days = await api.dates()
        except RestError as error:
            yield _refused("smtpeter", error, RiskCode.TOKEN_NO_LOGFILES)
        else:
            yield ok("smtpeter", f"log files of {days[0]} to {days[-1]}" if days else "no log files yet")


async def _rights(settings: Settings) -> AsyncIterator[Finding]:
    policy = RetryPolicy(attempts=ATTEMPTS)
    async with Copernica.with_settings(settings, policy) as api:
        try:
            account = await api.identity()
            name = account.get("name") or account.get("id")
        except Forbidden:
            name = "the account"  # to tell its name is a right of its own
        except RestError as error:
            yield _refused("log files", error, RiskCode.TOKEN_NO_LOGFILES)
            return
        try:
            await api.dates()
        except RestError as error:
            yield _refused("log files", error, RiskCode.TOKEN_NO_LOGFILES)
        else:
            off = settings.reconcile_at == "off"
            when = "never by itself" if off else f"daily at {settings.reconcile_at} UTC"
            yield ok("log files", f"those of {name}, reconciled {when}")
        try:
            webhooks = await api.webhooks()
        except Forbidden as error:
            yield risk(
                "webhooks", RiskCode.TOKEN_NO_WEBHOOKS, f"{error} Without it, make webhooks in the dashboard."
            )
        except RestError as error:
            yield _refused("webhooks", error, RiskCode.TOKEN_NO_WEBHOOKS)
        else:
            yield ok("webhooks", f"{len(webhooks):,} registered")
        if (offset := api.clock_offset) is not None:
            yield compared("Copernica", RiskCode.CLOCK_COPERNICA, offset, settings.max_age)


def _refused(about: About, error: RestError, forbidden: RiskCode) -> Finding:
    if isinstance(error, Forbidden):
        return wrong(about, forbidden, str(error))
    code = RiskCode.TOKEN_REFUSED if isinstance(error, InvalidToken) else RiskCode.API_FAILS
    return wrong(about, code, str(error))
