"""The part of the fake API that shows, makes, changes and removes profiles and subprofiles of a `Truth`."""

from collections.abc import Callable
from typing import Any, Literal

import orjson
from aiohttp import web

from ingest.copernica.bodies import parse
from ingest.errors import Undecodable
from ingest.simulation import profiles
from ingest.simulation.api_answers import Handler, Refused, answer, page_of, slice_of
from ingest.simulation.api_faults import Kind
from ingest.simulation.profiles import Entity
from ingest.simulation.results_clock import Manner, number
from ingest.simulation.truth import Truth

#: How changes are answered: as version 4 documents it, or as versions 2 and 3 were seen to.
Manners = Literal["documented", "seen"]


class ProfilesApi:
    """Profiles of a truth; `now` is the Unix time of changes."""

    def __init__(
        self, truth: Truth, manner: Callable[[], Manner], manners: Manners, now: Callable[[], float]
    ) -> None:
        self._truth = truth
        self._manner = manner
        self._manners = manners
        self._now = now

    def routes(self) -> list[tuple[Kind, str, str, Handler]]:
        """What is answered: the kind of request, its method, the path below the API's, and the handler."""
        one = "/{kind:profile|subprofile}/{id:[0-9]+}"
        part = one + "/{part:fields|interests}"
        below = "/profile/{owner:[0-9]+}/subprofiles"
        return [
            (Kind.PROFILE, "GET", one, self._show),
            (Kind.PROFILE, "PUT", one, self._change),
            (Kind.PROFILE, "DELETE", one, self._remove),
            (Kind.PROFILE, "GET", part, self._show_part),
            (Kind.PROFILE, "PUT", part, self._change),
            (Kind.PROFILES, "GET", "/database/{parent:[0-9]+}/profiles", self._list),
            (Kind.PROFILES, "POST", "/database/{parent:[0-9]+}/profiles", self._create),
            (Kind.PROFILES, "GET", "/collection/{collection:[0-9]+}/subprofiles", self._list),
            (Kind.PROFILES, "GET", below, self._list),
            (Kind.PROFILES, "POST", below + "/{collection:[0-9]+}", self._create),
        ]

    async def _show(self, request: web.Request) -> web.Response:
        return answer(request, self._manner().strings, self._told(self._found(request)))

    async def _show_part(self, request: web.Request) -> web.Response:
        one = self._found(request)
        values = one.fields if request.match_info["part"] == "fields" else one.interests
        return answer(request, self._manner().strings, values)

    async def _change(self, request: web.Request) -> web.Response:
        sent, part = await _body(request), request.match_info.get("part")
        before = self._found(request)
        fields = sent if part == "fields" else {} if part else _mapping(sent, "fields")
        interests = sent if part == "interests" else {} if part else _mapping(sent, "interests")
        with self._truth.writing() as db:
            profiles.change(db, before.kind, before.id, fields, interests, int(self._now()))
        if self._manners == "seen":
            return web.Response(status=303, headers={"Location": str(request.url)})
        return web.Response(status=204)

    async def _remove(self, request: web.Request) -> web.Response:
        one = self._found(request)
        with self._truth.writing() as db:
            profiles.remove(db, one.kind, one.id, int(self._now()))
        status = 200 if self._manners == "seen" else 204
        return web.Response(status=status, headers={"X-deleted": f"{one.kind}/{one.id}"})

    async def _list(self, request: web.Request) -> web.Response:
        """A page of a database's profiles, or of a collection's or a profile's subprofiles."""
        about = request.match_info
        kind = "profile" if "parent" in about else "subprofile"
        column = "owner" if "owner" in about else "parent"
        parent = number(about.get("parent") or about.get("collection") or about["owner"])
        where, values = f"kind = ? AND {column} = ? AND removed IS NULL", (kind, parent)
        asked = slice_of(request)
        rows = self._truth.read(
            f"SELECT {profiles.COLUMNS} FROM profiles WHERE {where} ORDER BY id LIMIT ? OFFSET ?",  # noqa: S608
            (*values, asked.limit, asked.start_now(request)),
        )
        total = None
        if asked.total:
            total = self._truth.read(f"SELECT count(*) FROM profiles WHERE {where}", values)[0][0]  # noqa: S608
        return page_of(request, self._manner().strings, [self._told(profiles.entity(row)) for row in rows], total)

    async def _create(self, request: web.Request) -> web.Response:
        sent, about = await _body(request), request.match_info
        fields = _mapping(sent, "fields") if "fields" in sent else sent
        second = int(self._now())
        with self._truth.writing() as db:
            if "parent" in about:
                kind = "profile"
                its = profiles.create(db, kind, number(about["parent"]), None, fields, second)
            else:
                kind = "subprofile"
                owner = self._found(request, "profile", about["owner"])
                its = profiles.create(db, kind, number(about["collection"]), owner.id, fields, second)
        if self._manners == "seen":
            return web.Response(status=200, headers={"X-Created": str(its)})
        where = request.url.origin() / "v4" / kind / str(its)
        return web.Response(status=201, headers={"X-location": str(where)})

    def _found(self, request: web.Request, kind: str = "", name: str = "") -> Entity:
        kind = kind or request.match_info["kind"]
        its = number(name or request.match_info["id"])
        query = f"SELECT {profiles.COLUMNS} FROM profiles WHERE kind = ? AND id = ?"  # noqa: S608
        rows = self._truth.read(query, (kind, its))
        if not rows:
            raise Refused(f"No {kind} with supplied ID")
        one = profiles.entity(rows[0])
        if one.removed is not None:
            raise Refused(f"{kind.capitalize()} with ID {its} has already been removed")
        return one

    def _told(self, one: Entity) -> dict[str, Any]:
        written = self._manner().written
        if one.kind == "profile":
            about: dict[str, Any] = {"interests": one.interests, "database": one.parent}
        else:
            about = {"profile": one.owner, "collection": one.parent}
        times = {"created": written(one.created), "modified": written(one.modified), "removed": False}
        return {"ID": one.id, "fields": one.fields} | about | {"secret": f"{one.id:028x}"} | times


async def _body(request: web.Request) -> dict[str, Any]:
    """What was sent, as JSON or as a form."""
    try:
        if request.content_type == "application/json":
            sent = orjson.loads(await request.read())
        else:
            sent = parse(await request.read(), request.headers.get("Content-Type", "")).values
    except (ValueError, Undecodable):
        sent = None
    if not isinstance(sent, dict) or not sent:
        raise Refused("Invalid data")
    return sent


def _mapping(sent: dict[str, Any], name: str) -> dict[str, Any]:
    value = sent.get(name, {})
    if not isinstance(value, dict):
        raise Refused(f"Invalid {name}")
    return value
