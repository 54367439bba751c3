"""The examples in PHP take what the ingester sends, once, and nothing else: plain, in Laravel and in Symfony."""

import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ingest.batch import Record
from ingest.settings import Settings
from tests.support.php_sites import CARELESS, EXAMPLES, PhpSite, php_site, signed
from workers.handlers import forward

OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_bmV3IHNlY3JldCBvZiBvdXJzIQ=="
STRANGER = "whsec_c29tZWJvZHkgZWxzZSdzIGtleQ=="
SITES = ["php", "laravel", "symfony"]
BODY = b"type=open&id=1&time=1795165964"

_numbers = itertools.count(1)


def new_id() -> str:
    """A delivery id that no other call has."""
    return f"{next(_numbers):024x}"


@pytest.fixture(scope="module", params=SITES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhpSite]:
    with php_site(request.param, tmp_path_factory.mktemp("site") / "app", f"{NEW}, {OLD}") as site:
        yield site


def handled(site: PhpSite, delivery_id: str) -> list[dict[str, object]]:
    return [line["event"] for line in site.work() if line["id"] == delivery_id]


@pytest.mark.parametrize(
    "script", sorted(EXAMPLES.rglob("*.php")), ids=lambda path: str(path.relative_to(EXAMPLES))
)
def test_php_understands_it(script: Path) -> None:
    if shutil.which("php") is None:
        pytest.skip("there is no `php` on this machine; on Debian: apt-get install php-cli")
    assert subprocess.run(["php", "-l", str(script)], capture_output=True, check=False).returncode == 0


FIELDS: list[tuple[bytes, str, dict[str, object]]] = [
    (BODY, "application/x-www-form-urlencoded", {"type": "open", "id": "1", "time": "1795165964"}),
    (
        urlencode(
            [("type", "click"), ("tags[]", "a b"), ("tags[]", "é€"), ("fields[na.am][x]", "Zoë 😀")]
        ).encode(),
        "application/x-www-form-urlencoded; charset=utf-8",
        {"type": "click", "tags": ["a b", "é€"], "fields": {"na.am": {"x": "Zoë 😀"}}},
    ),
    (
        '{"type": "click", "tags": ["é"], "big": 12345678901234567890}'.encode(),
        "application/json",
        {"type": "click", "tags": ["é"], "big": "12345678901234567890"},
    ),
    (b"type=open&name=Andr\xe9", "application/x-www-form-urlencoded", {"type": "open", "name": "Andr\ufffd"}),
    (b"action=create&profile=5", "application/x-www-form-urlencoded", {"action": "create", "profile": "5"}),
    (b"type=bounce&mime=" + b"x" * 9_000_000, "application/x-www-form-urlencoded", {}),
]


@pytest.mark.parametrize(
    ("body", "kind", "fields"), FIELDS, ids=["form", "lists", "json", "latin", "action", "huge"]
)
def test_a_signed_call_is_handled_with_the_fields_that_it_has(
    site: PhpSite, body: bytes, kind: str, fields: dict[str, object]
) -> None:
    delivery_id = new_id()
    assert site.post(body, signed(body, OLD, delivery_id=delivery_id, content_type=kind)) in (200, 202, 204)
    (event,) = handled(site, delivery_id)
    if fields:
        assert event == fields
    else:
        assert len(str(event["mime"])) == 9_000_000


@pytest.mark.parametrize("secrets", [(OLD,), (NEW,), (STRANGER, OLD), (NEW, STRANGER), (NEW, OLD)])
def test_while_a_secret_is_changed_a_call_with_either_is_taken(site: PhpSite, secrets: tuple[str, ...]) -> None:
    delivery_id = new_id()
    assert site.post(BODY, signed(BODY, *secrets, delivery_id=delivery_id)) < 300
    assert len(handled(site, delivery_id)) == 1


def forged(how: str, delivery_id: str) -> tuple[bytes, dict[str, str]]:
    """A call that nobody should take."""
    now = int(time.time())
    headers = signed(BODY, OLD, delivery_id=delivery_id)
    right = headers["webhook-signature"]
    changes: dict[str, dict[str, str]] = {
        "by a stranger": signed(BODY, STRANGER, delivery_id=delivery_id),
        "two strangers": signed(BODY, STRANGER, STRANGER, delivery_id=delivery_id),
        "old": signed(BODY, OLD, delivery_id=delivery_id, second=now - 400),
        "of the future": signed(BODY, OLD, delivery_id=delivery_id, second=now + 400),
        "of no time": {"webhook-timestamp": "now"},
        "of a time with a sign": {"webhook-timestamp": f"+{now}"},
        "of a later time": {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)},
        "with another id": {"webhook-id": "f" * 24},
        "not base64": {"webhook-signature": "v1,!!!"},
        "without a comma": {"webhook-signature": "v1"},
        "empty": {"webhook-signature": "v1,"},
        "of another version": {"webhook-signature": right.replace("v1,", "v1a,")},
        "without a version": {"webhook-signature": right.removeprefix("v1,")},
        "in other letters": {"webhook-signature": "v1," + right.removeprefix("v1,").swapcase()},
    }
    if how in changes:
        return BODY, headers | changes[how]
    if how == "with a field more":
        return BODY + b"&recipient=x", headers
    return BODY, {name: value for name, value in headers.items() if name != how.removeprefix("no ")}


@pytest.mark.parametrize(
    "how",
    [
        *("by a stranger", "two strangers", "old", "of the future", "of no time", "of a time with a sign"),
        *("of a later time", "with another id", "not base64", "without a comma", "empty", "of another version"),
        *("without a version", "in other letters", "with a field more"),
        *("no webhook-id", "no webhook-timestamp", "no webhook-signature"),
    ],
)
def test_a_forged_call_is_refused_for_good_and_kept_nowhere(site: PhpSite, how: str) -> None:
    delivery_id = new_id()
    before = site.sql(site.waiting)
    assert site.post(*forged(how, delivery_id)) == 401
    assert site.sql(site.waiting) == before


def test_a_call_that_comes_several_times_at_once_and_again_is_handled_once(site: PhpSite) -> None:
    delivery_id = new_id()
    headers = signed(BODY, OLD, delivery_id=delivery_id)
    unsigned_id = {"X-Ingest-Delivery-Id": new_id()}  # by which nobody gets past
    with ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(lambda more: site.post(BODY, headers | more), [{}, unsigned_id] * 3))
    assert max(statuses) < 300
    assert len(handled(site, delivery_id)) == 1
    assert site.post(BODY, headers) < 300
    assert len(handled(site, delivery_id)) == 1


@pytest.mark.parametrize("name", SITES)
def test_what_fails_is_tried_again_and_holds_up_nothing_else(name: str, tmp_path: Path) -> None:
    with php_site(name, tmp_path / "app", OLD) as site:
        first, second = new_id(), new_id()
        failing = Path(site.environ["FAIL_FILE"])
        failing.touch()
        assert site.post(BODY, signed(BODY, OLD, delivery_id=first)) < 300
        assert handled(site, first) == []
        failing.unlink()
        assert site.post(BODY, signed(BODY, OLD, delivery_id=second)) < 300
        assert len(handled(site, second)) == 1
        site.sql(site.make_due)
        assert len(handled(site, first)) == 1


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("secret", ["", f"{OLD},", "not base64!"])
def test_without_a_secret_calls_wait_at_the_ingester_and_an_empty_key_opens_nothing(
    name: str, secret: str, tmp_path: Path
) -> None:
    with php_site(name, tmp_path / "app", secret) as site:
        assert site.post(BODY, signed(BODY, "whsec_", delivery_id=new_id())) == 503
        assert site.sql(site.waiting) == [(0,)]


@pytest.mark.parametrize("name", SITES)
def test_a_call_that_cannot_be_kept_is_to_be_sent_again(name: str, tmp_path: Path) -> None:
    with php_site(name, tmp_path / "app", OLD) as site:
        kept = site.sql(f"SELECT sql FROM sqlite_master WHERE name = '{site.breaking.split()[-1]}'")[0][0]
        site.sql(site.breaking)
        headers = signed(BODY, OLD, delivery_id=(delivery_id := new_id()))
        assert site.post(BODY, headers) in (500, 503) or name == "symfony"  # which makes its table again
        if name != "symfony":
            site.sql(kept)
            assert site.post(BODY, headers) < 300
        assert len(handled(site, delivery_id)) == 1


def test_the_plain_script_takes_nothing_where_a_warning_would_be_the_answer(tmp_path: Path) -> None:
    with php_site("php", tmp_path / "app", OLD, CARELESS) as site:
        assert site.post(BODY, signed(BODY, OLD, delivery_id=new_id())) == 503
        assert site.work() == []


def test_the_plain_script_answers_what_it_means_on_a_careless_host(tmp_path: Path) -> None:
    with php_site("php", tmp_path / "app", OLD, (*CARELESS, "enable_post_data_reading=0")) as site:
        body = b"type=bounce&mime=" + b"x" * 9_000_000
        assert site.post(body, signed(body, STRANGER, delivery_id=new_id())) == 401
        assert site.post(body, signed(body, OLD, delivery_id=new_id())) == 204
        assert site.post(b"", {}, "GET") == 405
        assert len(site.work()) == 1
        many = "&".join(f"a{number}=1" for number in range(2000)).encode()
        assert site.post(many, signed(many, OLD, delivery_id=new_id())) == 204
        assert len(site.work()) == 1
        assert "max_input_vars" in str(site.sql("SELECT error FROM copernica_calls WHERE done_at IS NULL"))


@pytest.mark.parametrize("name", SITES)
async def test_what_the_ingester_passes_on_is_taken_while_it_signs_with_two_secrets(
    name: str, tmp_path: Path
) -> None:
    with php_site(name, tmp_path / "app", OLD) as site:
        environ = {"INGEST_FORWARD_URL": site.url, "INGEST_FORWARD_SECRET": f"{NEW},{OLD}"}
        (target,) = forward.handlers(Settings.read(environ))
        assert target.finish is not None
        calls = [(bytes.fromhex(new_id()), body, kind) for body, kind, _ in FIELDS]
        for delivery_id, body, kind in calls:
            record = Record(delivery_id, 1_795_165_964_250_000, b"/copernica", kind.encode(), body)
            assert await target.call(record) < 300
        await target.finish()
        assert [line["id"] for line in site.work()] == [delivery_id.hex() for delivery_id, *_ in calls]
