"""Copernica's events in a Django project: the example, in this process."""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import psycopg
import pytest

from ingest.copernica.events import EventType
from ingest.settings import Settings
from tests.support import builders, django_project
from tests.support.builders import NINE, SECOND
from tests.support.postgres import Server
from workers.handlers import registry
from workers.store.store import Store

MODULE = "workers.contrib.django.handlers"
ENGINES = "django.db.backends"


pytestmark = pytest.mark.slow  # each process that runs one of them sets Django up


@pytest.fixture(scope="session", autouse=True)
def _django(tmp_path_factory: pytest.TempPathFactory) -> None:
    django_project.set_up(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def project(tmp_path: Path, sqlite_url: str) -> Iterator[None]:
    with django_project.databases(tmp_path, sqlite_url):
        yield


def event(number: int, kind: EventType = EventType.OPEN, **changes: Any) -> Any:
    return builders.event(number, type=kind, **changes)


# --- settings ---


def environment(settings: dict[str, Any], **environ: str) -> dict[str, str]:
    from django.test import override_settings

    from workers.contrib.django import conf

    with override_settings(COPERNICA_INGEST=settings):
        return conf.environment(environ)


def test_settings_have_the_names_of_the_program_with_or_without_their_beginning() -> None:
    given = {"ACCOUNTS": ["account-1", "account-2"], "INGEST_MAX_BODY": 1000, "VERIFY": False, "TZ": None}
    assert environment(given) == {
        "INGEST_ACCOUNTS": "account-1,account-2",
        "INGEST_MAX_BODY": "1000",
        "INGEST_VERIFY": "off",
        "INGEST_HANDLERS": MODULE,
    }


def test_true_and_false_are_what_each_switch_takes() -> None:
    switches = [name for name, field in Settings.names().items() if is_switch(field.annotation)]
    assert {"INGEST_SPOOL_DURABLE", "INGEST_ALLOW_ROOT", "INGEST_VERIFY"} <= set(switches)
    for given in (True, False):
        assert Settings.try_to_read(environment(dict.fromkeys(switches, given)))[1] == []


def is_switch(annotation: Any) -> bool:
    return "bool" in str(annotation) or "on" in get_args(annotation)


def test_an_empty_variable_of_the_environment_is_not_set() -> None:
    given = {"PORT": 8001, "SPOOL_DIR": "/spool", "HANDLERS": f"mine, {MODULE}"}
    found = environment(given, PORT="", INGEST_SPOOL_DIR="")
    assert found == {"PORT": "8001", "INGEST_HANDLERS": f"mine, {MODULE}"}


def test_the_environment_wins_and_handlers_of_both_are_kept() -> None:
    found = environment({"PORT": 8001, "HANDLERS": "mine"}, PORT="8002", INGEST_HANDLERS="theirs")
    assert found == {"INGEST_HANDLERS": f"theirs,{MODULE}"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ACOUNTS": "1"}, "ACOUNTS', which is no setting. Did you mean ACCOUNTS?"),
        ({"ACCOUNTS": {"a": 1}}, "should be a text"),
        ({"DATABASE": "by_file"}, "set DATABASE_URL"),
        ({"DATABASE": "copernika"}, "not in DATABASES. Did you mean copernica?"),
        (["ACCOUNTS"], "should be a dictionary"),
    ],
)
def test_a_mistake_is_found_by_check_and_told_in_one_sentence(
    given: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.conf import settings
    from django.test import override_settings

    from workers.contrib.django.checks import check_settings

    by_file = {"ENGINE": f"{ENGINES}.mysql", "OPTIONS": {"read_default_file": "/etc/my.cnf"}}
    monkeypatch.setitem(settings.DATABASES, "by_file", by_file)
    with override_settings(COPERNICA_INGEST=given):
        (found,) = check_settings()
    assert (found.id, says in found.msg) == ("copernica_ingest.E001", True), found


def test_check_finds_values_that_cannot_be_used_and_passwords_that_django_would_show() -> None:
    from django.test import override_settings

    from workers.contrib.django.checks import check_settings

    given = {"ACCOUNTS": "account-1", "MAX_BODY": "much", "FORWARD_URL": ["http://me:hunter2@localhost/x"]}
    given["ALERT_URL"] = "http://[is-no-address/"
    with override_settings(COPERNICA_INGEST=given, USE_TZ=False):
        found = {one.id: one.msg for one in check_settings()}
    assert set(found) == {"copernica_ingest.E002", "copernica_ingest.W001", "copernica_ingest.W002"}
    assert "FORWARD_URL" in found["copernica_ingest.W002"]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("one", "url"),
    [
        ({"ENGINE": f"{ENGINES}.sqlite3", "NAME": Path("/srv/e.db")}, "sqlite:////srv/e.db"),
        (
            {"ENGINE": f"{ENGINES}.postgresql", "NAME": "e v", "USER": "u@x", "PASSWORD": "p:/@", "HOST": "h"}
            | {"PORT": "5433", "OPTIONS": {"sslmode": "require", "pool": True}},
            "postgresql://u%40x:p%3A%2F%40@h:5433/e%20v?sslmode=require",
        ),
        (
            {"ENGINE": "django.contrib.gis.db.backends.postgis", "NAME": "e", "HOST": "/run/pg"},
            "postgresql:///e?host=%2Frun%2Fpg",
        ),
        (
            {"ENGINE": f"{ENGINES}.postgresql", "NAME": "e", "HOST": "/run/pg", "PORT": 5433},
            "postgresql:///e?host=%2Frun%2Fpg&port=5433",
        ),
        ({"ENGINE": f"{ENGINES}.postgresql", "NAME": "e", "USER": "u"}, "postgresql://u@/e"),
        ({"ENGINE": f"{ENGINES}.postgresql", "NAME": "e", "HOST": "::1", "PORT": 5}, "postgresql://[::1]:5/e"),
        (
            {"ENGINE": f"{ENGINES}.postgresql", "NAME": "e", "HOST": "a,b", "PORT": "1,2"},
            "postgresql:///e?host=a%2Cb&port=1%2C2",
        ),
        (
            {"ENGINE": f"{ENGINES}.postgresql", "NAME": "e", "HOST": "h"}
            | {"OPTIONS": {"passfile": "/x", "assume_role": "app", "options": "-c search_path=s"}},
            "postgresql://h/e?passfile=%2Fx&options=-c%20search_path%3Ds%20-c%20role%3Dapp",
        ),
        ({"ENGINE": f"{ENGINES}.sqlite3", "NAME": "/srv/a?b%.db"}, "sqlite:////srv/a%3Fb%25.db"),
        ({"ENGINE": f"{ENGINES}.mysql", "NAME": "e", "USER": "u"}, "mysql://u@localhost/e"),
        (
            {"ENGINE": f"{ENGINES}.mysql", "NAME": "e", "USER": "u", "HOST": "/run/my.sock", "PORT": ""},
            "mysql://u@/e?unix_socket=%2Frun%2Fmy.sock",
        ),
        (
            {"ENGINE": f"{ENGINES}.mysql", "NAME": "e", "HOST": "h", "PORT": 3307}
            | {"OPTIONS": {"ssl": {"ca": "/ca.pem"}, "ssl_mode": "VERIFY_IDENTITY", "charset": "utf8mb4"}},
            "mysql://h:3307/e?ssl_mode=VERIFY_IDENTITY&ssl_ca=%2Fca.pem",
        ),
    ],
)
def test_the_database_is_that_of_an_alias(one: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    monkeypatch.setattr(settings, "DATABASES", {"there": one})
    assert environment({"DATABASE": "there"})["DATABASE_URL"] == url
    assert Settings.read({"DATABASE_URL": url}).database


# --- handlers ---


def test_handlers_of_apps_are_found_each_time_they_are_loaded(project: None) -> None:
    assert set(registry.load([MODULE])) == {"clicked", "anymail"} == set(registry.load([MODULE]))


def test_handlers_in_a_package_are_found_each_time_too(
    project: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shop

    package = tmp_path / "copernica_handlers"
    package.mkdir()
    (package / "__init__.py").write_text("from shop.copernica_handlers import opens\n")
    (package / "opens.py").write_text(
        "from workers import on\n\n@on('open')\ndef opened(event: object) -> None: ...\n"
    )
    monkeypatch.setattr(shop, "__path__", [str(tmp_path), *shop.__path__])
    try:
        assert "opened" in registry.load([MODULE])
        assert "opened" in registry.load([MODULE])
    finally:
        for name in [one for one in sys.modules if one.startswith("shop.copernica_handlers")]:
            del sys.modules[name]


def test_a_handler_goes_on_after_its_connection_was_lost(
    tmp_path: Path, sqlite_url: str, postgres_server: Server
) -> None:
    from django.db import connection
    from shop.models import Contact

    with django_project.databases(tmp_path, sqlite_url, postgres_server.new_database("shop")):
        clicked = registry.load([MODULE])["clicked"]
        clicked.call(event(1, EventType.CLICK))
        number = connection.connection.info.backend_pid
        clicked.call(event(2, EventType.CLICK))
        assert connection.connection.info.backend_pid == number, "it lasts, though CONN_MAX_AGE is 0"
        with psycopg.connect(postgres_server.dsn("shop")) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [number])
        with pytest.raises(Exception, match="terminat"):
            clicked.call(event(3, EventType.CLICK))
        clicked.call(event(4, EventType.CLICK, recipient="piet@example.nl"))
        assert Contact.objects.count() == 2


def test_a_handler_that_is_broken_off_within_a_transaction_leaves_none(
    project: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import connection, transaction

    from workers.contrib.django.connections import with_fresh_connections
    from workers.handlers.time_limits import CallTimeout

    def stuck(_event: object) -> None:
        transaction.atomic().__enter__()
        raise CallTimeout

    with pytest.raises(CallTimeout):
        with_fresh_connections(registry.Handler("stuck", stuck, frozenset())).call(None)
    assert not connection.in_atomic_block


def left_atomic() -> None:
    from django.db import transaction
    from shop.models import Contact

    transaction.atomic().__enter__()
    Contact.objects.create(address="a@example.nl")


def left_begun() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO shop_contact (address, bounced) VALUES ('a@example.nl', FALSE)")


@pytest.mark.parametrize("leave", [left_atomic, left_begun])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("server", ["sqlite", "postgresql"])
def test_a_call_that_leaves_a_transaction_open_has_failed(
    tmp_path: Path,
    sqlite_url: str,
    leave: Callable[[], None],
    is_async: bool,
    server: str,
    request: pytest.FixtureRequest,
) -> None:
    from asgiref.sync import async_to_sync, sync_to_async
    from shop.models import Contact

    from workers.contrib.django.connections import with_fresh_connections

    async def later(_: object) -> None:
        await sync_to_async(leave)()

    handler = registry.Handler("leaves", later if is_async else lambda _: leave(), frozenset())
    call = with_fresh_connections(handler).call
    own = "" if server == "sqlite" else request.getfixturevalue("postgres_server").new_database("left_open")
    with django_project.databases(tmp_path, sqlite_url, own):
        with pytest.raises(RuntimeError, match="left a transaction open in the database default"):
            async_to_sync(call)(None) if is_async else call(None)
        assert Contact.objects.count() == 0, "nothing of it is kept"


def test_what_a_failed_call_left_open_is_not_the_next_ones(project: None) -> None:
    from shop.models import Contact

    from workers.contrib.django.connections import with_fresh_connections

    def failing(_: object) -> None:
        left_atomic()
        raise LookupError

    with pytest.raises(LookupError):
        with_fresh_connections(registry.Handler("fails", failing, frozenset())).call(None)
    assert Contact.objects.count() == 0


async def test_a_coroutine_queries_too(project: None) -> None:
    from asgiref.sync import sync_to_async
    from django.db import connections
    from shop.models import Contact

    from workers.contrib.django.connections import with_fresh_connections

    async def noted(what: str) -> int:
        await Contact.objects.acreate(address=what)
        return int(await Contact.objects.acount())

    call = with_fresh_connections(registry.Handler("noted", noted, frozenset())).call
    assert [await call("a@example.nl"), await call("b@example.nl")] == [1, 2]
    await sync_to_async(connections.close_all)()


# --- Anymail ---


def test_each_event_is_one_that_anymail_knows() -> None:
    from anymail.signals import AnymailTrackingEvent
    from anymail.signals import EventType as Theirs

    from workers.contrib.django.anymail.translation import TYPES, tracking_event

    known = {value for name, value in vars(Theirs).items() if name.isupper()}
    assert set(TYPES.values()) <= known
    for kind in TYPES:
        told = tracking_event(event(1, EventType(kind), mailing=90210))
        assert isinstance(told, AnymailTrackingEvent)
        assert (told.event_type, told.message_id, told.recipient) == (TYPES[kind], "5fd2", "jan@example.nl")
        assert (told.event_id, told.tags, told.metadata["mailing"]) == (
            event(1).delivery_id.hex(),
            ["a", "b"],
            "90210",
        )
        assert told.timestamp.timestamp() * SECOND == NINE
        assert told.esp_event["id"] == "5fd2"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"extended": "5.1.1"}, "invalid"),
        ({"extended": "5.7.1"}, "blocked"),
        ({"extended": "4.4.7"}, "timed_out"),
        ({"extended": None}, "bounced"),
    ],
)
def test_a_failure_says_why_and_what_the_server_said(changes: dict[str, Any], reason: str) -> None:
    from workers.contrib.django.anymail.translation import tracking_event

    told = tracking_event(event(1, EventType.FAILURE, code=550, description="no such user", **changes))
    assert told.reject_reason == reason
    assert told.mta_response == " ".join(filter(None, ["550", changes["extended"], "no such user"]))


@pytest.mark.parametrize(
    ("recipient", "told"),
    [("Jan <Jan@example.nl>", "Jan@example.nl"), ('"J, d" <j@example.nl>', "j@example.nl"), (None, None)],
)
def test_the_recipient_is_an_address_without_a_name(recipient: str | None, told: str | None) -> None:
    from workers.contrib.django.anymail.translation import tracking_event

    assert tracking_event(event(1, EventType.FAILURE, recipient=recipient)).recipient == told


def test_receivers_are_called_unchanged_and_what_they_raise_is_tried_again(project: None) -> None:
    from anymail.signals import tracking
    from shop.models import Contact

    send = registry.load([MODULE])["anymail"].call
    send(event(1, EventType.FAILURE))
    assert Contact.objects.get(address="jan@example.nl").bounced

    def failing(**_: Any) -> None:
        raise RuntimeError("the shop is closed")

    tracking.connect(failing)
    try:
        with pytest.raises(RuntimeError, match="closed"):
            send(event(1, EventType.OPEN))
    finally:
        tracking.disconnect(failing)


# --- the model and its page ---


def test_the_model_reads_what_the_store_has_and_writes_nothing(
    tmp_path: Path, database: str, store: Store
) -> None:
    from workers.contrib.django.models import Event, ReadOnly

    stored = [event(1), event(2, EventType.CLICK, url="https://example.nl/é", raw=b"\0x", tags=["ü"])]
    store.add(stored)
    with django_project.databases(tmp_path, database):
        newest, oldest = Event.objects.order_by("-delivery_id")
        assert (newest.pk, oldest.pk) == (stored[1].delivery_id.hex(), stored[0].delivery_id.hex())
        for column in ("type", "message_id", "recipient", "url", "profile", "tags", "payload", "path", "source"):
            assert getattr(newest, column) == getattr(stored[1], column), column
        assert (bytes(newest.raw), oldest.raw) == (b"\0x", None)
        assert newest.occurred_at.timestamp() * SECOND == NINE
        assert Event.objects.filter(occurred_at__gte=newest.occurred_at, pk=stored[1].delivery_id).count() == 1
        for write in (newest.save, newest.delete, Event.objects.all().delete, Event.objects.create):
            with pytest.raises(ReadOnly):
                write()


@pytest.mark.parametrize("aware", [True, False])
def test_times_are_those_of_the_store_whatever_zone_the_project_has(
    tmp_path: Path, database: str, store: Store, aware: bool
) -> None:
    from django.db import connections
    from django.test import override_settings

    from workers.contrib.django.models import Event

    store.add([event(1)])
    moment = datetime.fromtimestamp(NINE / SECOND, UTC)
    with (
        override_settings(USE_TZ=aware, TIME_ZONE="America/New_York"),
        django_project.databases(tmp_path, database),
    ):
        if aware:
            connections["copernica"].settings_dict["TIME_ZONE"] = "Asia/Tokyo"
        (found,) = Event.objects.all()
        assert (found.occurred_at, found.occurred_at.tzinfo) == (moment, UTC)
        local = moment.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
        for asked in (moment, moment.astimezone(ZoneInfo("Asia/Tokyo")), *([] if aware else [local])):
            assert Event.objects.filter(occurred_at=asked).count() == 1, asked
            assert Event.objects.filter(occurred_at__lt=asked).count() == 0, asked


def test_the_admin_finds_by_our_rules_shows_all_as_text_and_counts_nothing(
    tmp_path: Path, database: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    with django_project.databases(tmp_path, database):
        admin_finds(store)


def admin_finds(store: Store) -> None:
    from django.contrib.auth.models import User
    from django.db import connections
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    payload = {"x": "<script>alert(1)</script>"}
    store.add([event(1, recipient="Jan@EXÄMPLE.nl"), event(2, message_id="other", payload=payload)])
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="x"))
    page = "/admin/copernica_ingest/event/"
    with CaptureQueriesContext(connections["copernica"]) as queries:
        listed = client.get(page).content.decode()
    assert listed.count('class="field-type') == 2
    counts = [one["sql"] for one in queries if "COUNT" in one["sql"]]
    assert counts
    assert all("LIMIT" in one for one in counts), "none reads the whole table"
    for typed, found in (
        ("jan@xn--exmple-cua.nl", 1),
        ("other", 1),
        (event(2).delivery_id.hex(), 1),
        ("nobody", 0),
    ):
        assert client.get(page, {"q": typed}).content.decode().count('class="field-type') == found, typed
    shown = client.get(f"{page}{event(2).delivery_id.hex()}/change/").content.decode()
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert(1)" not in shown
    assert client.get(f"{page}add/").status_code == 403
    assert client.post(f"{page}{event(2).delivery_id.hex()}/delete/", {"post": "yes"}).status_code == 403


def test_the_admin_reads_no_whole_table_for_a_rare_type(
    project: None, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.contrib.auth.models import User
    from django.db import connections
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    with Store.open(sqlite_url) as store:
        store.add([event(1, EventType.ABUSE), event(2), event(3, recipient="piet@example.nl")])
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="x"))

    def listed(**parameters: str) -> int:
        page = client.get("/admin/copernica_ingest/event/", parameters, follow=True).content.decode()
        return int(page.count('class="field-type'))

    with CaptureQueriesContext(connections["copernica"]) as queries:
        assert listed(type="abuse") == 1
    assert '"type" = ' not in str(queries.captured_queries), "it is found by the numbers of each hour"
    assert [listed(type="abuse", q=typed) for typed in ("jan@example.nl", "piet@example.nl")] == [1, 0]
    assert listed(type="open", q=event(1).delivery_id.hex()) == 0
    condition = {"recipient__contains": "piet"}  # in the address; the page has none such
    assert client.get("/admin/copernica_ingest/event/", condition).status_code == 400


# --- the command ---


def test_a_mistake_in_the_settings_ends_the_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    from django.core.management import ManagementUtility
    from django.test import override_settings

    with override_settings(COPERNICA_INGEST={"ACOUNTS": "1"}), pytest.raises(SystemExit) as caught:
        ManagementUtility(["manage.py", "copernica", "status"]).execute()
    assert caught.value.code == 2
    assert "ACOUNTS', which is no setting. Did you mean ACCOUNTS?" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--settings", "shop.settings"], ["--settings=shop.settings"]])
def test_options_of_manage_py_before_the_command_are_its_own(
    given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest.cli.main import main
    from workers.contrib.django.management.commands import copernica

    run: list[str] = []
    monkeypatch.setattr(main, "main", lambda words, **_: run.extend(words))
    monkeypatch.setattr(os, "environ", {**os.environ})
    copernica.Command().run_from_argv(["manage.py", "copernica", *given, "worker", "--queue", "handlers"])
    assert run == ["worker", "--queue", "handlers"]
    run.clear()
    copernica.Command().run_from_argv(["manage.py", "copernica", *given, "--help"])
    assert run == ["--help"]


def test_the_command_ends_as_the_program_does(project: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core.management import CommandError, call_command

    monkeypatch.setattr(os, "environ", {**os.environ})
    call_command("copernica", "config", "INGEST_ACCOUNTS")
    with pytest.raises(CommandError) as caught:
        call_command("copernica", "events", "--type", "opn")
    assert caught.value.returncode == 2
