"""What can go wrong on the connection to Copernica, in words, and how much of an answer is read."""

import aiohttp

#: What aiohttp raises when the connection fails, which another attempt may get over.
CONNECTION_ERRORS = (aiohttp.ClientError, TimeoutError, ConnectionError)
#: Bytes read of a refusal or of an access token; more is not of Copernica's making.
MAX_SHORT_BODY = 65_536


def describe(error: Exception) -> str:
    """What went wrong, in a few words: aiohttp's own messages hold addresses and class names."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "no valid certificate"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return "the connection was cut"


async def read_start(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of a body, which is all of it unless it is far longer than expected."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(MAX_SHORT_BODY):
        body += chunk
        if len(body) >= MAX_SHORT_BODY:
            break
    return bytes(body)
