"""`ingest config` shows the settings as they count, from a file as well, and none of their secrets."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.setting_sources import DEV, told
from ingest.settings import Settings
from tests.support.cli import typed

SECRET = {
    "DATABASE_URL": "postgresql://u:geheim@h/d?password=geheim",
    "REDIS_URL": "redis://:geheim@redis.example.nl/1?password=geheim",
    "COPERNICA_TOKEN": "geheim",
    "INGEST_FORWARD_SECRET": "whsec_geheim",
    "INGEST_FORWARD_URL": "https://u:geheim@e.nl/a.php?key=geheim#rate=5/s,https://e.nl/b.php",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(*arguments: str, environ: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    done = typed("config", "--json", *arguments, environ={"INGEST_ENV_FILE": "", **(environ or {})})
    assert done.exit_code == 0, done.output
    return {row["name"]: (row["value"], row["from"]) for row in json.loads(done.stdout)["settings"]}


def test_every_setting_is_shown_with_where_it_comes_from(here: Path) -> None:
    (here / ".env").write_text("INGEST_PATH=/file\nINGEST_SPOOL_MAX=2GiB\n")
    (here / ".env").chmod(0o600)
    found = shown("--data-dir", "elsewhere", environ={"INGEST_PATH": "/environment", "PORT": ""})
    assert list(found) == list(Settings.names())
    assert found["INGEST_PATH"] == ("/environment", "environment")
    assert found["INGEST_SPOOL_MAX"] == ("2GiB", "file .env")
    assert found["INGEST_ALLOW_ROOT"] == ("on", "environment")
    assert found["INGEST_DATA_DIR"] == ("elsewhere", "command line")
    assert found["DATABASE_URL"] == ("sqlite:///elsewhere/ingest.db", "default")
    assert found["INGEST_SPOOL_DIR"] == ("elsewhere/spool", "default")
    assert found["PORT"] == ("8000", "default")
    assert found["INGEST_ENV_FILE"] == (".env", "default")


def test_a_file_can_be_named_before_and_behind_the_command(here: Path) -> None:
    (here / "my.env").write_text("INGEST_PATH=/file")
    assert shown("--env-file", "my.env")["INGEST_PATH"] == ("/file", "file my.env")
    done = typed("--env-file", "my.env", "config", environ={})
    assert any(line.split() == ["INGEST_PATH", "file", "my.env", "/file"] for line in done.stdout.splitlines())
    done = typed("failed", "list", "--env-file", "no.env", environ={})
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "no.env cannot be read" in done.stderr


def test_a_setting_that_is_named_is_explained(here: Path) -> None:
    done = typed("config", "spool-max", "PORT", environ={"PORT": "8080"})
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines() if line[:1].strip()] == [
        ["INGEST_SPOOL_MAX", "default", "1GiB"],
        ["PORT", "environment", "8080"],
    ]
    assert done.stdout.count("  If it is wrong: ") == 2
    assert list(shown("spool_max")) == ["INGEST_SPOOL_MAX"]


def test_it_is_explained_also_while_its_value_cannot_be_used(here: Path) -> None:
    done = typed("config", "port", environ={"PORT": "none"})
    assert (done.exit_code, done.stdout.count("  If it is wrong: ")) == (2, 1)
    assert "PORT='none' cannot be used" in done.stderr


def test_a_name_that_is_no_setting_is_answered_with_the_nearest(here: Path) -> None:
    done = typed("config", "spol_max", environ={})
    assert (done.exit_code, "Did you mean INGEST_SPOOL_MAX?" in done.stderr) == (2, True)
    assert typed("config", "--check", "port", environ={}).exit_code == 2


def test_no_secret_is_shown(here: Path) -> None:
    for arguments in (["config"], ["config", "--json"], ["config", "--check"]):
        assert "geheim" not in typed(*arguments, environ=SECRET).output
    found = shown(environ=SECRET)
    assert found["REDIS_URL"] == ("redis://redis.example.nl/1", "environment")
    assert found["DATABASE_URL"] == ("postgresql://h/d", "environment")
    assert found["INGEST_FORWARD_URL"] == ("https://e.nl/a.php,https://e.nl/b.php", "environment")
    assert found["COPERNICA_TOKEN"] == found["INGEST_FORWARD_SECRET"] == ("***", "environment")
    hidden = {name for name, field in Settings.names().items() if not field.repr}
    assert hidden >= SECRET.keys()


def test_beside_a_running_dev_its_settings_are_shown(here: Path) -> None:
    (here / "data").mkdir()
    with told(here / "data", {"INGEST_ACCOUNTS": "account-7"}, {"COPERNICA_TOKEN"}):
        found = shown()
    assert found["INGEST_ACCOUNTS"] == ("account-7", DEV)
    assert found["COPERNICA_TOKEN"] == ("***", DEV)


@pytest.mark.usefixtures("here")
def test_all_that_is_wrong_is_told_at_once() -> None:
    environ = {"INGEST_ACOUNTS": "1", "PORT": "x", "REDIS_URL": "mysql://u:geheim@h"}
    done = typed("config", "--check", environ=environ)
    assert done.exit_code == 2
    first, *rest = done.stderr.splitlines()
    assert first == "INGEST_ACOUNTS is not a setting; did you mean INGEST_ACCOUNTS?"
    assert [line.partition(" cannot be used")[0] for line in rest] == ["REDIS_URL", "PORT='x'"]
    as_json: dict[str, Any] = json.loads(typed("config", "--check", "--json", environ=environ).stdout)
    assert as_json["mistakes"][0] == first
    assert "geheim" not in done.output


def test_that_nothing_is_wrong_is_told(here: Path) -> None:
    (here / ".env").write_text("INGEST_PATH=/file")
    done = typed("config", "--check", environ={"PORT": "1", "INGEST_ENV_FILE": ".env"})
    assert (done.exit_code, done.stderr) == (0, "")
    # The tests' own environment turns the spool off and allows root.
    assert done.stdout.startswith("All settings can be used: ")
    assert done.stdout.endswith("1 by the file .env.\n")


def test_every_other_command_refuses_what_is_no_setting() -> None:
    done = typed("status", environ={"INGEST_ACOUNTS": "1"})
    assert (done.exit_code, done.stderr) == (
        2,
        "ingest: INGEST_ACOUNTS is not a setting; did you mean INGEST_ACCOUNTS?\n",
    )


def test_handlers_see_what_the_file_sets(here: Path) -> None:
    (here / "seen.py").write_text("import os\nassert os.environ['MINE'] == 'x'\nfrom workers import on\n")
    (here / "my.env").write_text("MINE=x\nINGEST_HANDLERS=seen\nINGEST_VERIFY=off")
    (here / "my.env").chmod(0o644)
    done = typed("check", "--json", "--env-file", "my.env", environ={"REDIS_URL": "redis://127.0.0.1:1"})
    about = {row["about"]: row["level"] for row in json.loads(done.stdout)}
    assert about["handlers"] == "ok"
    assert about["files"] == "risk"  # others may read it
