"""The files by which a domain is validated, at the real endpoint."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.endpoint.validation_files import MAX_SIZE, ValidationFiles
from ingest.errors import SettingsError
from ingest.settings import Settings
from tests.support.http import request, status
from tests.support.running import exchange, free_port, ingest, run, running, until

NAME = "smtpeter-4f2a9.txt"
CONTENT = b"validated: \xc3\xa9\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("validation")


@pytest.fixture(scope="module")
def port(valkey_server: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    environ = {
        "REDIS_URL": valkey_server,
        "PORT": str(port),
        "INGEST_VERIFY": "off",
        "INGEST_PATH": "/hooks/copernica",
        "INGEST_VALIDATION_FILES": str(folder),
    }
    with running(ingest("serve"), environ, tmp_path_factory.mktemp("endpoint") / "log") as served:
        until(lambda: "is ready" in served.output, "the endpoint")
        yield port
        assert "Traceback" not in served.output


def get(port: int, path: str, method: bytes = b"GET") -> bytes:
    return exchange(port, request(b"", path.encode(), b"Connection: close", method=method))


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def test_a_file_is_served_at_the_root_and_where_callbacks_can_be_once_it_is_there(port: int, folder: Path) -> None:
    at_the_root, at_the_path = f"/{NAME}", f"/hooks/copernica/{NAME}"
    assert status(get(port, at_the_root)) == 404
    assert b"POST them" in get(port, at_the_path)
    (folder / NAME).write_bytes(CONTENT)
    for path in (at_the_root, at_the_path, f"/hooks/{NAME}", f"/hooks/copernica/open/{NAME}"):
        answer = get(port, path)
        assert (status(answer), body(answer)) == (200, CONTENT)
        assert b"Content-Type: text/plain" in answer
        head = get(port, path, b"HEAD")
        assert (status(head), body(head)) == (200, b"")
        assert b"Content-Length: %d\r\n" % len(CONTENT) in head
    assert status(get(port, f"/elsewhere/{NAME}")) == 404
    assert status(get(port, at_the_root, b"PUT")) == 404


def test_a_call_to_such_a_path_is_still_a_call(port: int, folder: Path) -> None:
    (folder / NAME).write_bytes(CONTENT)
    answer = exchange(port, request(b"type=open", f"/hooks/copernica/{NAME}".encode()))
    assert (status(answer), body(answer)) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/smtpeter-..%2fsmtpeter-secret.txt",
        "/smtpeter-/../secret.txt",
        "/secret.txt",
        "/SMTPETER-4f2a9.txt",
        f"/%2e%2e/{NAME}%00",
        "/smtpeter-.txt",
        "/smtpeter-big.txt",
        "/smtpeter-link.txt",
        "/smtpeter-folder.txt",
        "/smtpeter-pipe.txt",
        "/smtpeter-é.txt",
        f"//{NAME}/",
        f"/x/../{NAME}/..",
    ],
)
def test_nothing_else_is_served(port: int, folder: Path, path: str) -> None:
    (folder / "secret.txt").write_text("secret")
    (folder / "smtpeter-big.txt").write_bytes(b"x" * (MAX_SIZE + 1))
    (folder / "smtpeter-folder.txt").mkdir(exist_ok=True)
    outside = folder.parent / "outside.txt"
    outside.write_text("secret")
    if not (folder / "smtpeter-link.txt").is_symlink():
        (folder / "smtpeter-link.txt").symlink_to(outside)
        os.mkfifo(folder / "smtpeter-pipe.txt")
    answer = get(port, path)
    assert status(answer) in (400, 404)
    assert b"secret" not in answer


def test_a_link_that_stays_in_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / NAME).write_bytes(CONTENT)
    (tmp_path / NAME).symlink_to(f"..data/{NAME}")
    assert ValidationFiles(tmp_path, "/copernica").find(f"/{NAME}") == CONTENT
    assert ValidationFiles(tmp_path, "").find(f"/deep/below/{NAME}") == CONTENT


def test_a_missing_folder_is_reported_at_startup(valkey_server: str, tmp_path: Path) -> None:
    environ = {"REDIS_URL": valkey_server, "INGEST_VERIFY": "off", "INGEST_VALIDATION_FILES": "nowhere"}
    done = run("serve", environ=environ, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("INGEST_VALIDATION_FILES='nowhere' is not a folder: create it, or name another.\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COPERNICA_TOKEN", "two geheim"),
        ("COPERNICA_TOKEN", "gehéim"),
        ("COPERNICA_API_URL", "https://user:geheim@api.copernica.com/v4"),
        ("COPERNICA_API_URL", "https://api.copernica.com/v4?access_token=geheim"),
        ("COPERNICA_API_URL", "ftp://geheim"),
        ("COPERNICA_AUTH_URL", "geheim"),
        ("COPERNICA_AUTH_URL", "http://host:geheim"),
    ],
)
def test_a_setting_of_the_rest_api_that_cannot_be_used_is_named_but_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} cannot be used: ") as raised:
        Settings.read({name: value})
    assert "geheim" not in str(raised.value)


def test_the_settings_of_the_rest_api_have_defaults_and_only_the_token_is_needed() -> None:
    settings = Settings.read({"COPERNICA_TOKEN": " abc\n"})
    assert settings.token == "abc"
    assert settings.copernica_api_url == "https://api.copernica.com/v4"
    assert settings.copernica_auth_url == "https://authenticate.copernica.com"
    for environ in ({}, {"COPERNICA_TOKEN": " "}):
        with pytest.raises(SettingsError, match=r"^COPERNICA_TOKEN is not set: "):
            _ = Settings.read(environ).token
