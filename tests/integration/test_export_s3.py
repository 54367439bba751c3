"""Exports to an object store: moto's server, over HTTP."""

import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from ingest.copernica.events import EventType
from ingest.errors import Unavailable
from tests.benchmarks.peers.installed import NotInstalled
from tests.support.builders import FORM, delivery_id, event
from tests.support.cli import typed
from tests.support.object_store import object_store, page_for_everything
from tests.support.running import PATIENCE
from workers.export import targets
from workers.export.objects import PART, UNFINISHED, YOUNG
from workers.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """A server with a bucket; what its users have in their environment."""
    try:
        with object_store("bucket") as environ:
            yield environ
    except NotInstalled as error:
        pytest.skip(f"NO OBJECT STORE IS TESTED: {error}")


@pytest.fixture
def environ(s3: dict[str, str], sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return {"DATABASE_URL": sqlite_url, **s3}


def add(url: str, *numbers: int, kind: EventType = EventType.OPEN, raw: bytes | None = None) -> None:
    with Store.open(url) as store:
        store.add([event(number, type=kind, raw=raw, raw_type=raw and FORM) for number in numbers])


def objects(prefix: str) -> dict[str, int]:
    found = obstore.list(S3Store("bucket", client_options={"allow_http": True}), prefix).collect()
    return {one["path"]: one["size"] for one in found}


def manifest(prefix: str) -> dict[str, object]:
    store = S3Store("bucket", client_options={"allow_http": True})
    name = f"{prefix}/day=2026-11-20/_manifest-parquet.json"
    found: dict[str, object] = json.loads(bytes(obstore.get(store, name).bytes()))
    return found


def test_a_bucket_gets_what_has_changed_and_large_files_in_parts(environ: dict[str, str]) -> None:
    to = ("export", "--to", "s3://bucket/a/b", "--json")
    add(environ["DATABASE_URL"], 1, 2)
    add(environ["DATABASE_URL"], 3, kind=EventType.BOUNCE, raw=b"a=" + bytes(range(65, 91)) * (PART // 20))
    add(environ["DATABASE_URL"], 4, kind=EventType.CLICK)
    assert json.loads(typed(*to, environ=environ).stdout)["files_written"] == 3
    (*_, bounce, click, opened) = sorted(objects("a/b"))
    assert [bounce, click, opened] == [
        f"a/b/day=2026-11-20/{kind}.parquet" for kind in ("bounce", "click", "open")
    ]
    assert json.loads(typed(*to, environ=environ).stdout)["files_written"] == 0
    add(environ["DATABASE_URL"], 5)
    with Store.open(environ["DATABASE_URL"]) as store:
        store.erase([delivery_id(4)], [], [], [])
    said = json.loads(typed(*to, environ=environ).stdout)
    assert (said["files_written"], said["rows_written"], said["files_deleted"]) == (1, 3, 1)
    assert manifest("a/b")["rows"] == 4
    assert click not in objects("a/b")


def test_a_large_file_is_sent_in_parts(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    bucket = targets.target_of("s3://bucket/parts")
    with bucket.scratch() as path:
        path.write_bytes(bytes(PART * 2 + 1))
        stored = bucket.put("x", path)
    assert objects("parts") == {"parts/x": PART * 2 + 1}
    assert stored.etag is not None
    assert stored.etag.strip('"').endswith("-3")
    assert bucket.listed("")["x"] == stored


def test_of_two_exports_at_once_the_second_says_so(environ: dict[str, str]) -> None:
    first, second = (targets.target_of("s3://bucket/two") for _ in range(2))
    assert (first.read("m"), second.read("m")) == (None, None)
    first.write("m", b"1")
    with pytest.raises(Unavailable, match="Another export"):
        second.write("m", b"2")
    assert second.read("m") == b"1"
    second.write("m", b"2")
    with pytest.raises(Unavailable, match="Another export"):
        first.write("m", b"3")


def test_what_is_wrong_is_one_sentence_without_a_secret(environ: dict[str, str]) -> None:
    add(environ["DATABASE_URL"], 1)
    nowhere = typed("export", "--to", "s3://elsewhere/x", environ=environ)
    assert (nowhere.exit_code, nowhere.stderr) == (
        2, "ingest: There is no bucket for s3://elsewhere/x: make it, or name another.\n",
    )  # fmt: skip  # a list to be read across
    away = typed("export", "--to", "s3://bucket/x", environ=environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    assert (away.exit_code, "it does not answer" in away.stderr) == (1, True)
    odd = typed("export", "--to", "s3://k:geheim@bucket/x", environ=environ)
    assert (odd.exit_code, "geheim" in odd.stderr) == (2, False)
    with object_store(strict=True) as stranger:
        refused = typed("export", "--to", "s3://bucket/x", environ=environ | stranger)
    assert (refused.exit_code, "refuses us" in refused.stderr) == (2, True), refused.stderr
    assert "geheim" not in (refused.stderr + away.stderr).lower()


@pytest.mark.parametrize(
    ("body", "etag", "said"),
    [
        (b"<!DOCTYPE html><p>Log in<br>", "", "no object store"),
        (b"", '"1"', "no object store"),
        (b"<html><body>Log in</body></html>", "", "no object store"),
        (
            b"<html><body>Log in</body></html>",
            '"1"',
            "has no day=2026-11-20/open.jsonl.gz, though that was written",
        ),
    ],
)
def test_a_server_that_answers_everything_with_a_page_is_no_object_store(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, body: bytes, etag: str, said: str
) -> None:
    add(sqlite_url, 1)
    with page_for_everything(body, etag) as environ:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        to = ("export", "--to", "s3://bucket/a", "--format", "jsonl")
        done = typed(*to, environ={"DATABASE_URL": sqlite_url, **environ})
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert said in done.stderr


def test_ctrl_c_ends_the_wait_for_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    over, was_over = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as server:
        for name, value in {"ENDPOINT_URL": f"http://127.0.0.1:{server.getsockname()[1]}", "REGION": "x"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            monkeypatch.setenv(f"AWS_{name}", "x")

        def interrupt() -> None:
            with server.accept()[0]:
                os.kill(os.getpid(), signal.SIGINT)
                was_over.append(over.wait(PATIENCE))

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            targets.target_of("s3://bucket/x").write("m", b"1")
        over.set()
        thread.join()
    assert was_over == [True]


def test_the_next_export_deletes_what_a_killed_one_has_left_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old = time.time() - YOUNG - 1
    left, young, foreign = (tmp_path / name for name in (f"{UNFINISHED}a", f"{UNFINISHED}b", "other"))
    for path in (left, young, foreign):
        path.write_text("jan@example.nl")
    for path in (left, foreign):
        os.utime(path, (old, old))
    pipe, link = (tmp_path / f"{UNFINISHED}{name}" for name in ("pipe", "link"))  # a stranger's: /tmp is for all
    os.mkfifo(pipe)
    link.symlink_to(foreign)
    bucket = targets.target_of("s3://bucket/x")
    with bucket.scratch() as used:
        os.utime(used, (old, old))
        with bucket.alone():
            assert {*tmp_path.iterdir()} == {young, foreign, used, pipe, link}
