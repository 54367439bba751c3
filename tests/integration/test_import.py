"""`ingest import` as typed: what is taken, what is passed over, and what the exit code says."""

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import select

from ingest.copernica.logfiles.kinds import KINDS
from ingest.copernica.logfiles.text import Encoding
from ingest.errors import LogFileError, Unavailable
from ingest.settings import Settings
from tests.support.cli import typed
from tests.support.logs import DAY, a_day, contents, no_progress, stored_keys
from tests.support.source import ROOT
from workers.reconcile import archives
from workers.reconcile.by_hand import Given, by_hand
from workers.reconcile.logfile import LogFile
from workers.reconcile.run import ReconcileOptions, reconcile_files
from workers.store import tables
from workers.store.schema import upgrade
from workers.store.store import Store

FILES = ROOT / "tests" / "files"
NAME = "cdm-click.2026-11-20.log"


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    database = f"sqlite:///{tmp_path_factory.mktemp('import')}/events.db"
    upgrade(database)
    return {"DATABASE_URL": database}


@pytest.fixture(autouse=True)
def emptied(environ: dict[str, str]) -> Iterator[None]:
    yield
    with Store.open(environ["DATABASE_URL"]) as store, store.writing() as connection:
        for table in ("events", "reconciliations"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


def imported(environ: dict[str, str], *given: Path | str) -> tuple[Result, int]:
    """The command's result, and how many events the store holds."""
    done = typed("import", "--wait", "0", *map(str, given), environ=environ)
    with Store.open(environ["DATABASE_URL"]) as store:
        return done, stored_keys(store).total()


def test_a_file_given_twice_in_any_way_makes_each_event_once(tmp_path: Path, environ: dict[str, str]) -> None:
    first = FILES / "twice" / NAME
    (tmp_path / "link").symlink_to(first)
    done, events = imported(
        environ, first, first, FILES / "twice" / "." / NAME, FILES / "twice", FILES / "twice-packed"
    )
    assert (done.exit_code, events) == (0, 3)
    assert done.stdout.count("it was taken once") == 6
    # Nor does another form of it, given later or together.
    for folder in ("json-list", "twice-in-forms", "morning-and-evening"):
        done, events = imported(environ, FILES / folder)
        assert (done.exit_code, events) == (0, 3), done.stdout


def test_parts_of_one_day_are_added_up(environ: dict[str, str]) -> None:
    done, events = imported(environ, "--complete", FILES / "parts")
    assert (done.exit_code, events) == (0, 4)
    assert "2026-11-20  complete" in done.stdout
    assert imported(environ, FILES / "parts")[1] == 4


def test_what_is_no_log_file_is_named_and_the_rest_is_imported(environ: dict[str, str]) -> None:
    done, events = imported(environ, "--complete", FILES / "mixed-kinds")
    assert (done.exit_code, events) == (1, 4)
    said = done.stderr.splitlines()
    assert [line.split()[:3] for line in said] == [
        ["left", "out:", f"mixed-kinds/cdm-newsletter.{DAY}.log"],
        ["left", "out:", "mixed-kinds/notes.txt"],
        ["no", "log", "files:"],
    ]
    assert "not complete" in done.stdout


def test_litter_is_named_and_changes_nothing(environ: dict[str, str]) -> None:
    done, events = imported(environ, "--complete", FILES / "zip-of-a-mac")
    assert (done.exit_code, events) == (0, 3)
    assert "2026-11-20  complete" in done.stdout
    assert ".DS_Store" in done.stderr


def test_where_nothing_is_left_each_is_told_and_the_exit_code_says_so(environ: dict[str, str]) -> None:
    done, events = imported(
        environ, FILES / "zip-encrypted", FILES / "zip-aes", FILES / "zip-deflate64", "nothing"
    )
    assert (done.exit_code, events, done.stdout) == (1, 0, "")
    assert done.stderr.count("\n") == 4
    assert "Traceback" not in done.stderr


def test_what_would_never_end_or_cannot_be_read_is_not_opened(tmp_path: Path, environ: dict[str, str]) -> None:
    shutil.copy(FILES / "csv-with-header" / NAME, tmp_path)
    os.mkfifo(tmp_path / "cdm-click.2026-11-21.log")
    (tmp_path / "cdm-click.2026-11-22.log").symlink_to("/dev/zero")
    (tmp_path / "cdm-click.2026-11-23.log").symlink_to(tmp_path / "gone")
    (tmp_path / "cdm-click.2026-11-24.log").symlink_to(tmp_path / "cdm-click.2026-11-24.log")
    (tmp_path / "loop").symlink_to(tmp_path)
    done, events = imported(environ, tmp_path)
    assert (done.exit_code, events) == (1, 3)
    assert [line.partition(".log ")[2] for line in done.stderr.splitlines()] == [
        "is no file, but a pipe or a device: save it to a file first",
        "is no file, but a pipe or a device: save it to a file first",
        "does not exist",
        "cannot be read: Too many levels of symbolic links",
    ]


def test_a_name_that_is_no_text_is_shown_and_kept_all_the_same(tmp_path: Path, environ: dict[str, str]) -> None:
    content = (FILES / "csv-with-header" / NAME).read_bytes()
    (tmp_path / os.fsdecode(b"cdm-click.2026-11-20.chlo\xe9[bold].log")).write_bytes(content)
    (tmp_path / os.fsdecode(b"notes-\xff\x1b[31m.txt")).write_bytes(b"x")
    done, events = imported(environ, tmp_path)
    assert (done.exit_code, events) == (1, 3)
    assert "\x1b" not in done.stderr
    done, events = imported(environ, "--json", tmp_path)
    assert r"chlo\\xe9[bold].log" in done.stdout


def test_what_the_options_say_is_not_believed_against_the_name(environ: dict[str, str]) -> None:
    told = ("--kind", "cdm-delivery", "--day", str(DAY))
    done, events = imported(environ, *told, FILES / "twice" / NAME)
    assert (done.exit_code, events) == (1, 0)
    assert "not what --kind and --day say" in done.stderr


def test_the_kind_may_be_in_capitals_and_what_lacks_is_said(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "download.txt").write_bytes((FILES / "twice" / NAME).read_bytes())
    for told, lacks in ((("--kind", "CDM-Click"), "add --day"), (("--day", str(DAY)), "add --kind")):
        done, events = imported(environ, *told, tmp_path)
        assert (done.exit_code, events, done.stderr.count("\n")) == (1, 0, 1)
        assert lacks in done.stderr
    done, events = imported(environ, "--kind", " CDM-Click", "--day", str(DAY), tmp_path)
    assert (done.exit_code, events) == (0, 3)
    done, events = imported(environ, "--kind", "cdm-impression", "--day", str(DAY), tmp_path)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "has the columns of cdm-click, not of cdm-impression" in done.stderr


def test_a_file_that_is_gone_when_it_is_read_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    shutil.copy(FILES / "twice" / NAME, tmp_path)
    with by_hand([tmp_path / NAME], None, None) as found:
        (tmp_path / NAME).unlink()
        with pytest.raises(Unavailable, match=rf"{NAME} cannot be used: No such file or directory\.$"):
            list(reconcile_files(Settings.read(environ), found.files, True, ReconcileOptions(wait=0), no_progress))


@pytest.mark.parametrize("ending", ["", "x" * 9, "\xe9"])
def test_a_file_that_changes_between_its_two_readings_is_an_error(
    tmp_path: Path, environ: dict[str, str], ending: str
) -> None:
    content = (FILES / "csv-with-header" / NAME).read_bytes()
    contents = iter([content, content[:-400] + ending.encode("latin-1")])
    file = LogFile(NAME, KINDS["cdm-click"], DAY, lambda: io.BytesIO(next(contents)), encoding=Encoding.UTF_8)
    with pytest.raises(LogFileError, match=rf"{NAME} changed while it was read"):
        list(reconcile_files(Settings.read(environ), [file], True, ReconcileOptions(wait=0), no_progress))


@pytest.mark.parametrize("encoding", [Encoding.UTF_8, Encoding.MIXED])
def test_lines_are_found_again_behind_files_that_are_cut_off_or_of_another_form(
    environ: dict[str, str], encoding: Encoding
) -> None:
    names = ["cut-off-gz", "json-list", "csv-with-header", "utf-16", "csv-without-header"]
    files = []
    for number, name in enumerate(names):
        with by_hand([FILES / name], None, None) as found:
            (file,) = found.files
        if name == "csv-with-header":
            content = (FILES / name / NAME).read_bytes()
            file = file._replace(open=partial(io.BytesIO, content), encoding=encoding)
        files.append(file._replace(name=str(number)))
    (report,) = reconcile_files(Settings.read(environ), files, True, ReconcileOptions(wait=0), no_progress)
    kind = report.kinds[0]
    assert kind.recovered + kind.unmatched == kind.in_log
    assert kind.unmatched == 1


def given(*paths: Path) -> Given:
    with by_hand(paths, None, None) as found:
        return found


def test_bombs_and_archives_that_lie_are_left_out_in_one_sentence(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, bytes(archives.FREE_SIZE + 1))
    lying = tmp_path / "lying.zip"
    lying.write_bytes(bomb.read_bytes().replace((archives.FREE_SIZE + 1).to_bytes(4, "little"), b"\x40\0\0\0"))
    for path, reason in ((bomb, "unpacks to more than"), (lying, "damaged")):
        with pytest.raises(LogFileError, match=reason) as refused:
            given(path)
        assert str(refused.value).count(".zip") == 1


def test_too_many_files_are_refused_before_any_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 50)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(51):
            archive.writestr(f"{number}/{NAME}", "time\n")
    with pytest.raises(LogFileError, match="more than 50 files"):
        given(tmp_path / "many.zip")


def test_one_sentence_says_that_there_are_too_many_days(tmp_path: Path, environ: dict[str, str]) -> None:
    for number in range(401):
        year, day = divmod(number, 28)
        (tmp_path / f"cdm-click.{2000 + year}-11-{day + 1:02}.log").write_text("id,time,email\n")
    done, _ = imported(environ, tmp_path)
    assert (done.exit_code, done.stderr.count("\n"), done.stdout) == (2, 1, "")


def test_a_whole_day_in_a_folder_is_imported(tmp_path: Path, environ: dict[str, str]) -> None:
    day = a_day(60)
    for name, content in contents(day).items():
        (tmp_path / name).write_bytes(content)
    done, events = imported(environ, "--complete", tmp_path)
    assert (done.exit_code, events, done.stderr) == (0, len(day), "")
    (headings,) = [line for line in done.stdout.splitlines() if line.startswith("kind")]
    assert headings.endswith("unmatched"), "they fit in one line of 80 columns"
    assert len(headings) <= 80


IDS = ["00000012345678901234", "0000123456789012345a", "12345678901234567890", "0123456789abcdef0123"]


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("whole_first", [True, False])
def test_ids_that_lost_their_zeros_as_numbers_are_the_same_events(
    tmp_path: Path, environ: dict[str, str], form: str, whole_first: bool
) -> None:
    def file(folder: str, ids: list[str]) -> Path:
        times = [f"2026-11-20 09:00:0{place}" for place in range(len(ids))]
        if form == "json":
            rows = [{"id": one, "time": time, "email": "a@b.nl"} for one, time in zip(ids, times, strict=True)]
            content = json.dumps([row | {"id": int(one) if (one := row["id"]).isdigit() else one} for row in rows])
            content = content if folder == "lost" else json.dumps(rows)
        else:
            lines = (f"{one},{time},a@b.nl\n" for one, time in zip(ids, times, strict=True))
            content = "".join(["id,time,email\n", *lines])
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / NAME
        path.write_text(content)
        return path

    whole = file("whole", IDS)
    lost = file("lost", [one.lstrip("0") if one.isdigit() else one for one in IDS])
    for path in (whole, lost) if whole_first else (lost, whole):
        done, events = imported(environ, path)
        assert (done.exit_code, events) == (0, len(IDS)), done.stdout
        assert ("1 message id had lost zeros" in done.stdout) == (path is lost)
    with Store.open(environ["DATABASE_URL"]) as store, store.reading() as connection:
        assert sorted(connection.execute(select(tables.events.c.message_id)).scalars()) == sorted(IDS)


def test_many_lines_with_one_fault_are_gathered(tmp_path: Path, environ: dict[str, str]) -> None:
    lines = [f"m{number},2026-13-20 09:00:00,a@b.nl\n" for number in range(5000)]
    lines += [f'm{number},2026-11-20 09:00:00,"a@b.nl\n' for number in range(3)]
    (tmp_path / NAME).write_text("id,time,email\nm,2026-11-20 09:00:00,a@b.nl\n" + "".join(lines))
    done, events = imported(environ, tmp_path / NAME)
    said = [line for line in done.stdout.splitlines() if ", line " in line or "more:" in line]
    assert (done.exit_code, events) == (1, 1)
    assert len(said) < 12
    assert any("… and 4,996 more: … is not a valid time" in line for line in said), done.stdout


def test_a_file_whose_times_lost_their_seconds_makes_nothing_twice(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    content = contents(one for one in a_day() if one.prefix == "cdm-click")[NAME]
    (tmp_path / NAME).write_bytes(content)
    before = imported(environ, tmp_path)[1]
    (tmp_path / NAME).write_bytes(re.sub(rb"(,2026-11-20 \d\d:\d\d:)\d\d", rb"\g<1>00", content))
    done, events = imported(environ, tmp_path)
    assert (done.exit_code, events) == (1, before)
    assert "resaved by Excel (none of its times has seconds)" in done.stderr
