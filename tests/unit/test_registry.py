"""Registering handlers, and importing the modules that hold them."""

import asyncio
import functools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.copernica.events import Event, EventType
from ingest.errors import SettingsError
from tests.support.has import assert_has
from workers.handlers import registry
from workers.handlers.options import MAX_BATCH, MAX_NAME
from workers.handlers.registry import BACKOFF, TIMEOUT, Handler, TryLater, load, on, per_second, wanting

HEAD = "from workers import on\n"
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module into the folder in which handlers are looked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def written(name: str, source: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        return path

    yield written
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", [])
    monkeypatch.setattr(registry, "_of_modules", {})


def registered() -> Handler:
    return registry._registered[-1]


def test_a_handler_that_says_nothing_gets_all_types_and_the_defaults() -> None:
    @on()
    def everything(event: object) -> None: ...

    assert registered() == Handler("everything", everything, frozenset(map(str, EventType)))
    found = registered()
    assert_has(found, batch=None, retries=len(BACKOFF), backoff=BACKOFF, timeout=TIMEOUT)
    assert (found.concurrency, found.rate, found.is_async) == (None, None, False)


def test_a_handler_gets_the_options_that_it_asks_for() -> None:
    def wanted(event: object) -> bool:
        return True

    options: dict[str, Any] = {"batch": 7, "retries": 2, "backoff": (1, 2), "timeout": 3, "where": wanted}

    @on("open", "click", **options, concurrency=4, rate="90/m", name="other")
    async def noticed(events: object) -> None: ...

    assert registered() == Handler(
        "other", noticed, frozenset({"open", "click"}), **options, concurrency=4, rate=1.5
    )
    assert registered().is_async
    assert noticed.__name__ == "noticed"


def test_delays_follow_the_backoff_whose_last_value_repeats() -> None:
    on(backoff=(1, 5), retries=4)(print)
    assert [registered().delay(attempt) for attempt in (1, 2, 3, 4)] == [1, 5, 5, 5]
    on(backoff=(), retries=4)(print)
    assert registered().delay(1) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 0},
        {"batch": MAX_BATCH + 1},
        {"concurrency": 0},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": math.inf},
        {"timeout": math.nan},
        {"timeout": 10**12},
        {"backoff": (1, -1)},
        {"backoff": (1, math.inf)},
        {"backoff": (math.nan,)},
        {"name": "a\nb"},
        {"name": "a\x00b"},
        {"name": "a\ud800b"},
        {"name": " a"},
        {"name": "n" * (MAX_NAME + 1)},
        {"name": 5},
        {"where": "open"},
        {"where": asyncio.sleep},
        {"retries": -1},
        {"rate": "fast"},
        {"rate": "0/s"},
        {"rate": "5/d"},
    ],
    ids=lambda options: str({name: getattr(value, "__name__", value) for name, value in options.items()}),
)
def test_an_option_that_cannot_be_used_is_refused(options: dict[str, Any]) -> None:
    mark: Any = on
    with pytest.raises(ValueError, match=next(iter(options))):
        mark("open", **options)(print)
    assert registry._registered == []


def test_a_function_without_a_name_is_given_one() -> None:
    with pytest.raises(ValueError, match="add name="):
        on("open")(functools.partial(print))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(5, 5), ("120", 120), (timedelta(minutes=5), 300), (-5, 0), (math.inf, 31_622_400), (10**400, 31_622_400)],
    ids=str,
)
def test_a_pause_is_a_number_of_seconds_however_it_is_said(said: Any, seconds: float) -> None:
    assert TryLater("busy", said).seconds == seconds


@pytest.mark.parametrize("said", [math.nan, "nan", "Wed, 21 Oct 2015 07:28:00 GMT", []], ids=repr)
def test_a_pause_that_is_no_number_is_an_error_of_the_handler(said: Any) -> None:
    with pytest.raises(ValueError, match="write a number of seconds"):
        TryLater("busy", said)


WRONG: dict[str, tuple[int | None, str]] = {
    "def h(): ...": (None, r"h\(\) cannot be called with one argument: write def h\(event: Event\)"),
    "def h(a, b): ...": (None, r"h\(a, b\) cannot be called with one argument"),
    "def h(*, event): ...": (None, "cannot be called"),
    "class h:\n    def __init__(self, event): ...": (None, "is a class"),
    "def h(event): yield": (None, "has a `yield`"),
    "async def h(event): yield": (None, "has a `yield`"),
    "def h(events: list[Event]): ...": (None, "add batch=500"),
    "def h(events: 'Sequence[Event]'): ...": (None, "add batch=500"),
    "async def h(events: list[Event]): ...": (None, "add batch=500"),
    "def h(event: Event): ...": (5, r"batch=5 gives it a list: write def h\(events: list\[Event\]\)"),
    "async def h(event: 'Event'): ...": (5, "gives it a list"),
    "h = 5": (None, "is no function"),
}


@pytest.mark.parametrize("source", WRONG)
def test_a_function_that_could_not_be_called_is_refused_at_once(source: str) -> None:
    (batch, match), names = WRONG[source], dict[str, Any](Event=Event, Sequence=Sequence)
    exec(source, names)
    with pytest.raises(ValueError, match=match):
        on("open", batch=batch)(names["h"])
    assert registry._registered == []


@pytest.mark.parametrize(
    "source",
    [
        "def h(event, more=None): ...",
        "def h(*events): ...",
        "def h(event: NotImported): ...",
        "def h(event: 'NotImported'): ...",
        "h = functools.partial(print, 'open')",
        "h = [].append",
    ],
)
@pytest.mark.parametrize("batch", [None, 5])
def test_a_function_that_can_be_called_is_taken_however_it_is_written(source: str, batch: int | None) -> None:
    names = dict[str, Any](functools=functools, NotImported=object)
    exec(source, names)
    del names["NotImported"]
    on("open", batch=batch, name="h")(names["h"])
    assert registered().name == "h"


def test_a_type_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="opne"):
        on("opne")


@pytest.mark.parametrize(
    ("rate", "calls"), [("50/s", 50), ("600/m", 10), ("1800/h", 0.5), ("0.5/s", 0.5), (" 2 / s ", 2)]
)
def test_rates_are_per_second_minute_or_hour(rate: str, calls: float) -> None:
    assert per_second(rate) == calls


@pytest.mark.parametrize("rate", ["", "50", "50/d", "-1/s", "0/s", "0.0/h", "1e3/s", "1/s/s", "nan/s"])
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="write 50/s"):
        per_second(rate)


def test_several_modules_give_all_their_handlers(write: Write) -> None:
    write("first_module", HEAD + "@on('open', 'click')\ndef one(event): ...\n@on('click')\ndef two(event): ...\n")
    write("second_module", HEAD + "@on('open')\ndef three(event): ...\n")
    found = load(["first_module", "second_module"])
    assert list(found) == ["one", "two", "three"]
    assert [wanting(found, kind) for kind in ("open", "click", "bounce")] == [["one", "three"], ["one", "two"], []]


def test_two_handlers_of_one_name_are_refused(write: Write) -> None:
    write("twins", HEAD + "@on('open')\ndef one(event): ...\n@on('click', name='one')\ndef two(event): ...\n")
    with pytest.raises(SettingsError, match="Two handlers are called 'one': rename one of them"):
        load(["twins"])


def test_a_module_that_another_imports_before_it_is_imported_once(write: Write) -> None:
    write("inner_module", HEAD + "@on('open')\ndef one(event): ...\n")
    write("outer_module", HEAD + "import inner_module\n@on('click')\ndef two(event): ...\n")
    assert sorted(load(["outer_module", "inner_module"])) == ["one", "two"]
    assert sorted(load(["inner_module", "outer_module", "inner_module"])) == ["one", "two"]


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        (HEAD + "\ndef broken(:\n", 3, "invalid syntax"),
        (HEAD + "\n\n1 / 0\n", 4, "ZeroDivisionError: division by zero"),
        ("import asyncio\nraise asyncio.CancelledError\n", 2, "line 2: CancelledError."),
        ("\nimport no_such_module_anywhere\n", 2, "No module named 'no_such_module_anywhere'"),
        (HEAD + "@on('opne')\ndef f(event): ...\n", 2, "'opne'"),
        (HEAD + "@on('open', batch=0)\ndef f(event): ...\n", 2, "ValueError: batch=0: it should be between"),
        (HEAD + "@on('open', colour=1)\ndef f(event): ...\n", 2, "unexpected keyword argument 'colour'"),
    ],
    ids=["syntax", "error", "no Exception", "import", "type", "option", "no such option"],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(
    write: Write, source: str, line: int, reason: str
) -> None:
    path = write("broken_module", source)
    with pytest.raises(SettingsError) as caught:
        load(["broken_module"])
    said = str(caught.value)
    assert said.startswith(f"INGEST_HANDLERS=broken_module cannot be imported: {path}, line {line}: ")
    assert reason in said
    assert said.endswith(".")
    assert "\n" not in said


def test_a_missing_module_is_reported_with_where_it_was_looked_for(write: Write, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(["no_such_module"])
    assert "INGEST_HANDLERS=no_such_module cannot be imported: " in str(caught.value)
    assert f"(looked in {tmp_path} " in str(caught.value)


def test_a_file_that_changed_gives_the_new_function(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for answer in ("1", "2", "30"):  # also twice within a second, and as long as before
        write("changing", HEAD + f"@on('open')\ndef answer(event): return {answer}\n")
        assert load(["changing"])["answer"].call(None) == int(answer)


def test_a_handler_that_is_gone_from_its_file_is_gone(write: Write) -> None:
    write("shrinking", HEAD + "@on('open')\ndef one(event): ...\n@on('open')\ndef two(event): ...\n")
    assert list(load(["shrinking"])) == ["one", "two"]
    write("shrinking", HEAD + "@on('open')\ndef two(event): ...\n")
    assert list(load(["shrinking"])) == ["two"]


def test_handlers_in_the_modules_of_a_package_are_there_each_time(write: Write, tmp_path: Path) -> None:
    (tmp_path / "my_package").mkdir()
    write("my_package/__init__", "from my_package import opens\n")
    write("my_package/opens", HEAD + "@on('open')\ndef one(event): ...\n")
    assert list(load(["my_package"])) == ["one"]
    assert list(load(["my_package"])) == ["one"]
