"""The worker inside users' tests: what it says of their handlers is what a worker would do with them."""

import asyncio
import math
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from ingest import Event, testing
from ingest.copernica.api import Copernica
from ingest.copernica.events import EventType
from ingest.copernica.header_fields import HeaderFields
from ingest.errors import CallRejected, SettingsError
from ingest.settings import Settings
from ingest.testing import FakeApi, HandlerCall, SimulatedCopernica, Summary, Workbench
from ingest.testing.api import serving
from ingest.verification import Verifier
from workers import GiveUp, TryLater, on
from workers.handlers import registry

CLICK = testing.click(recipient="jan@example.nl")


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", [])
    monkeypatch.setattr(registry, "_of_modules", {})


def test_a_handler_gets_the_types_that_it_wants(copernica: Workbench) -> None:
    got: list[Event] = []

    @on("click", where=lambda event: event.recipient == "jan@example.nl")
    def h(event: Event) -> None:
        got.append(event)

    copernica.use(h)
    other = testing.click(recipient="piet@example.nl")
    assert copernica.give(CLICK, other, testing.open()) == Summary(done=1, unwanted=1)
    assert got == [CLICK]
    assert CLICK in copernica.events
    assert copernica.give(CLICK) == Summary(), "Copernica repeats itself"
    assert copernica.give_again(CLICK) == Summary(done=1)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_what_raises_is_tried_again_at_its_time_and_becomes_a_dead_letter(copernica: Workbench, kind: str) -> None:
    names: dict[str, Any] = {"on": on}
    exec(f"@on('click', backoff=(5, 30))\n{kind} h(event): raise ValueError('no')", names)
    copernica.use(names["h"])
    with pytest.raises(ValueError, match="no"):
        copernica.give(CLICK)
    assert [(one.attempts, one.seconds, one.error) for one in copernica.waiting] == [(1, 5, "ValueError: no")]
    assert copernica.advance(4.9) == Summary()
    with pytest.raises(ValueError, match="no"):
        copernica.advance(timedelta(seconds=0.1))
    assert copernica.wait_out() == Summary(failed=1)
    assert [(one.attempts, one.error, one.event) for one in copernica.dead_letters] == [
        (3, "ValueError: no", CLICK)
    ]
    begin = copernica.calls[0].at
    assert [(call.at - begin).total_seconds() for call in copernica.calls] == [0, 5, 35]
    assert all(isinstance(call.error, ValueError) for call in copernica.calls)


def test_what_a_handler_raises_on_purpose_is_no_error_of_the_test(copernica: Workbench) -> None:
    @on("click", "open")
    def h(event: Event) -> None:
        if event.type is EventType.OPEN:
            raise GiveUp("never")
        if len(copernica.calls) < 3:
            raise TryLater("busy", seconds=60)

    copernica.use(h)
    copernica.give(CLICK, testing.open())
    assert [one.error for one in copernica.dead_letters] == ["GiveUp: never"]
    assert copernica.wait_out() == Summary(done=1)
    assert copernica.retry_dead_letters() == Summary(failed=1)


def test_a_batch_is_halved_until_the_event_at_fault_is_alone(copernica: Workbench) -> None:
    events = [testing.open(recipient=f"{number}@example.nl") for number in range(8)]

    @on("open", batch=4)
    def h(events: list[Event]) -> None:
        if any(event.recipient == "5@example.nl" for event in events):
            raise KeyError("5")

    copernica.use(h)
    copernica.change("h", retries=0)
    assert copernica.give(*events, check=False) == Summary(done=7, failed=1)
    assert [len(call.events) for call in copernica.calls] == [4, 4, 2, 1, 1, 2]
    assert [letter.event for letter in copernica.dead_letters] == [events[5]]


def test_a_call_that_takes_too_long_says_so_and_leaves_the_alarms_of_others(copernica: Workbench) -> None:
    @on("click", timeout=0.05, retries=0)
    def h(event: Event) -> None:
        time.sleep(60)

    copernica.use(h)
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    with pytest.raises(TimeoutError, match="h: the call took longer"):
        copernica.give(CLICK)
    assert bool(signal.getitimer(signal.ITIMER_REAL)[0]) == bool(before), "pytest-timeout has one"
    assert len(copernica.dead_letters) == 1


def test_a_handler_that_ends_the_process_does_not_end_the_tests(copernica: Workbench) -> None:
    @on("click")
    def h(event: Event) -> None:
        raise SystemExit(3)

    copernica.use(h)
    with pytest.raises(RuntimeError, match=r"h ended the process: SystemExit\(3\)"):
        copernica.give(CLICK)


async def test_in_an_async_test_handlers_are_called_from_a_thread(copernica: Workbench) -> None:
    loops = []

    @on("click")
    async def h(event: Event) -> None:
        loops.append(asyncio.get_running_loop())

    copernica.use(h)
    with pytest.raises(RuntimeError, match=r"await asyncio\.to_thread\(copernica\.give, …\)"):
        copernica.give(CLICK)
    await asyncio.to_thread(copernica.give, CLICK)
    assert len(loops) == 1
    assert loops[0] is not asyncio.get_running_loop()


@pytest.mark.parametrize("seconds", [-1, timedelta(microseconds=-1), math.inf, math.nan])
def test_the_clock_does_not_go_back(copernica: Workbench, seconds: float | timedelta) -> None:
    @on("click")
    def h(event: Event) -> None: ...

    copernica.use(h)
    before = copernica.now
    with pytest.raises(ValueError, match="goes on by seconds"):
        copernica.advance(seconds)
    assert copernica.now == before


def test_a_fake_api_that_cannot_start_says_why_at_once() -> None:
    async def broken(_: web.Application) -> None:
        raise OSError("no file is left")

    app = web.Application()
    app.on_startup.append(broken)
    with pytest.raises(RuntimeError, match="does not come up: no file is left"), serving(app):
        pass


def test_what_cannot_be_used_is_said_in_a_sentence(copernica: Workbench) -> None:
    with pytest.raises(RuntimeError, match=r"begin with copernica\.use"):
        copernica.give(CLICK)
    with pytest.raises(ValueError, match=r"ingest\.errors has no handler"):
        copernica.use("ingest.errors")
    with pytest.raises(ValueError, match="print has no handler"):
        copernica.use(print)
    with pytest.raises(ValueError, match="there is no handler 'x', but none"):
        copernica.change("x", retries=1)


def test_a_module_has_its_handlers_and_those_inside_it(
    copernica: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(module: str, name: str) -> Callable[[Event], None]:
        def h(event: Event) -> None: ...

        h.__module__, h.__name__ = module, name
        return on("click")(h)

    for module, name in (("shop", "a"), ("shop.mail", "b"), ("shopping", "c")):
        handler(module, name)
    copernica.use(ModuleType("shop"))
    copernica.give(CLICK)
    assert sorted(call.handler for call in copernica.calls) == ["a", "b"]
    handler("shop.more", "a")
    with pytest.raises(SettingsError, match="Two handlers are called 'a'"):
        copernica.use(ModuleType("shop"))
    other = handler("shopping", "b")
    copernica.use(ModuleType("shop.mail"))
    with pytest.raises(SettingsError, match="Two handlers are called 'b'"):
        copernica.use(other)


def test_a_signed_call_is_taken_by_the_endpoint_that_has_its_settings(
    simulated_copernica: SimulatedCopernica,
) -> None:
    call = simulated_copernica.signed("https://hooks.example.nl/copernica/x?a=1", CLICK)

    def examine(call: testing.Call, settings: Settings) -> None:
        fields = HeaderFields.from_pairs([(name.encode(), value.encode()) for name, value in call.headers.items()])
        verifier = Verifier.from_settings(settings)
        now = time.time_ns() // 1000
        asyncio.run(verifier.verify(verifier.examine(b"/copernica/x?a=1", fields, call.body, now)))

    settings = Settings.read(simulated_copernica.environ)
    examine(call, settings)
    with pytest.raises(CallRejected, match="wrong-digest"):
        examine(call._replace(body=call.body + b"&a=b"), settings)
    with pytest.raises(CallRejected, match="too-old"):
        examine(simulated_copernica.signed(call.url, CLICK, age=4000), settings)


def test_a_forwarded_call_has_a_signature_that_the_standard_library_accepts() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    call = testing.forwarded("http://127.0.0.1/x", CLICK, secret)
    Webhook(secret).verify(call.body, call.headers, json_parse=False)
    assert call.headers["X-Ingest-Delivery-Id"] == CLICK.delivery_id.hex()
    assert call.headers["x-copernica-id"] == "account-1"
    assert "webhook-signature" not in testing.forwarded("http://127.0.0.1/x", CLICK).headers


async def test_the_fake_api_is_found_by_the_settings_of_the_environment(copernica_api: FakeApi) -> None:
    copernica_api.add_profile(12, Email="jan@example.nl")
    assert copernica_api.fields_of(12) == {"Email": "jan@example.nl"}
    with pytest.raises(KeyError):
        copernica_api.fields_of(13)
    settings = Settings.read()
    async with Copernica.with_settings(settings) as api:
        assert (await api.get("/profile/12"))["fields"] == {"Email": "jan@example.nl"}
    assert copernica_api.requests == ["POST /", "GET /profile/12"]


def test_calls_are_told_as_they_were_made(copernica: Workbench) -> None:
    @on("click", name="named")
    def h(event: Event) -> None: ...

    copernica.use(h)
    copernica.give(CLICK)
    assert copernica.calls == [HandlerCall("named", [CLICK], copernica.now)]
