"""`ingest webhooks` as typed, against the fake on a real socket; and the fake as a process."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.copernica.api.webhooks import Webhook, same_url
from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from tests.support.cli import typed
from tests.support.fake_copernica import TOKEN, fake_copernica
from workers.operations.audit import entries
from workers.store import schema
from workers.store.store import Store

URL = "https://hooks.example.nl/copernica"


@pytest.fixture
def fake(tmp_path: Path) -> FakeCopernica:
    return FakeCopernica(tmp_path, TOKEN)


@pytest.fixture
def environ(fake: FakeCopernica) -> Iterator[dict[str, str]]:
    with fake_copernica(fake) as environ:
        yield environ


def registered(fake: FakeCopernica, *hooks: tuple[str, str], **more: object) -> None:
    for url, trigger in hooks:
        fake.register({"handler": url, "trigger": trigger, **more})


def triggers(fake: FakeCopernica, url: str = URL) -> list[str]:
    return sorted(hook["trigger"] for hook in fake.webhooks.values() if hook["handler"] == url)


def test_a_webhook_is_created_listed_changed_and_deleted(fake: FakeCopernica, environ: dict[str, str]) -> None:
    assert "There are no webhooks" in typed("webhooks", "list", environ=environ).stdout
    made = typed(
        "webhooks",
        "create",
        "--url",
        URL,
        "--trigger",
        "profile-update",
        "--callers",
        "ms",
        "--database",
        "12",
        environ=environ,
    )
    assert (made.exit_code, made.stdout) == (0, f"Created: 1 update to {URL} (only ms, only database 12).\n")
    row = typed("webhooks", "list", environ=environ | {"COLUMNS": "100"}).stdout.splitlines()[1]
    assert re.split(r"  +", row) == ["1", "update", URL, "only ms, only database 12"]
    assert json.loads(typed("webhooks", "list", "--json", environ=environ).stdout) == [
        {"id": "1", "handler": URL, "trigger": "update", "callers": ["ms"], "database": 12, "collection": None}
    ]
    assert typed("webhooks", "update", "1", "--trigger", "open", environ=environ).exit_code == 0
    assert fake.webhooks[1]["trigger"] == "open"
    assert fake.webhooks[1]["database"] == 12
    assert typed("webhooks", "update", "1", environ=environ).exit_code == 2
    asked = typed("webhooks", "delete", "1", environ=environ, answer="n\n")
    assert asked.exit_code == 1
    assert f"Delete webhook 1 open to {URL}" in asked.output
    assert fake.webhooks
    assert typed("webhooks", "delete", "1", environ=environ, answer="y\n").exit_code == 0
    assert not fake.webhooks
    gone = typed("webhooks", "delete", "1", "--yes", environ=environ)
    assert gone.exit_code == 0  # it has already been removed
    never = typed("webhooks", "delete", "99", "--yes", environ=environ)
    assert never.exit_code == 1
    assert "No webhook with supplied ID" in never.stderr


def test_setup_shows_the_difference_and_applies_it_once(fake: FakeCopernica, environ: dict[str, str]) -> None:
    registered(fake, (URL, "click"), (URL, "bounce"), ("https://other.example.nl/", "open"))
    command = ("webhooks", "setup", "--url", URL, "--types", "open,click,profile-create,subprofile-create")
    refused = typed(*command, environ=environ, answer="n\n")
    assert refused.exit_code == 1
    assert refused.stdout.splitlines()[:6] == [
        f"+ add     create to {URL}",
        f"+ add     open to {URL}",
        f"= there   1 click to {URL}",
        f"? extra   2 bounce to {URL}",
        "  other   3 open to https://other.example.nl/",
        "The extra ones, for other types, stay: --prune deletes them.",
    ]
    assert len(fake.webhooks) == 3
    assert typed(*command, environ=environ, answer="y\n").exit_code == 0
    assert triggers(fake) == ["bounce", "click", "create", "open"]
    again = typed(*command, environ=environ)
    assert again.exit_code == 0
    assert again.stdout.endswith("Nothing to do.\n")
    pruned = typed(*command, "--prune", "--yes", environ=environ)
    assert f"deleted  2 bounce to {URL}" in pruned.stdout
    assert triggers(fake) == ["click", "create", "open"]
    assert triggers(fake, "https://other.example.nl/") == ["open"]


def test_setup_for_a_script_only_looks_without_yes(fake: FakeCopernica, environ: dict[str, str]) -> None:
    registered(fake, (URL, "click"), (URL, "click"), (URL, "bounce"))
    command = ("webhooks", "setup", "--url", URL, "--types", "open,click", "--prune", "--json")
    looked = json.loads(typed(*command, environ=environ).stdout)
    assert (looked["applied"], looked["missing"], looked["doubled"]) == (False, ["open"], ["click"])
    assert len(fake.webhooks) == 3
    done = json.loads(typed(*command, "--yes", environ=environ).stdout)
    assert (done["applied"], done["deleted"]) == (True, ["3"])
    assert [hook["id"] for hook in done["created"]] == ["4"]
    assert triggers(fake)[-1] == "open"


def test_setup_that_is_cut_off_says_so_and_can_be_run_again(tmp_path: Path) -> None:
    fake = FakeCopernica(tmp_path, TOKEN, Faults("ok@webhooks,ok@webhooks,ok@webhooks,cut@webhooks"))
    command = ("webhooks", "setup", "--url", URL, "--types", "open,click", "--yes")
    with fake_copernica(fake) as environ:
        broken = typed(*command, environ=environ)
        assert broken.exit_code == 1
        assert "check what is there before you try again" in broken.stderr
        assert f"added    1 click to {URL}" in broken.stdout
        assert typed(*command, environ=environ).stdout.endswith("Nothing to do.\n")
    assert triggers(fake) == ["click", "open"]


def test_what_is_limited_counts_as_there_and_is_shown(fake: FakeCopernica, environ: dict[str, str]) -> None:
    registered(fake, (URL, "update"), (URL, "update"), database=5)
    shown = typed("webhooks", "setup", "--url", URL, "--types", "profile-update", environ=environ).stdout
    assert shown.count("(only database 5)") == 2
    assert "more than once" not in shown
    assert shown.endswith("Nothing to do.\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--url", URL, "--types", "open,abuse"),
            "'abuse' is nothing that REST can make a webhook for; there are",
        ),
        (("--url", URL, "--types", "openn"), "'openn' is no trigger; there are create, "),
        (("--url", URL, "--types", " , "), "at least one type"),
        (("--url", "hooks.example.nl", "--types", "open"), "write https://example.nl/copernica"),
        (("--url", "https://x y/", "--types", "open"), "cannot be called"),
        (("--url", "https://x:99999/", "--types", "open"), "cannot be called"),
    ],
)
def test_what_cannot_be_set_up_is_explained(
    environ: dict[str, str], arguments: tuple[str, ...], says: str
) -> None:
    done = typed("webhooks", "setup", *arguments, environ=environ)
    assert done.exit_code == 2
    assert says in done.stderr


def test_a_url_without_https_or_for_another_path_is_warned_of(environ: dict[str, str]) -> None:
    url = "http://hooks.example.nl/elsewhere"
    done = typed("webhooks", "create", "--url", url, "--trigger", "open", environ=environ)
    assert done.exit_code == 0
    assert "is not HTTPS" in done.stderr
    assert "takes calls at /copernica, by these settings, and not at /elsewhere" in done.stderr
    quiet = typed("webhooks", "create", "--url", f"{URL}/x", "--trigger", "open", environ=environ)
    assert quiet.stderr == ""


def test_a_missing_or_wrong_token_is_one_sentence(environ: dict[str, str]) -> None:
    without = typed("webhooks", "list", environ=environ | {"COPERNICA_TOKEN": ""})
    assert without.exit_code == 2
    assert without.stderr.startswith("ingest: COPERNICA_TOKEN is not set: ")
    wrong = typed("webhooks", "list", environ=environ | {"COPERNICA_TOKEN": "geheim"})
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("ingest: Copernica does not accept the token")
    for said in (without, wrong):
        assert said.stderr.count("\n") == 1
        assert "geheim" not in said.output


def test_what_copernica_says_cannot_move_the_cursor(fake: FakeCopernica, environ: dict[str, str]) -> None:
    registered(fake, (f"{URL}\x1b[2J", "open"))
    for command in (("list",), ("setup", "--url", "https://x.example.nl/copernica", "--types", "open")):
        assert "\x1b" not in typed("webhooks", *command, environ=environ).output


def test_urls_are_compared_as_they_are_called() -> None:
    assert same_url("HTTPS://Hooks.example.nl:443/c", "https://hooks.example.nl/c")
    assert same_url("https://hooks.example.nl", "https://hooks.example.nl/")
    for other in (
        "http://hooks.example.nl/c",
        "https://hooks.example.nl/C",
        "https://hooks.example.nl/c?x=1",
        "][",
    ):
        assert not same_url("https://hooks.example.nl/c", other)
    assert Webhook.from_json({"ID": 7, "Handler": "x", "trigger": "open", "callers": "ms"}).callers == ("ms",)


def test_an_occupied_port_and_an_invalid_plan_are_one_sentence(environ: dict[str, str], tmp_path: Path) -> None:
    port = environ["COPERNICA_AUTH_URL"].rpartition(":")[2]
    taken = typed("fake-api", "--logfiles", str(tmp_path), "--port", port, environ={})
    assert (taken.exit_code, "choose another --port" in taken.stderr) == (1, True)
    odd = typed("fake-api", "--logfiles", str(tmp_path), "--fail", "418", environ={})
    assert (odd.exit_code, "'418' is not a fault" in odd.stderr) == (2, True)


def test_who_changed_which_webhooks_is_in_the_audit(
    fake: FakeCopernica, environ: dict[str, str], tmp_path: Path
) -> None:
    environ = {**environ, "DATABASE_URL": f"sqlite:///{tmp_path}/audit.db"}
    schema.upgrade(environ["DATABASE_URL"])
    secret = "https://u:geheim@hooks.example.nl/copernica"
    for arguments in (
        ("create", "--url", secret, "--trigger", "open"),
        ("update", "1", "--trigger", "click"),
        ("delete", "1", "--yes"),
        ("setup", "--url", URL, "--types", "open,click", "--yes"),
        ("setup", "--url", URL, "--types", "open,click", "--yes"),  # nothing to do, and so nothing done
    ):
        assert typed("webhooks", *arguments, environ=environ).exit_code == 0
    with Store.open(environ["DATABASE_URL"]) as store:
        found = entries(store, 10)[::-1]
    assert [(one.action.removeprefix("webhooks-"), one.affected, one.error) for one in found] == [
        ("create", None, None), ("update", None, None), ("delete", None, None), ("setup", 2, None),
    ]  # fmt: skip  # a list to be read across
    assert "geheim" not in str(found)
