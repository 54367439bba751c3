"""What helps when a connection with TLS to Redis fails for a reason that does not pass by itself."""

import ssl
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from ingest.redis_url import BY_TLS, RedisURL, speaks_tls

#: OpenSSL's codes for a certificate that no known authority has signed …
_UNTRUSTED = frozenset({18, 19, 20, 21})
#: … and for one that is another host's.
_OTHER_HOST = frozenset({62, 64})
_TRUST = (
    "name its authority's certificate with INGEST_REDIS_TLS=ca:/path/to/ca.pem, or, where the host makes its own "
    "certificates, as Heroku does, do without that check with INGEST_REDIS_TLS=no-verify"
)


def remedy(url: str, error: BaseException) -> str | None:
    """What helps against an error of TLS, as the rest of a sentence; None if it is none, or may pass by itself."""
    if not speaks_tls(url):
        return None
    if files := _unusable_files(url):
        return files
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _about_certificate(cause.verify_code)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return _about_handshake(cause.reason or "")
    return None


def _about_certificate(code: int) -> str:
    if code in _UNTRUSTED:
        return _TRUST
    if code in _OTHER_HOST:
        return "write the name that its certificate is for in REDIS_URL, or add ?ssl_check_hostname=no to it"
    return f"have its certificate renewed, or {_TRUST}"


def _about_handshake(reason: str) -> str:
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return "it may want to see a certificate of ours: set INGEST_REDIS_CERT and INGEST_REDIS_KEY"
    if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason or "CERTIFICATE_UNKNOWN" in reason:
        return "it does not accept our certificate: check INGEST_REDIS_CERT and INGEST_REDIS_KEY"
    return "check that its port is the one for TLS, and write redis:// if it has none"


def _unusable_files(url: str) -> str | None:
    """Load the certificates that the URL names, as a connection does."""
    options = {name: value for name, value in parse_qsl(urlsplit(RedisURL.read(url).url).query) if name in BY_TLS}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = [options.get(f"ssl_ca_{kind}") for kind in ("certs", "path", "data")]
    try:
        if any(authorities):
            context.load_verify_locations(*authorities)
    except (OSError, ValueError) as error:
        return f"the file of its authority's certificates cannot be used ({_why(error)}): check INGEST_REDIS_TLS"
    try:
        if certificate := options.get("ssl_certfile"):
            context.load_cert_chain(certificate, options.get("ssl_keyfile"), options.get("ssl_password") or "")
    except (OSError, ValueError) as error:
        return f"our certificate cannot be used ({_why(error)}): check INGEST_REDIS_CERT and INGEST_REDIS_KEY"
    return None


def _why(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
