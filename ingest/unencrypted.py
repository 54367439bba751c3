"""What goes over a network so that whoever is on the way can read it: a risk for each such setting."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from ingest import shown
from ingest.health import Code, Risk
from ingest.settings import Settings

#: Ways to connect to PostgreSQL in which TLS is not left to whoever answers.
ENCRYPTING = frozenset({"require", "verify-ca", "verify-full"})


def readable(settings: Settings) -> Iterator[Risk]:
    """Everything, for `ingest check`."""
    if settings.redis_url and _is_plain(settings.redis_url, "redis"):
        yield Risk(
            Code.PLAIN_REDIS,
            f"{shown.url(settings.redis_url)} is not encrypted: unless that network is yours alone, others can "
            "read its password and all calls; use rediss://",
        )
    if (database := settings.database_url or "").startswith("postgresql:") and _may_be_plain(database):
        yield Risk(
            Code.PLAIN_DATABASE,
            f"{shown.url(database)} may be used without encryption: add ?sslmode=verify-full "
            "(or require) to DATABASE_URL",
        )
    yield from of_api(settings)
    for url in settings.forward_url:
        if _is_plain(url, "http"):
            text = (
                f"calls are forwarded to {shown.url(url)} without encryption: others can read them; use https://"
            )
            yield Risk(Code.PLAIN_FORWARD, text)


def of_api(settings: Settings) -> Iterator[Risk]:
    """What concerns Copernica's REST API, where the token goes."""
    urls = {"COPERNICA_API_URL": settings.copernica_api_url, "COPERNICA_AUTH_URL": settings.copernica_auth_url}
    for name, url in urls.items():
        if _is_plain(url, "http"):
            text = f"{name} is plain http: whoever is on the way can read the token; use https://"
            yield Risk(Code.PLAIN_API, text)


def _is_plain(url: str, scheme: str) -> bool:
    return url.strip().lower().startswith(f"{scheme}://") and _is_remote(_host(url))


def _may_be_plain(url: str) -> bool:
    options = parse_qs(urlsplit(url).query)
    hosts = [*options.get("host", []), *options.get("hostaddr", [])] or [_host(url)]
    return any(map(_is_remote, hosts)) and options.get("sslmode", ["prefer"])[0] not in ENCRYPTING


def _host(url: str) -> str:
    try:
        return urlsplit(url.strip()).hostname or ""
    except ValueError:
        return ""


def _is_remote(host: str) -> bool:
    """Whether a host is another machine; folders are those of Unix sockets."""
    host = host.lower().rstrip(".")
    if not host or host.startswith("/") or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return True
