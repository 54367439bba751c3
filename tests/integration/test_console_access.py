"""Who gets into the console, and who may act there: attacks over a real socket."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from ingest.console import attempts
from ingest.console.access import SIGNER
from ingest.console.forms import DEAR
from tests.support.console import console, csrf_of, sign_in

Client = TestClient[Any, Any]

PASSWORD, READ_PASSWORD = "een-lang-wachtwoord", "alleen-maar-kijken"
BY_PASSWORD = {"INGEST_CONSOLE_PASSWORD": PASSWORD, "INGEST_CONSOLE_READ_PASSWORD": READ_PASSWORD}
BY_PROXY = {"INGEST_CONSOLE_AUTH_HEADER": "X-User", "INGEST_CONSOLE_PROXIES": "127.0.0.1"}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """None of these pages asks the database, or Redis."""
    return {"DATABASE_URL": f"sqlite:///{tmp_path}/none.db", "REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
async def open_console(environ: dict[str, str]) -> AsyncIterator[Client]:
    async with console(environ) as client:
        yield client


@pytest.fixture
async def closed_console(environ: dict[str, str]) -> AsyncIterator[Client]:
    async with console({**environ, **BY_PASSWORD}) as client:
        yield client


async def said(answer: ClientResponse) -> tuple[int, str]:
    return answer.status, await answer.text()


# --- without a password, on this machine ---


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:1", "8.8.8.8"])
async def test_a_name_that_leads_here_is_not_answered_without_a_password(open_console: Client, host: str) -> None:
    for path in ("/", "/static/x/console.css", "/login"):
        status, text = await said(await open_console.get(path, headers={"Host": host}, allow_redirects=False))
        assert status == 421
        assert "INGEST_CONSOLE_PASSWORD" in text


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8001", "127.1.2.3:80", "LOCALHOST"])
async def test_an_address_of_this_machine_is_answered_by_whatever_port(open_console: Client, host: str) -> None:
    assert (await open_console.get("/login", headers={"Host": host}, allow_redirects=False)).status == 303


async def test_a_proxy_does_not_open_the_console_to_others_unawares(open_console: Client) -> None:
    for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        assert (await open_console.get("/", headers={header: "198.51.100.7"})).status == 421


# --- other people's sites ---


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Referer": "https://evil.example/"},
    ],
)
async def test_a_form_of_another_site_is_refused_even_with_the_token(
    closed_console: Client, headers: dict[str, str]
) -> None:
    await sign_in(closed_console, PASSWORD)
    token = csrf_of(await (await closed_console.get("/nothing")).text())
    for path in ("/nothing", "/logout", "/login"):
        assert (await closed_console.post(path, data={"_csrf": token}, headers=headers)).status == 403
    closed_console.session.cookie_jar.clear()  # a browser sends none then, and must keep the one that it has
    refused = await closed_console.post("/logout", data={"_csrf": token}, headers=headers)
    assert (refused.status, "Set-Cookie" in refused.headers) == (403, False)


async def test_a_form_of_our_own_is_taken(closed_console: Client) -> None:
    await sign_in(closed_console, PASSWORD)
    token = csrf_of(await (await closed_console.get("/nothing")).text())
    ours = str(closed_console.make_url("")).rstrip("/")
    headers = {"Origin": ours, "Sec-Fetch-Site": "same-origin"}
    assert (await closed_console.post("/nothing", data={"_csrf": token}, headers=headers)).status == 404


async def test_a_token_of_another_session_is_refused(environ: dict[str, str]) -> None:
    async with console({**environ, **BY_PASSWORD}) as one:
        await sign_in(one, PASSWORD)
        token = csrf_of(await (await one.get("/nothing")).text())
        await sign_in(one, PASSWORD)  # a new session
        for given in (token, "", "é", "x" * 5000):
            assert (await one.post("/nothing", data={"_csrf": given})).status == 403


async def test_another_site_may_link_but_not_load(open_console: Client) -> None:
    def site(mode: str, destination: str) -> dict[str, str]:
        return {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}

    for mode, destination in (("no-cors", "image"), ("navigate", "iframe"), ("navigate", "embed"), ("cors", "")):
        assert (await open_console.get("/nothing", headers=site(mode, destination))).status == 403
    followed = await open_console.get("/nothing?a=1", headers=site("navigate", "document"))
    assert followed.status == 200
    assert "Set-Cookie" not in followed.headers, "it would end the session that this browser may have"
    assert 'content="0;url=/nothing?a=1&amp;_again=1"' in await followed.text()
    assert (await open_console.get("/nothing?a=1&_again=1")).status == 404


@pytest.mark.parametrize("path", [path + (f"?{some[0]}=1" if some else "") for path, some in DEAR.items()])
async def test_no_link_of_another_site_begins_what_is_dear(open_console: Client, path: str) -> None:
    mark = "&" if "?" in path else "?"
    browser = {"Accept": "text/html,*/*", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for asked in (path, f"{path}{mark}_again=1"):
        for said in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {}):
            refused = await open_console.get(asked, headers={**browser, **said}, allow_redirects=False)
            assert (refused.status, "Set-Cookie" in refused.headers) == (403, False), (asked, said)
    if path != "/system/check":  # it tries what it checks, where the settings say
        typed = await open_console.get(path, headers={**browser, "Sec-Fetch-Site": "none"}, allow_redirects=False)
        assert typed.status != 403


async def test_no_page_can_be_framed_or_kept(closed_console: Client) -> None:
    headers = (await closed_console.get("/login")).headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (headers["X-Frame-Options"], headers["Cache-Control"]) == ("DENY", "no-store")


# --- sessions ---


async def test_nothing_is_shown_to_who_has_not_signed_in(closed_console: Client) -> None:
    answer = await closed_console.get("/events?recipient=jan%40example.nl", allow_redirects=False)
    assert answer.status == 303
    assert answer.headers["Location"] == "/login?next=/events?recipient%3Djan@example.nl"
    live = await closed_console.get("/live/now")
    assert live.status == 401
    script = {"HX-Request": "true", "HX-Current-URL": "http://evil.example/events?a=1"}
    by_script = await closed_console.get("/events", headers=script)
    assert (by_script.status, by_script.headers["HX-Redirect"]) == (401, "/login?next=/events%3Fa%3D1")
    posted = await closed_console.post("/events", data={"_csrf": "x"}, allow_redirects=False)
    assert (posted.status, posted.headers["Location"]) == (303, "/login?ended=1")


async def test_the_cookie_is_for_this_host_alone_and_for_no_script(environ: dict[str, str]) -> None:
    settings = {**environ, **BY_PASSWORD, "INGEST_CONSOLE_PROXIES": "127.0.0.1"}
    secure = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7", "Host": "console.example"}
    async with console(settings) as client:
        plain = await client.get("/login")
        for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
            assert part in plain.headers["Set-Cookie"]
        assert "Strict-Transport-Security" not in plain.headers
        over_tls = await client.get("/login", headers=secure)
        assert over_tls.headers["Set-Cookie"].startswith("__Host-ingest=")
        for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Secure"):
            assert part in over_tls.headers["Set-Cookie"]
        assert "Domain" not in over_tls.headers["Set-Cookie"]
        assert over_tls.headers["Strict-Transport-Security"].startswith("max-age=")


async def test_only_our_proxies_can_say_that_there_is_tls(closed_console: Client) -> None:
    answer = await closed_console.get("/login", headers={"X-Forwarded-Proto": "https"})
    assert "Secure" not in answer.headers["Set-Cookie"]


async def test_signing_in_begins_a_new_session_and_the_old_one_gains_nothing(closed_console: Client) -> None:
    before = (await closed_console.get("/login")).cookies
    await sign_in(closed_console, PASSWORD)
    (name, cookie), *_ = before.items()
    old = {"Cookie": f"{name}={cookie.value}"}
    closed_console.session.cookie_jar.clear()
    assert (await closed_console.get("/nothing", headers=old, allow_redirects=False)).status == 303


async def test_a_session_that_was_ended_is_of_no_use_to_who_copied_it(
    environ: dict[str, str], database: str
) -> None:
    settings = {**environ, "DATABASE_URL": database, **BY_PASSWORD, "INGEST_CONSOLE_SECRET": "geheim" * 8}
    async with console(settings) as client:
        name, value = await sign_in(client, PASSWORD)
        assert (await client.get("/nothing")).status == 404
        token = csrf_of(await (await client.get("/nothing")).text())
        out = await client.post("/logout", data={"_csrf": token}, allow_redirects=False)
        assert (out.status, out.headers["Location"]) == (303, "/login")
        client.session.cookie_jar.clear()
        copied = {"Cookie": f"{name}={value}"}
        assert (await client.get("/nothing", headers=copied, allow_redirects=False)).status == 303
    async with console(settings) as again:  # a new process knows it as well
        port = again.make_url("").port
        for cookie in (f"ingest-{port}={value}",):
            answer = await again.get("/nothing", headers={"Cookie": cookie}, allow_redirects=False)
            assert answer.status == 303


async def test_a_session_outlasts_a_restart_but_not_another_password(environ: dict[str, str]) -> None:
    settings = {**environ, **BY_PASSWORD, "INGEST_CONSOLE_SECRET": "geheim" * 8}
    async with console(settings) as client:
        _, value = await sign_in(client, PASSWORD)
    for change, status in (({}, 404), ({"INGEST_CONSOLE_PASSWORD": "een-ander-wachtwoord"}, 303)):
        async with console({**settings, **change}) as client:
            cookie = {"Cookie": f"ingest-{client.make_url('').port}={value}"}
            assert (await client.get("/nothing", headers=cookie, allow_redirects=False)).status == status


async def test_a_cookie_beside_another_of_our_name_counts_for_nothing(closed_console: Client) -> None:
    name, value = await sign_in(closed_console, PASSWORD)
    closed_console.session.cookie_jar.clear()
    both = {"Cookie": f"{name}=x; {name}={value}"}
    assert (await closed_console.get("/nothing", headers=both, allow_redirects=False)).status == 303


async def test_who_may_only_look_cannot_act(closed_console: Client, caplog: pytest.LogCaptureFixture) -> None:
    await sign_in(closed_console, READ_PASSWORD)
    token = csrf_of(await (await closed_console.get("/nothing")).text())
    status, text = await said(await closed_console.post("/handlers", data={"_csrf": token}))
    assert (status, "You may look, but not act" in text) == (403, True)
    assert "may only look: POST /handlers" in caplog.text
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert (await closed_console.request(method, "/handlers")).status == 405


# --- signing in ---


@pytest.mark.parametrize(
    "following",
    ["//evil.example", "/\\evil.example", "https://evil.example/", "/\t/evil.example", "javascript:a()", "/login"],
)
async def test_signing_in_leads_nowhere_else(closed_console: Client, following: str) -> None:
    token = csrf_of(await (await closed_console.get("/login", params={"next": following})).text())
    form = {"_csrf": token, "password": PASSWORD, "next": following}
    answer = await closed_console.post("/login", data=form, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    for path in ("//evil.example?lang=nl", "//evil.example/..?lang=nl"):
        raw = await raw_get(closed_console, path)
        assert not re.search(rb"Location: (//|http)", raw), raw


async def raw_get(client: Client, target: str) -> bytes:
    """An answer to a target as it is written, which no client would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.make_url("").port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_who_signs_in_comes_back_to_where_they_were(closed_console: Client) -> None:
    form = await (await closed_console.get("/events?type=open&lang=nl")).text()
    assert 'name="next" value="/events?type=open"' in form
    assert "<h1>Inloggen</h1>" in form


async def test_nobody_is_signed_in_by_another_site(closed_console: Client) -> None:
    answer = await closed_console.post("/login", data={"password": PASSWORD, "_csrf": ""}, allow_redirects=False)
    assert answer.status == 403


async def test_a_flood_of_attempts_is_stopped_and_others_still_get_in(environ: dict[str, str]) -> None:
    proxy = {**environ, "INGEST_CONSOLE_PASSWORD": PASSWORD, "INGEST_CONSOLE_PROXIES": "127.0.0.1"}
    async with console(proxy) as client:
        stranger = {"X-Forwarded-For": "127.0.0.1, 2001:db8::666"}
        token = csrf_of(await (await client.get("/login", headers=stranger)).text())

        async def guess(password: str, address: str) -> ClientResponse:
            form, whom = {"_csrf": token, "password": password}, {"X-Forwarded-For": address}
            return await client.post("/login", data=form, headers=whom, allow_redirects=False)

        tries = [guess("geraden-wachtwoord", f"2001:db8::{number:x}") for number in range(40)]
        answers = await asyncio.gather(*tries)
        assert [answer.status for answer in answers].count(403) == attempts.EACH
        refused = next(answer for answer in answers if answer.status == 429)
        assert int(refused.headers["Retry-After"]) <= attempts.EACH_EVERY
        assert (await guess(PASSWORD, "2001:db8::1")).status == 429, "nor may they try the right one"
        assert (await guess(PASSWORD, "198.51.100.7")).status == 303


# --- a proxy that names people ---


async def test_who_the_proxy_names_may_look_and_the_operators_act(environ: dict[str, str]) -> None:
    async with console({**environ, **BY_PROXY, "INGEST_CONSOLE_OPERATORS": "jan"}) as client:
        (cookie,) = (await client.get("/nothing", headers={"X-User": "jan"})).cookies.values()
        signer = client.app[SIGNER]
        session = signer.read(cookie.value, time.time())
        assert session is not None
        for name, status in (("jan", 404), ("piet", 403)):
            form = {"_csrf": signer.csrf(session, name)}
            acted = await client.post("/nothing", data=form, headers={"X-User": name})
            assert acted.status == status
        other = await client.post("/nothing", data=form, headers={"X-User": "jan"})
        assert other.status == 403, "a token is one person's"


@pytest.mark.parametrize(
    "values", [[], [""], ["jan", "piet"], ["jan, piet"], ["j" * 201], ["j\tan"], ["jan\u202e"], ["  "]]
)
async def test_a_name_that_is_missing_or_not_clear_lets_nobody_in(
    environ: dict[str, str], values: list[str]
) -> None:
    async with console({**environ, **BY_PROXY}) as client:
        headers = [("X-User", value) for value in values]
        status, text = await said(await client.get("/nothing", headers=headers))
        assert (status, "The proxy did not say who you are" in text) == (403, True)


async def test_a_name_from_elsewhere_is_refused_even_beside_a_password(environ: dict[str, str]) -> None:
    elsewhere = {**environ, **BY_PROXY, "INGEST_CONSOLE_PROXIES": "192.0.2.0/24"}
    async with console(elsewhere) as client:
        for headers in ({"X-User": "jan"}, {}, {"X-User": "jan", "X-Forwarded-For": "192.0.2.1"}):
            assert (await client.get("/nothing", headers=headers)).status == 403
    async with console({**elsewhere, **BY_PASSWORD}) as client:
        assert (await client.get("/nothing", headers={"X-User": "jan"})).status == 403
        await sign_in(client, PASSWORD)
        assert (await client.get("/nothing")).status == 404, "by the password, past the proxy"


# --- forms, and what is as large or as slow as somebody likes ---


async def test_what_is_no_small_form_is_refused_before_it_is_read(closed_console: Client) -> None:
    token = csrf_of(await (await closed_console.get("/login")).text())
    large = await closed_console.post("/login", data={"_csrf": token, "password": "x" * 70_000})
    assert large.status == 413
    for kind in ("multipart/form-data; boundary=x", "application/json", "text/plain"):
        sent = await closed_console.post("/login", data=b"--x--", headers={"Content-Type": kind})
        assert sent.status == 415
    strange = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-7"}
    assert (await closed_console.post("/login", data=b"a=b", headers=strange)).status == 415
    broken = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await closed_console.post("/login", data=b"\xff\xfe=%ff", headers=broken)).status in (400, 403)
