"""The public client: what users' handlers call with paths of Copernica's documentation."""

import asyncio
import importlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ingest.copernica import api as package
from ingest.copernica.api import API_URL, AUTH_URL, Copernica, RetryPolicy, connection
from ingest.errors import (
    AnswerTooLarge,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    RequestRejected,
    RestError,
    SettingsError,
    Unreachable,
)
from ingest.settings import Settings
from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.profiles_api import Manners
from tests.support.fake_copernica import TOKEN, client, client_at, fake_copernica, scripted, serving

#: Everything that a call can be.
METHODS = ["get", "post", "put", "delete"]


class Script:
    """An API that answers what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: Callable[[], web.Response] | web.Response) -> None:
        self._answers = [*answers]
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def answer(self, request: web.Request) -> web.Response:
        """The next answer; the last one stays."""
        self.seen.append(request)
        self.bodies.append(await request.read())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer() if callable(answer) else answer

    def app(self) -> web.Application:
        """As an application."""
        return scripted(self.answer)


async def ask(script: Script, *calls: Callable[[Copernica], Any]) -> list[Any]:
    """What the calls return."""
    with serving(script.app()) as url:
        async with client_at(url) as api:
            return [await call(api) for call in calls]


async def failure(script: Script, call: Callable[[Copernica], Any]) -> RestError:
    """The error that a call raises, which is one sentence without a token."""
    with pytest.raises(RestError) as raised:
        await ask(script, call)
    said = str(raised.value)
    assert said.endswith(".")
    assert said.isprintable()
    assert len(said) < 500
    assert TOKEN not in said
    assert "Bearer" not in said
    return raised.value


def calling(method: str, path: str = "/x") -> Callable[[Copernica], Any]:
    """A call."""
    return lambda api: getattr(api, method)(path)


def json(content: Any, status: int = 200, **headers: str) -> Callable[[], web.Response]:
    """An answer, made anew each time."""
    return lambda: web.json_response(content, status=status, headers=headers)


def html(status: int = 200) -> Callable[[], web.Response]:
    """What the load balancer answers."""
    return lambda: web.Response(text="<html><h1>Loadbalancer Error", content_type="text/html", status=status)


def empty(status: int, **headers: str) -> Callable[[], web.Response]:
    """An answer without a body, with these headers: `_` stands for `-`."""
    return lambda: web.Response(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def test_what_users_import_is_there_without_an_http_library_being_loaded_for_others() -> None:
    assert set(package.__all__) == {"API_URL", "AUTH_URL", "Copernica", "RetryPolicy"}
    assert importlib.import_module("ingest.copernica.api.client").Copernica is Copernica
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = package.Nothing
    settings = Settings.read({})
    assert (settings.copernica_api_url, settings.copernica_auth_url) == (API_URL, AUTH_URL)


def test_a_client_of_the_programs_settings_needs_a_token() -> None:
    assert isinstance(Copernica.with_settings(Settings.read({"COPERNICA_TOKEN": TOKEN})), Copernica)
    with pytest.raises(SettingsError, match="COPERNICA_TOKEN is not set"):
        Copernica.with_settings(Settings.read({}))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//evil.example/x",
        "https://evil.example/x",
        "http://evil.example",
        "/profile/",
        "/profile/../logfiles",
        "..",
        "/./x",
        "/profile//5",
    ],
)
async def test_a_path_leads_nowhere_else(method: str, path: str) -> None:
    script = Script(json({}))
    with serving(script.app()) as url:
        async with client_at(url) as api:
            with pytest.raises(ValueError, match="no part of a path may be empty"):
                await getattr(api, method)(path)
    assert script.seen == []


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/profile/5", "/v4/profile/5"),
        ("profile/5", "/v4/profile/5"),
        ("/profile/5?x=y", "/v4/profile/5%3Fx=y"),
        ("/profile/5#x", "/v4/profile/5%23x"),
        ("/profile/%2e%2e/x", "/v4/profile/%252e%252e/x"),
        ("/profile/a b\rX: y", "/v4/profile/a%20b%0DX:%20y"),
        ("/profile/é\\..\\x", "/v4/profile/%C3%A9%5C..%5Cx"),
        ("/profile/a@b.nl", "/v4/profile/a@b.nl"),
    ],
)
async def test_a_path_is_taken_literally(path: str, raw: str) -> None:
    script = Script(json({}))
    await ask(script, lambda api: api.get(path), lambda api: api.put(path, {}))
    assert [request.raw_path for request in script.seen] == [raw, raw]


async def test_parameters_are_written_as_copernica_reads_them() -> None:
    script = Script(json({}))
    params: dict[str, Any] = {
        "fields[]": ["Email==jan@example.nl", "a>b c&d"],
        "total": False,
        "at": datetime(2026, 11, 20, 9, 0, 5, 7, UTC),
        "day": date(2026, 11, 20),
        "none": None,
        "number": 5,
    }
    await ask(script, lambda api: api.get("/x", params), lambda api: api.put("/x", {}, params))
    for request in script.seen:
        assert request.query.getall("fields[]") == ["Email==jan@example.nl", "a>b c&d"]
        others = {name: value for name, value in request.query.items() if name != "fields[]"}
        assert others == {"total": "false", "at": "2026-11-20 09:00:05", "day": "2026-11-20", "number": "5"}


async def test_bodies_are_json() -> None:
    script = Script(empty(204))

    async def call(api: Copernica) -> None:
        await api.post("/x", {"a": "é"})
        bodies: list[Any] = [{}, [1], None]
        for body in bodies:
            await api.put("/x", body)

    await ask(script, call)
    assert script.bodies == ['{"a":"é"}'.encode(), b"{}", b"[1]", b""]
    assert [request.headers.get("Content-Type") for request in script.seen[:3]] == ["application/json"] * 3


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (empty(201, X_location="https://api.copernica.com/v4/profile/12"), "12"),
        (empty(201, X_location="/v4/profile/12/?x=1"), "12"),
        (empty(200, X_Created="12"), "12"),
        (empty(201, X_Created="12", X_location="/v4/profile/13"), "12"),
        (empty(303, Location="https://elsewhere.invalid/profile/12"), "12"),
        (html(201), None),
        (json({"id": 5}, 201), ""),
        (empty(200), ""),
        (empty(204), ""),
        (empty(201, X_location="/v4/profile/<script>"), ""),
    ],
)
async def test_what_a_change_created_is_told_in_whichever_way_copernica_does(
    answer: Callable[[], web.Response], expected: str | None
) -> None:
    if expected is None:
        assert isinstance(await failure(Script(answer), lambda api: api.post("/x")), OutcomeUnknown)
    else:
        told = await ask(Script(answer), lambda api: api.post("/x", {}), lambda api: api.put("/x", {}))
        assert told == [expected, expected]


async def test_a_post_is_repeated_only_where_it_was_not_carried_out() -> None:
    done = empty(201, X_Created="12")
    for again in (json({}, 429, **{"Retry-After": "0"}), html(503), empty(401)):
        script = Script(again, done)
        assert await ask(script, lambda api: api.post("/x", {})) == ["12"]
        assert len(script.seen) == 2
    for unknown in (html(200), html(500), html(504), json({}, 502)):
        script = Script(unknown, done)
        error = await failure(script, lambda api: api.post("/x", {}))
        assert isinstance(error, OutcomeUnknown)
        assert "carry out POST /x" in str(error)
        assert len(script.seen) == 1


@pytest.mark.parametrize("method", ["get", "put", "delete"])
@pytest.mark.parametrize("answer", [html(200), html(500), html(504), empty(502), empty(503)])
async def test_all_else_is_repeated(method: str, answer: Callable[[], web.Response]) -> None:
    script = Script(answer, json({}))
    await ask(script, calling(method))
    assert len(script.seen) == 2


@pytest.mark.parametrize("method", METHODS)
async def test_an_error_with_a_status_of_success_is_one(method: str) -> None:
    script = Script(json({"error": {"message": "No such\nthing: " + TOKEN}}))
    error = await failure(script, calling(method))
    assert isinstance(error, RequestRejected)
    assert "saying: No such thing: ***" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, RequestRejected), (403, Forbidden), (404, NotFound), (409, RequestRejected)]
)
@pytest.mark.parametrize("method", METHODS)
async def test_errors_are_told_apart_and_hold_no_token(method: str, status: int, kind: type[RestError]) -> None:
    says = {"error": {"message": f"No: {TOKEN}" + "x" * 100_000}}
    error = await failure(Script(json(says, status)), calling(method, f"/x/{TOKEN}"))
    assert type(error) is kind
    assert error.status == status


async def test_what_is_not_there_can_be_none() -> None:
    for status in (400, 404):
        script = Script(json({"error": {"message": "No profile with supplied ID"}}, status))
        assert await ask(script, lambda api: api.get_if_there("/profile/5")) == [None]
    error = await failure(Script(empty(403)), lambda api: api.get_if_there("/profile/5"))
    assert isinstance(error, Forbidden)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_question_is_asked_again_at_the_same_host_and_a_change_is_not_made_elsewhere(status: int) -> None:
    moved = empty(status, Location="/v5/y?a=b")
    script = Script(moved, json({"found": True}))
    assert await ask(script, lambda api: api.get("/x", {"c": "d"})) == [{"found": True}]
    assert [request.path_qs for request in script.seen] == ["/v4/x?c=d", "/v5/y?a=b"]
    for method in ("post", "put", "delete"):
        script = Script(moved, json({}))
        if status == 303:
            await ask(script, calling(method))
        else:
            error = await failure(script, calling(method))
            assert isinstance(error, RequestRejected)
        assert len(script.seen) == 1


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:{port}/x", "//localhost:{port}/x", "http://u:p@{host}/x"])
async def test_no_token_goes_to_another_host(elsewhere: str) -> None:
    stranger = Script(json({}))
    with serving(stranger.app()) as other:
        port = other.rpartition(":")[2]
        with serving(
            scripted(
                lambda request: web.Response(
                    status=301, headers={"Location": elsewhere.format(port=port, host=request.host)}
                )
            )
        ) as url:
            async with client_at(url) as api:
                with pytest.raises(RequestRejected, match="another server"):
                    await api.get("/x")
    assert stranger.seen == []


async def test_an_answer_that_is_too_large_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER", 1000)
    assert isinstance(await failure(Script(json(["x" * 1000])), lambda api: api.get("/x")), AnswerTooLarge)


@pytest.mark.parametrize("content", ["", "null", "[", "<html>"])
async def test_what_is_no_json_is_an_error(content: str) -> None:
    answered = ask(Script(lambda: web.Response(text=content)), lambda api: api.get("/x"))
    if content == "null":
        assert await answered == [None]
    else:
        with pytest.raises(RequestRejected if content == "[" else Unreachable):
            await answered


async def profiles_of(api: Copernica, **options: Any) -> list[int]:
    return [int(profile["ID"]) async for profile in api.pages("/database/1/profiles", **options)]


@pytest.mark.parametrize("manners", ["documented", "seen"])
async def test_profiles_are_created_changed_listed_and_deleted(manners: Manners) -> None:
    fake = FakeCopernica(None, TOKEN, manners=manners)
    with fake_copernica(fake) as environ:
        async with client(environ) as api:
            made = [int(await api.post("/database/1/profiles", {"Email": f"{n}@example.nl"})) for n in range(5)]
            assert await profiles_of(api, limit=2) == made
            await api.put(f"/profile/{made[1]}/fields", {"Clicked": "yes"})
            assert (await api.get(f"/profile/{made[1]}"))["fields"]["Clicked"] == "yes"
            await api.delete(f"/profile/{made[1]}")
            await api.delete(f"/profile/{made[1]}")
            assert await profiles_of(api, limit=2) == [made[0], *made[2:]]


@pytest.mark.parametrize(
    "fault",
    [
        *("no-rows", "removed", "lies"),
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("inserted", "429", "cut", "html", "empty", "expired")
        ),
    ],
)
async def test_pages_are_read_whole_whatever_one_of_them_is_like(fault: str) -> None:
    fake = FakeCopernica(None, TOKEN)
    with fake_copernica(fake) as environ:
        async with client(environ) as api:
            made = [int(await api.post("/database/1/profiles", {"n": n})) for n in range(25)]
            for place in range(1, 5):
                fake.faults = Faults(f"ok*{place}@profiles,{fault}@profiles")
                assert await profiles_of(api, limit=10) == made


async def test_a_list_that_never_ends_is_an_error_after_what_came() -> None:
    page = {"data": [{"ID": number} for number in range(10)]}
    script = Script(json(page))
    got: list[Any] = []

    async def read(api: Copernica) -> None:
        async for entry in api.pages("/x", limit=10):
            got.append(entry)

    error = await failure(script, read)
    assert isinstance(error, Unreachable)
    assert got == page["data"]
    assert len(script.seen) < 20


async def test_entries_that_are_no_objects_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    script = Script(json([None, {"ID": 1}, 5]), json([]))
    assert await ask(script, lambda api: collected(api.pages("/x"))) == [[{"ID": 1}]]
    assert "answer GET /x, and 2 entries are no objects" in caplog.text


async def collected(entries: Any) -> list[Any]:
    return [entry async for entry in entries]


def test_a_client_keeps_its_access_from_one_event_loop_to_the_next() -> None:
    fake = FakeCopernica(None, TOKEN)

    async def name(api: Copernica) -> Any:
        async with api:
            return (await api.identity())["name"]

    async def several(api: Copernica) -> list[Any]:
        return await asyncio.gather(*(name(api) for _ in range(10)))

    with fake_copernica(fake) as environ:
        api = client(environ, concurrency=2)
        for _ in range(3):
            assert asyncio.run(several(api)) == ["fake"] * 10
        assert fake.seen.count("POST /") == 1
        fake.access.clear()
        assert asyncio.run(name(api)) == "fake"
        assert fake.seen.count("POST /") == 2


async def test_a_client_that_was_not_entered_says_so() -> None:
    api = Copernica(TOKEN, policy=RetryPolicy(attempts=1))
    with pytest.raises(RuntimeError, match="inside `async with` only"):
        await api.get("/identity")


async def test_a_login_of_netrc_is_never_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login somebody password of-another-host\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    script = Script(web.json_response({"id": 1}))
    assert await ask(script, lambda api: api.get("/identity")) == [{"id": 1}]
    assert script.seen[-1].headers["Authorization"].startswith("Bearer ")


async def test_a_proxy_of_the_environment_is_asked_except_for_hosts_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(web.Response(text="abc"), web.json_response({"id": 1}))

    @web.middleware
    async def everything(request: web.Request, handler: Any) -> web.StreamResponse:
        return await script.answer(request)

    with serving(web.Application(middlewares=[everything])) as proxy:
        monkeypatch.setenv("http_proxy", proxy.partition("://")[2])
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        async with client_at("http://api.invalid") as api:
            assert await api.get("/identity") == {"id": 1}
        assert {request.host for request in script.seen} == {"api.invalid"}
        monkeypatch.setenv("no_proxy", ".invalid")
        async with client_at("http://api.invalid") as api:
            with pytest.raises(Unreachable):
                await api.get("/identity")
