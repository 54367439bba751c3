"""The only module that uses what aiohttp does not document.

`Connection` keeps deadlines and notices bodies that were cut off, and aiohttp offers no public way to do either.
So it derives from a class that is not documented, and reads the state below. All of it was read in aiohttp 3.14.5
(`web_protocol.py`, `web_urldispatcher.py`); a contract test (`tests/integration/test_aiohttp_compat.py`) fails
when a release changes it, and docs/decisions/private-apis.md says what to do then.

| what | why |
|---|---|
| `aiohttp.web_protocol.RequestHandler` | the protocol of one connection: the only place that sees bytes arrive |
| `_request_count` | grows by one for each head that was parsed: says that a head is complete |
| `_messages` | pairs of head and body that wait to be handled: the newest body is the one that is arriving |
| `_handle_request` | called for each request, over when it is answered: then the next one may be parsed |
| `_resume_transport_reading`, `_reading_paused`, | so that aiohttp's reasons for not reading and ours do |
| `_buffer_paused` | not undo each other |
| `StreamWriter.output_size` | reset after `100 Continue`, as aiohttp's own handler of `Expect` does, or the |
| | interim answer would count as the beginning of the answer |
"""

from aiohttp import StreamReader, web
from aiohttp.web_protocol import RequestHandler

__all__ = ["RequestHandler", "heads_parsed", "newest_body", "send_continue", "wants_to_read"]


def heads_parsed(connection: RequestHandler) -> int:
    """How many heads of requests this connection has parsed so far."""
    return connection._request_count


def newest_body(connection: RequestHandler) -> StreamReader | None:
    """The body of the request that was parsed last; None once that request is being handled."""
    return connection._messages[-1][1] if connection._messages else None


def wants_to_read(connection: RequestHandler) -> bool:
    """Whether aiohttp has no reason of its own to stop reading."""
    return not (connection._reading_paused or connection._buffer_paused)


async def send_continue(request: web.Request) -> None:
    """Ask the sender for the body, which it holds back until asked."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0
