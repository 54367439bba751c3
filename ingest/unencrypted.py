"""What goes over a network so that whoever is on the way can read it: a risk for each such setting."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from ingest import shown
from ingest.health import Risk, RiskCode
from ingest.redis_url import speaks_tls, verifies
from ingest.settings import Settings

#: Ways to connect to PostgreSQL in which TLS is not left to whoever answers.
ENCRYPTING = frozenset({"require", "verify-ca", "verify-full"})
#: Those of MySQL and MariaDB in which it is.
MYSQL_PLAIN = frozenset({"DISABLED", "PREFERRED"})


def readable(settings: Settings) -> Iterator[Risk]:
    """Everything, for `ingest check`."""
    if address := settings.redis_address:
        for server in settings.servers_beside(address):
            yield from _of_redis(server.url)
    if (database := settings.database_url or "").startswith("postgresql:") and _may_be_plain(database):
        yield Risk(
            RiskCode.PLAIN_DATABASE,
            f"{shown.url(database)} may be used without encryption: add ?sslmode=verify-full "
            "(or require) to DATABASE_URL",
        )
    if database.startswith("mysql:") and _mysql_may_be_plain(database):
        yield Risk(
            RiskCode.PLAIN_DATABASE,
            f"{shown.url(database)} may be used without encryption: add ?ssl_mode=VERIFY_IDENTITY "
            "(or REQUIRED) to DATABASE_URL",
        )
    yield from of_api(settings)
    for url in settings.forward_url:
        if _is_plain(url, "http"):
            text = (
                f"calls are forwarded to {shown.url(url)} without encryption: others can read them; use https://"
            )
            yield Risk(RiskCode.PLAIN_FORWARD, text)
    yield from _of_sinks(settings)


def _of_sinks(settings: Settings) -> Iterator[Risk]:
    sinks = {
        "http": ("INGEST_CLICKHOUSE_URL", settings.clickhouse_url, "https://"),
        "kafka": ("INGEST_KAFKA_URL", settings.kafka_url, "kafka+ssl://"),
    }
    for scheme, (name, url, better) in sinks.items():
        if url is not None and _is_plain(url, scheme):
            text = (
                f"{name} goes without encryption: whoever is on the way can read the password and all events; "
                f"use {better}"
            )
            yield Risk(RiskCode.PLAIN_SINK, text)


def _of_redis(url: str) -> Iterator[Risk]:
    place = shown.url(url)
    if speaks_tls(url):
        if not verifies(url):
            yield Risk(
                RiskCode.UNVERIFIED_REDIS,
                f"{place} is encrypted, but need not prove who it is: whoever is on the way can take its place; "
                "use INGEST_REDIS_TLS=ca:/path with its certificate, if the host gives you one",
            )
    elif not url.strip().lower().startswith("unix:") and any(map(_is_remote, _hosts(url))):
        yield Risk(
            RiskCode.PLAIN_REDIS,
            f"{place} is not encrypted: unless that network is yours alone, others can read its password and all "
            "calls; use rediss://",
        )


def of_api(settings: Settings) -> Iterator[Risk]:
    """What concerns Copernica's APIs, where the tokens go."""
    urls = {
        "COPERNICA_API_URL": settings.copernica_api_url,
        "COPERNICA_AUTH_URL": settings.copernica_auth_url,
        "INGEST_SMTPETER_URL": settings.smtpeter_url,
    }
    for name, url in urls.items():
        if _is_plain(url, "http"):
            text = f"{name} is plain http: whoever is on the way can read the token; use https://"
            yield Risk(RiskCode.PLAIN_API, text)


def _is_plain(url: str, scheme: str) -> bool:
    return url.strip().lower().startswith(f"{scheme}://") and any(map(_is_remote, _hosts(url)))


def _may_be_plain(url: str) -> bool:
    options = parse_qs(urlsplit(url).query)
    listed = [*options.get("host", []), *options.get("hostaddr", [])]
    hosts = [host for some in listed for host in some.split(",")] or _hosts(url)
    return any(map(_is_remote, hosts)) and options.get("sslmode", ["prefer"])[0] not in ENCRYPTING


def _mysql_may_be_plain(url: str) -> bool:
    options = parse_qs(urlsplit(url).query)
    if "unix_socket" in options or not any(map(_is_remote, _hosts(url))):
        return False
    mode = options.get("ssl_mode", ["PREFERRED"])[0]
    return mode in MYSQL_PLAIN and (mode == "DISABLED" or "ssl_ca" not in options)


def _hosts(url: str) -> list[str]:
    """The hosts in a URL; several where it names Sentinels or standbys."""
    try:
        places = urlsplit(url.strip()).netloc.rpartition("@")[2].split(",")
        return [urlsplit(f"//{place}").hostname or "" for place in places]
    except ValueError:
        return []


def _is_remote(host: str) -> bool:
    """Whether a host is another machine; folders are those of Unix sockets."""
    host = host.lower().rstrip(".")
    if not host or host.startswith("/") or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return True
