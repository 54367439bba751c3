"""Whose calls are taken, and whether their signatures can be verified."""

import asyncio
from collections.abc import Iterator
from itertools import islice

from ingest.copernica import dkim
from ingest.copernica.accounts import full_name
from ingest.copernica.key_sources import FileSource, Source
from ingest.errors import CallRejected, IngestError, KeyUnavailable
from ingest.health import RiskCode
from ingest.settings import Settings
from ingest.verification import Verifier, key_source
from workers.operations.check.findings import Finding, Level, ok, risk, wrong

#: A key id that Copernica's documentation shows; looked up when none is given.
DOCUMENTED_KEY_ID = "one._domainkey.copernica.com"
#: Keys of a file that are looked at.
MAX_KEYS = 5


def check(settings: Settings, key_id: str | None) -> Iterator[Finding]:
    """The accounts, the hosts, and the key of this name."""
    if settings.verify == "off":
        text = "not verified: whoever can reach the endpoint can add events"
        yield risk("signatures", RiskCode.SIGNATURES_OFF, text)
        return
    try:
        Verifier.from_settings(settings)
        source = key_source(settings)
    except IngestError as error:
        about_keys = RiskCode.DNS_SILENT if settings.keys == "dns" else RiskCode.KEYS_UNREADABLE
        yield wrong("signatures", about_keys if settings.accounts else RiskCode.ACCOUNTS_MISSING, str(error))
        return
    bare = "; a bare number is an account's" if any(map(str.isdigit, settings.accounts)) else ""
    yield ok("accounts", ", ".join(map(full_name, settings.accounts)) + bare)
    if settings.hosts:
        yield ok("hosts", ", ".join(settings.hosts))
    else:
        text = "INGEST_HOSTS is not set: calls meant for another host are taken too"
        yield risk("hosts", RiskCode.HOSTS_ANY, text)
    if key_id is None and isinstance(source, FileSource):
        for name in islice(source.texts, MAX_KEYS):
            yield from _key(source, settings, name)
        return
    yield from _key(source, settings, key_id)


def _key(source: Source, settings: Settings, key_id: str | None) -> Iterator[Finding]:
    name = key_id or DOCUMENTED_KEY_ID
    try:
        records = asyncio.run(source.records(name.lower()))
        key = dkim.usable(records.texts)
    except CallRejected as error:
        # The documented name may be out of use; only one that was asked for has to be there.
        level = Level.WRONG if key_id else Level.RISK
        text = f"{name}: {error.reason} (from {settings.keys}); try another with --key-id"
        yield Finding(level, "keys", text, RiskCode.KEY_UNUSABLE)
    except KeyUnavailable as error:
        text = f"{error} New keys cannot be looked up; check INGEST_DNS_SERVERS."
        yield wrong("keys", RiskCode.DNS_SILENT, text)
    else:
        validated = ", validated by DNSSEC" if records.authentic else ""
        where = f"(from {settings.keys}{validated})"
        yield ok("keys", f"{name}: RSA, {key.public.key_size} bits {where}")
        if key.testing:
            yield risk("keys", RiskCode.KEY_TESTING, f"{name}: its owner marks it as a test (t=y)")
