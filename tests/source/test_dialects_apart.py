"""What one kind of database says in its own words is in the modules that are named after it, and nowhere else."""

import ast
import re
from pathlib import Path

from tests.support.source import modules, parsed

#: How the names of modules begin that belong to one kind of database, and the driver of each.
KINDS = {"sqlite": "sqlite3", "postgres": "psycopg", "mariadb": "pymysql"}
#: Modules that are about several kinds at once, or about files of ours that are no store; and why.
FREE = {
    "workers.store.migrations": "what was there at the time stays as it was",
    "workers.store.view_queries": "the words of all kinds side by side, for a migration",
    "workers.store.table_types": "the types of columns, one table for all",
    "workers.store.dialects": "which kind a URL names",
    "workers.store.schema": "Alembic asks whether its table is there",
    "workers.store.remedies": "numbers of errors of all kinds, and what to do about each",
    "workers.operations.backup": "copies SQLite's files, and refuses the others",
    "workers.catch_up.shelf": "a file of its own, whatever the store is",
    "workers.contrib": "Django's connections are not ours",
    "ingest.simulation": "files of its own, whatever the store is",
    "ingest.capacity": "names of figures",
}
#: Words that not all kinds understand.
WORDS = re.compile(
    r"\b(PRAGMA|SHOW (?:GLOBAL|SESSION|CREATE|\w+_\w+)|LOCK TABLES?|ON CONFLICT|ON DUPLICATE|RETURNING|ILIKE"
    r"|INSERT (?:IGNORE|OR)|SKIP LOCKED|SET (?:LOCAL|SESSION|GLOBAL)|information_schema|pg_\w+|sqlite_\w+|dbstat"
    r"|to_regclass|to_char|json_extract|strftime|octet_length|regclass)\b|\w\)?::\w"
)


def is_apart(module: str) -> bool:
    """Whether a module belongs to one kind of database, or is free."""
    own = module.startswith("workers.store.") and module.rpartition(".")[2].startswith(tuple(KINDS))
    return own or any(module == name or module.startswith(f"{name}.") for name in FREE)


def strange(path: Path) -> list[str]:
    """What a module has that belongs to one kind of database; docstrings may speak of it."""
    found, nodes = [], list(ast.walk(parsed(path)))
    described = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            found += [match[0] for match in WORDS.finditer(node.value)]
        elif isinstance(node, ast.Attribute) and node.attr == "dialect":
            found.append("dialect")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in KINDS.values()]
    return found


def test_only_the_modules_of_a_database_use_its_words() -> None:
    found = {name: strange(path) for name, path in modules().items() if not is_apart(name)}
    assert {name: words for name, words in found.items() if words} == {}


def test_words_of_one_database_are_known_as_such(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('"""PRAGMA"""\nQUERY = f"SELECT a::text FROM {x}"\nNAME = x.dialect.name\nimport sqlite3\n')
    assert sorted(strange(path)) == ["a::t", "dialect", "sqlite3"]


def test_no_module_is_excepted_that_is_not_there() -> None:
    known = modules()
    assert [name for name in FREE if not any(f"{module}.".startswith(f"{name}.") for module in known)] == []
