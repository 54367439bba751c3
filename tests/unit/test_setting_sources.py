"""Settings come from the environment, else from a file, else from an `ingest dev`; a wrong name is told."""

import os
import re
import stat
import threading
from pathlib import Path

import pytest

from ingest import failpoints, processes, setting_sources
from ingest.dev.beside import without_secrets
from ingest.errors import SettingsError
from ingest.setting_sources import DEV, FILE_VARIABLE, HIDDEN, gather, told
from ingest.settings import Settings
from tests.support.source import modules

#: As python-dotenv reads it, but for what is between single quotes.
FILE = """
# a comment
INGEST_ACCOUNTS=account-1 # behind a value
export INGEST_HOSTS="hooks.example.nl"
INGEST_PATH='/a'

COPERNICA_TOKEN = "a\\"b"
REDIS_HOST=redis.example.nl
REDIS_URL=redis://${REDIS_HOST}/${NUMBER:-0}
INGEST_CONSOLE_PASSWORD = 'a${REDIS_HOST}$b\\'c' # literal
export 'INGEST_FORWARD_SECRET'='${REDIS_HOST}'
BOTH="${REDIS_HOST}'${INGEST_CONSOLE_PASSWORD}'"
INGEST_HANDLERS=first
INGEST_HANDLERS=second\r
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str | bytes = FILE, name: str = ".env") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


# --- files ---


def test_a_file_is_read_as_python_dotenv_reads_it(here: Path) -> None:
    write(here)
    given = gather({})
    assert {name: given.values[name] for name in given.origins if name != FILE_VARIABLE} == {
        "INGEST_ACCOUNTS": "account-1",
        "INGEST_HOSTS": "hooks.example.nl",
        "INGEST_PATH": "/a",
        "COPERNICA_TOKEN": 'a"b',
        "REDIS_HOST": "redis.example.nl",
        "REDIS_URL": "redis://redis.example.nl/0",
        "INGEST_CONSOLE_PASSWORD": "a${REDIS_HOST}$b'c",
        "INGEST_FORWARD_SECRET": "${REDIS_HOST}",
        "BOTH": "redis.example.nl'a${REDIS_HOST}$b'c'",
        "INGEST_HANDLERS": "second",
    }
    assert given.origins["REDIS_URL"] == "file .env"
    assert Settings.read(given.values).hosts == ("hooks.example.nl",)


def test_the_environment_wins_even_where_it_is_empty(here: Path) -> None:
    write(here)
    given = gather({"INGEST_PATH": "/b", "INGEST_ACCOUNTS": "", "REDIS_HOST": "other"})
    assert (given.values["INGEST_PATH"], given.values["INGEST_ACCOUNTS"]) == ("/b", "")
    assert given.origins["INGEST_PATH"] == "environment"
    assert given.values["REDIS_URL"] == "redis://other/0"


def test_another_file_takes_the_place_of_the_one_in_the_folder(here: Path) -> None:
    write(here)
    other = write(here, "INGEST_PATH=/other", "other.env")
    for given in (gather({}, other), gather({FILE_VARIABLE: str(other)}), gather({FILE_VARIABLE: "x"}, other)):
        assert (given.file, given.values["INGEST_PATH"]) == (other, "/other")
        assert "INGEST_HANDLERS" not in given.values
    assert "INGEST_PATH" not in gather({FILE_VARIABLE: "off"}).values


def test_a_pipe_can_be_read(here: Path) -> None:
    os.mkfifo(here / "pipe")
    writer = threading.Thread(target=(here / "pipe").write_text, args=("INGEST_PATH=/p",))
    writer.start()
    assert gather({}, here / "pipe").values["INGEST_PATH"] == "/p"
    writer.join()


def test_a_folder_or_a_pipe_of_the_usual_name_is_no_file_of_settings(here: Path) -> None:
    (here / ".env").mkdir()
    assert gather({}).file is None
    (here / ".env").rmdir()
    os.mkfifo(here / ".env")
    assert gather({}).file is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("A=1\nnonsense of mine\n", ".env, line 2, cannot be read: write NAME=value."),
        ("A=1\n\nB", ".env, line 3, cannot be read: write NAME=value."),
        ("A='open\nB=1\n", ".env, line 1, cannot be read"),
        (b"A=\xff", ".env is not UTF-8"),
        (b"A=\0", ".env is not a file of settings"),
        (b"A" * (setting_sources.MAX_SIZE + 1), ".env is not a file of settings"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(here: Path, content: str | bytes, said: str) -> None:
    write(here, content)
    with pytest.raises(SettingsError) as refused:
        gather({})
    assert str(refused.value).startswith(said)


def test_a_mark_at_the_beginning_belongs_to_no_name(here: Path) -> None:
    write(here, b"\xef\xbb\xbfINGEST_PATH=/a")
    assert gather({}).values["INGEST_PATH"] == "/a"


@pytest.mark.parametrize("name", ["missing.env", "."])
def test_a_file_that_is_named_must_be_there(here: Path, name: str) -> None:
    for environ, named in (({}, Path(name)), ({FILE_VARIABLE: name}, None)):
        with pytest.raises(SettingsError, match=r"The file of settings .* cannot be read"):
            gather(environ, named)


def test_a_file_that_others_can_write_is_read_only_when_it_is_named(here: Path) -> None:
    path = write(here)
    path.chmod(0o602)
    with pytest.raises(SettingsError, match=r"Others may write \.env .* chmod 600"):
        gather({})
    assert gather({}, path).values["INGEST_PATH"] == "/a"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_read_only_when_it_is_named(here: Path) -> None:
    path = write(here)
    os.chown(path, 12345, -1)
    with pytest.raises(SettingsError, match=r"belongs to another user \(uid 12345\)"):
        gather({})
    assert gather({}, path).values["INGEST_PATH"] == "/a"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_of_another_user_and_a_file_of_a_strange_group_are_not_read(here: Path) -> None:
    target = write(here).rename(here / "mine")
    (here / ".env").symlink_to(target)
    os.chown(here / ".env", 12345, -1, follow_symlinks=False)
    with pytest.raises(SettingsError, match=r"belongs to another user \(uid 12345\)"):
        gather({})
    (here / ".env").unlink()
    os.chown(write(here), -1, 12345)
    (here / ".env").chmod(0o660)
    with pytest.raises(SettingsError, match=r"Others may write \.env"):
        gather({})


def test_a_pipe_in_the_place_of_what_dev_leaves_holds_nobody_up(here: Path) -> None:
    os.mkfifo(here / setting_sources.DEV_FILE)
    assert setting_sources.running_dev(here) == ({}, frozenset())


# --- names ---


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("INGEST_ACOUNTS", "INGEST_ACCOUNTS"),
        ("INGEST_ACCOUNT", "INGEST_ACCOUNTS"),
        ("ingest_accounts", "INGEST_ACCOUNTS"),
        ("INGEST_RETENTION", "INGEST_RETENTION_DAYS"),
        ("INGEST_REDIS_URL", "REDIS_URL"),
        ("INGEST_DATABASE_URL", "DATABASE_URL"),
        ("INGEST_COPERNICA_TOKEN", "COPERNICA_TOKEN"),
        ("INGEST_SPOOLDIR", "INGEST_SPOOL_DIR"),
        ("INGEST_SPOOL-DIR", "INGEST_SPOOL_DIR"),
    ],
)
def test_a_name_that_is_no_setting_is_refused_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({name: "x"})
    assert str(refused.value) == f"{name} is not a setting; did you mean {meant}?"


def test_a_name_that_is_like_none_is_refused_too() -> None:
    with pytest.raises(SettingsError, match=r"^INGEST_QQQQQQQQQQQQ is not a setting\.$"):
        Settings.read({"INGEST_QQQQQQQQQQQQ": "x"})


@pytest.mark.parametrize(
    "name",
    [
        "INGEST_SERVICE_HOST",
        "INGEST_SERVICE_PORT",
        "INGEST_SERVICE_PORT_HTTP",
        "INGEST_PORT",
        "INGEST_PORT_8000_TCP",
        "INGEST_PORT_8000_TCP_ADDR",
        "INGEST_WEB_SERVICE_HOST",
        "INGEST_WEB_PORT_8000_UDP_PROTO",
        "_INGEST_COMPLETE",
        "MY_INGEST_THING",
        *sorted(HIDDEN),
    ],
)
def test_what_kubernetes_and_we_ourselves_set_is_no_mistake(name: str) -> None:
    Settings.read({name: "tcp://10.0.0.1:8000"})


def test_the_address_of_a_service_is_no_setting_even_under_the_name_of_one() -> None:
    assert setting_sources.is_service_link("INGEST_METRICS_PORT", "tcp://10.0.0.1:9000")
    assert not setting_sources.is_service_link("INGEST_METRICS_PORT", "9000")


def test_every_variable_that_the_code_names_is_known() -> None:
    assert {failpoints.VARIABLE, processes.PARENT} == HIDDEN
    named = {
        word
        for path in modules().values()
        for word in re.findall(r"\bINGEST_[A-Z]+(?:_[A-Z]+)*\b", path.read_text())
    }
    assert len(named) > 20
    assert named - Settings.names().keys() - HIDDEN == set()


def test_all_mistakes_can_be_had_at_once() -> None:
    _, mistakes = Settings.try_to_read({"INGEST_X": "1", "PORT": "x", "INGEST_VERIFY": "maybe"})
    assert [mistake.partition(" ")[0] for mistake in mistakes] == ["INGEST_X", "PORT='x'", "INGEST_VERIFY='maybe'"]


def test_quotation_marks_that_docker_keeps_are_told() -> None:
    with pytest.raises(SettingsError, match="it is in quotation marks"):
        Settings.read({"REDIS_URL": '"redis://localhost"'})


# --- beside a running `ingest dev` ---

TOLD = {"REDIS_URL": "unix:///d/v.sock", "INGEST_ACCOUNTS": "account-7", "PORT": "1", "INGEST_METRICS_PORT": "2"}


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_line_end_that_docker_or_a_secret_keeps_is_no_part_of_a_value(end: str) -> None:
    given = {"INGEST_DATA_DIR": "/data", "HOST": "192.0.2.1", "INGEST_VERIFY": "off", "INGEST_PATH": "/hooks"}
    settings = Settings.read({name: value + end for name, value in given.items()})
    assert settings == Settings.read(given)
    with pytest.raises(SettingsError, match="it begins or ends with a blank or a line end"):
        Settings.read({"INGEST_CONSOLE_PASSWORD": "long enough a word" + end})


def test_commands_beside_a_running_dev_use_its_settings(here: Path) -> None:
    (here / "data").mkdir()
    with told(here / "data", TOLD, {"COPERNICA_TOKEN"}):
        given = gather({})
        assert given.values["INGEST_ACCOUNTS"] == "account-7"
        assert given.origins["INGEST_ACCOUNTS"] == DEV
        assert given.withheld == {"COPERNICA_TOKEN"}
        assert not {"PORT", "INGEST_METRICS_PORT"} & given.values.keys()
        assert gather({"INGEST_ACCOUNTS": "account-8"}).values["INGEST_ACCOUNTS"] == "account-8"
        assert gather({"COPERNICA_TOKEN": "x"}).withheld == set()
        assert gather({"REDIS_URL": TOLD["REDIS_URL"]}).values["INGEST_ACCOUNTS"] == "account-7"
        assert "INGEST_ACCOUNTS" not in gather({"REDIS_URL": "redis://elsewhere"}).values
        assert "INGEST_ACCOUNTS" not in gather({"INGEST_DATA_DIR": "elsewhere"}).values
    assert "INGEST_ACCOUNTS" not in gather({}).values


@pytest.mark.parametrize("left", ['{"settings": {"HOST": "a"}, "withheld": []}', "", "[]", '{"settings": 1}'])
def test_what_a_dev_that_was_killed_has_left_does_not_count(here: Path, left: str) -> None:
    (here / "data").mkdir()
    (here / "data" / "dev.json").write_text(left)
    assert gather({}).values == {}


def test_a_dev_keeps_its_secrets_to_itself() -> None:
    values, withheld = without_secrets(
        {
            "REDIS_URL": "unix:///d/valkey.sock",
            "DATABASE_URL": "postgresql://u:geheim@h/d",
            "COPERNICA_TOKEN": "geheim",
            "INGEST_FORWARD_SECRET": "whsec_geheim",
            "INGEST_FORWARD_URL": "https://e.nl/a.php#rate=5/s,https://e.nl/b.php?key=geheim",
            "INGEST_HANDLERS": "myapp",
            "HOME": "/root",
        }
    )
    assert values == {"REDIS_URL": "unix:///d/valkey.sock", "INGEST_HANDLERS": "myapp"}
    assert withheld == {"DATABASE_URL", "COPERNICA_TOKEN", "INGEST_FORWARD_SECRET", "INGEST_FORWARD_URL"}
    assert "geheim" not in str(values)


def test_paths_of_a_dev_lead_to_the_same_place_from_anywhere(here: Path) -> None:
    paths = {"INGEST_KEYS": "keys.json", "INGEST_SPOOL_DIR": "/spool", "DATABASE_URL": "sqlite:///data/ingest.db"}
    values, _ = without_secrets(paths | {"INGEST_DATA_DIR": "data"})
    assert values == {
        "INGEST_KEYS": f"{here}/keys.json",
        "INGEST_SPOOL_DIR": "/spool",
        "DATABASE_URL": f"sqlite:///{here}/data/ingest.db",
        "INGEST_DATA_DIR": f"{here}/data",
    }
    words = {"INGEST_KEYS": "dns", "INGEST_SPOOL_DIR": "off", "DATABASE_URL": "sqlite:////d/x.db"}
    assert without_secrets(words) == (words, set())


def test_a_database_that_only_the_dev_knows_is_not_taken_for_another() -> None:
    settings = Settings.read({}, frozenset({"DATABASE_URL"}))
    with pytest.raises(SettingsError, match="set its DATABASE_URL here as well"):
        _ = settings.database
    assert settings.sqlite_file is None


def test_what_a_dev_tells_is_only_for_its_user(here: Path) -> None:
    before = os.umask(0o077)
    try:
        with told(here, TOLD, ()):
            assert stat.S_IMODE((here / "dev.json").stat().st_mode) == 0o600
    finally:
        os.umask(before)
