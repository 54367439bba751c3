"""The cookbook: every query runs as it stands, and answers what the page shows."""

import os
import shutil
import subprocess

import pytest

from tests.support import cookbook
from tests.support.cookbook import DUTCH, ENGLISH, TITLES
from tests.support.mariadb import USER
from tests.support.mariadb import Server as MariaServer
from tests.support.pages import Block, blocks
from workers.store.store import Store

pytestmark = pytest.mark.slow

BLOCKS = blocks(ENGLISH)
#: What the commands under the last heading write.
TAGS = ["tag,opens,clicks", "newsletter,5,2", "receipt,1,0", "sale,5,2"]


def _asked(database: str) -> list[tuple[Block, str]]:
    """The queries for a kind of database, each with the result that the page shows."""
    found: list[tuple[Block, str]] = []
    for block in BLOCKS:
        if block.language == "sql" and block.title in ("", TITLES[database]):
            found.append((block, ""))
        elif block.language == "text":
            found[-1] = (found[-1][0], block.text)
    return found


def test_every_query_answers_what_the_page_shows(store: Store) -> None:
    cookbook.fill(store)
    asked = _asked(store.engine.dialect.name)
    assert len(asked) == 13
    for block, result in asked:
        assert cookbook.answer(store, block.text) == result, block.heading


def test_the_commands_of_the_clients_run_as_printed(
    request: pytest.FixtureRequest, database: str, store: Store
) -> None:
    cookbook.fill(store)
    kind = store.engine.dialect.name
    program = {"sqlite": "sqlite3", "postgresql": "psql", "mysql": "mariadb"}[kind]
    if shutil.which(program) is None:
        pytest.skip(f"NOT TESTED: the commands of {program}, which is not here")
    folder = request.getfixturevalue("tmp_path")
    environ = {**os.environ, "DATABASE_URL": database}
    if kind == "sqlite":
        (folder / "data").mkdir()
        (folder / "data" / "ingest.db").symlink_to(store.engine.url.database or "")
    elif kind == "mysql":
        server: MariaServer = request.getfixturevalue("maria_server")
        (folder / ".my.cnf").write_text(f"[client]\nsocket={server.socket}\nuser={USER}\n")
        environ["HOME"] = str(folder)
    for block in BLOCKS:
        if block.language == "sh" and block.title == TITLES[kind]:
            text = block.text.replace("--database=ingest", f"--database={store.engine.url.database}")
            subprocess.run(
                ["bash", "-ec", text], cwd=folder, env=environ, check=True, timeout=60, capture_output=True
            )
    written = (folder / "tags.csv").read_text().replace("\t", ",").splitlines()
    assert written == TAGS


def test_the_page_in_dutch_has_the_same_queries() -> None:
    dutch, english = blocks(DUTCH), BLOCKS
    assert [block[1:] for block in dutch] == [block[1:] for block in english]
    assert len({block.heading for block in dutch}) == len({block.heading for block in english})
