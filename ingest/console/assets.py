"""Style sheets and scripts, read once and kept in memory, compressed.

Their addresses hold a part of their hash, so that browsers keep them for good and have a new one at once. Those of
others are in `static/vendor`, as they were published, with their licences; `SHA256SUMS` there says which.
"""

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from aiohttp import web

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: What may keep an answer that never changes: everybody, for a year.
FOR_GOOD = "public, max-age=31536000, immutable"
#: Letters of the hash in an address.
MARK = 12


class Asset(NamedTuple):
    """One file."""

    plain: bytes
    zipped: bytes
    content_type: str
    mark: str


@cache
def assets() -> dict[str, Asset]:
    """All files that browsers may have, by their names below `static`."""
    found = {}
    folders = [(files("ingest.console") / "static", "")]
    while folders:
        folder, prefix = folders.pop()
        for file in folder.iterdir():
            if file.is_dir():
                folders.append((file, f"{prefix}{file.name}/"))
            elif content_type := CONTENT_TYPES.get(f".{file.name.rpartition('.')[2]}"):
                found[prefix + file.name] = _read(file, content_type)
    return found


def _read(file: Traversable, content_type: str) -> Asset:
    plain = file.read_bytes()
    mark = hashlib.sha256(plain).hexdigest()[:MARK]
    return Asset(plain, gzip.compress(plain, 9, mtime=0), content_type, mark)


def address(name: str) -> str:
    """The path at which a browser finds a file."""
    return f"/static/{assets()[name].mark}/{name}"


async def serve(request: web.Request) -> web.Response:
    """Answer with a file; one whose address has another hash is not there any more."""
    asset = assets().get(request.match_info["name"])
    if asset is None or asset.mark != request.match_info["mark"]:
        raise web.HTTPNotFound
    headers = {"Content-Type": asset.content_type, "Cache-Control": FOR_GOOD, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=asset.zipped, headers=headers | {"Content-Encoding": "gzip"})
    return web.Response(body=asset.plain, headers=headers)
