"""Where a request is from: the peer, or whom a proxy of ours names that passed it on."""

from typing import NamedTuple

from aiohttp import web

from ingest.console.rules import Address, Rules, plain_address

#: Addresses in X-Forwarded-For that are looked at, from the last one on.
MOST_HOPS = 20
#: Characters of a Host header that are looked at: a name has 253 at most, and then there is the port.
LONGEST_HOST = 262


class Peer(NamedTuple):
    """Who sent a request, and how."""

    #: Who connected to us.
    address: Address
    #: Whose browser it is.
    client: Address
    #: Whether that is one of our proxies.
    is_proxy: bool
    #: Whether the browser spoke TLS.
    is_secure: bool
    #: What the browser called us: a name or address, and maybe a port; in lower case.
    host: str


PEER = web.RequestKey("peer", Peer)


def peer_of(request: web.Request, rules: Rules) -> Peer:
    """Where a request is from.

    Raises:
        HTTPBadRequest: it does not say once to which host it goes.
    """
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("peername")
    if not name:
        raise web.HTTPBadRequest(text="The connection is gone.")
    address = plain_address(name[0])
    is_proxy = rules.is_proxy(address)
    secure = request.secure
    host = _only(request, "Host")
    client = address
    if is_proxy:
        client = _forwarded_for(request, rules, address)
        if protocol := _last(request, "X-Forwarded-Proto"):
            secure = protocol.lower() == "https"
        host = _last(request, "X-Forwarded-Host") or host
    return Peer(address, client, is_proxy, secure, host.lower())


def _only(request: web.Request, name: str) -> str:
    values = request.headers.getall(name, [])
    if len(values) != 1 or not 0 < len(values[0]) <= LONGEST_HOST:
        raise web.HTTPBadRequest(text=f"There should be one {name} header.")
    return values[0]


def _last(request: web.Request, name: str) -> str:
    """What the nearest proxy says: it stands last."""
    values = request.headers.getall(name, [])
    return values[-1].rpartition(",")[2].strip()[:LONGEST_HOST] if values else ""


def _forwarded_for(request: web.Request, rules: Rules, address: Address) -> Address:
    """The last address in the chain that is no proxy of ours: what stands before it, anybody may have written."""
    chain = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    for text in reversed(chain[-MOST_HOPS:]):
        try:
            found = plain_address(_without_port(text.strip()))
        except ValueError:
            return address
        if not rules.is_proxy(found):
            return found
        address = found
    return address


def _without_port(text: str) -> str:
    """Some proxies write `192.0.2.1:4711` or `[2001:db8::1]:4711`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
