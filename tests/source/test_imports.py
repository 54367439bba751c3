"""The picture of dependencies, kept true."""

import ast
import re
from collections.abc import Set
from pathlib import Path

import pytest

from tests.support.source import ROOT, modules, statements

#: Module or package → what of ours it may import. The longest name that fits counts.
ALLOWED: dict[str, set[str]] = {
    "ingest.errors": set(),
    "ingest.log": {"ingest.shown", "ingest.json_log"},
    "ingest.json_log": {"ingest.shown"},
    "ingest.container": set(),
    "ingest.disks": set(),
    "ingest.platforms": {"ingest.disks"},
    "ingest.health": {"ingest.disks"},
    "ingest.shown": set(),
    "ingest.redis_url": set(),
    "ingest.database_url": set(),
    "ingest.mail_url": set(),
    "ingest.password_hash": set(),
    "ingest.setting_values": {
        "ingest.redis_url", "ingest.database_url", "ingest.mail_url", "ingest.password_hash",
    },
    "ingest.setting_catalogue": {"ingest.setting_catalogue"},
    "ingest.setting_sources": {"ingest.errors", "ingest.shown"},
    "ingest.setting_reader": {"ingest.setting_sources"},
    "ingest.sink_settings": {"ingest.setting_values"},
    "ingest.privacy_settings": {
        "ingest.setting_values", "ingest.errors", "ingest.shown", "ingest.copernica",
    },
    "ingest.redis_settings": {"ingest.redis_url", "ingest.setting_values"},
    "ingest.settings": {
        "ingest.sink_settings", "ingest.redis_settings", "ingest.privacy_settings",
        "ingest.errors", "ingest.copernica", "ingest.shown", "ingest.setting_values", "ingest.setting_sources",
        "ingest.setting_reader", "ingest.redis_url", "ingest.platforms",
    },
    "ingest.unencrypted": {"ingest.settings", "ingest.shown", "ingest.health", "ingest.redis_url"},
    "ingest.private_files": {"ingest.settings", "ingest.setting_sources"},
    "ingest.failpoints": {"ingest.errors"},
    "ingest.batch": {"ingest.errors"},
    "ingest.redis_errors": set(),
    "ingest.redis_sentinel": {"ingest.redis_url"},
    "ingest.redis_tls": {"ingest.redis_url"},
    "ingest.redis_silence": set(),
    "ingest.redis_connection": {"ingest.redis_errors", "ingest.redis_sentinel", "ingest.redis_silence"},
    "ingest.redis_pipeline": {"ingest.redis_errors", "ingest.redis_connection"},
    "ingest.redis_client": {
        "ingest.errors", "ingest.redis_errors", "ingest.redis_connection", "ingest.shown", "ingest.redis_url",
        "ingest.redis_sentinel", "ingest.redis_tls", "ingest.health",
    },
    "ingest.stops": set(),
    "ingest.processes": {"ingest.errors", "ingest.stops"},
    "ingest.garbage": set(),
    "ingest.copernica": {"ingest.errors", "ingest.copernica"},
    "ingest.verification": {"ingest.errors", "ingest.settings", "ingest.setting_values", "ingest.copernica"},
    "ingest.spool": {"ingest.errors", "ingest.failpoints", "ingest.batch", "ingest.spool"},
    "ingest.listening": {"ingest.errors"},
    "ingest.metrics": {
        "ingest.listening", "ingest.errors", "ingest.processes", "ingest.stops", "ingest.shown", "ingest.metrics",
    },
    "ingest.stream": {
        "ingest.errors", "ingest.metrics.histogram",
        "ingest.redis_errors", "ingest.redis_pipeline", "ingest.failpoints", "ingest.batch",
        "ingest.spool", "ingest.stream",
    },
    "ingest.partitions": {"ingest.settings", "ingest.redis_client", "ingest.stream"},
    "ingest.jobs": {"ingest.copernica", "ingest.stream"},
    "ingest.unknown_jobs": {"ingest.jobs", "ingest.stream"},
    "ingest.lookout": {"ingest.settings", "ingest.processes", "ingest.stops", "ingest.stream"},
    "ingest.sentry": {"ingest.errors", "ingest.settings", "ingest.shown"},
    "ingest.meters": set(),
    "ingest.spans": {"ingest.errors"},
    "ingest.tracing": {"ingest.errors", "ingest.settings", "ingest.meters", "ingest.spans"},
    "ingest.endpoint": {
        "ingest.container",
        "ingest.errors", "ingest.settings", "ingest.failpoints", "ingest.batch", "ingest.redis_client",
        "ingest.redis_errors", "ingest.processes", "ingest.stops", "ingest.health", "ingest.copernica",
        "ingest.verification",
        "ingest.spool", "ingest.stream", "ingest.jobs", "ingest.endpoint", "ingest.shown", "ingest.lookout",
        "ingest.tracing", "ingest.metrics", "ingest.unknown_jobs", "ingest.partitions",
        "ingest.redis_settings", "ingest.listening",
    },
    "ingest.simulation": {
        "ingest.errors", "ingest.listening", "ingest.shown", "ingest.copernica", "ingest.simulation",
    },
    "ingest.capacity": {"ingest.errors", "ingest.capacity"},
    "ingest.dev": {"ingest", "workers"},
    "ingest.console": {"ingest", "workers"},
    "ingest.testing": {"ingest", "workers"},
    "ingest.pytest_plugin": {"ingest.testing", "workers.store.schema"},
    # Commands work on the store, so they know both sides.
    "ingest.cli": {"ingest", "workers"},
    "ingest.__main__": {"ingest.cli"},
    # A command of another program's that hands on to ours.
    "workers.contrib.django.management": {"ingest.cli.main", "workers"},
    "workers": {
        "ingest.settings", "ingest.errors", "ingest.redis_client", "ingest.redis_errors", "ingest.stream",
        "ingest.jobs", "ingest.batch", "ingest.copernica", "ingest.processes", "ingest.stops",
        "ingest.verification",
        "ingest.failpoints", "ingest.health", "ingest.disks", "ingest.spool", "ingest.shown", "ingest.redis_url",
        "ingest.unencrypted", "ingest.private_files", "ingest.setting_sources", "ingest.lookout",
        "ingest.mail_url", "ingest.sentry", "ingest.tracing", "ingest.metrics", "ingest.capacity",
        "ingest.partitions", "ingest.redis_settings", "ingest.privacy_settings", "ingest.garbage", "workers",
    },
    "ingest": {"ingest.copernica"},
}  # fmt: skip  # a list to be read across, not a column of single words


def imports(path: Path, known: Set[str]) -> set[str]:
    """The modules among those known that a file imports, `from package import module` included."""
    found = set()
    for node in statements(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path} imports relatively"
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inner or {node.module}
            if len(inner) < len(node.names):
                found.add(node.module)
    return {name for name in found if name in known}


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def forbidden(module: str, imported: set[str]) -> set[str]:
    """Which of its imports the picture does not allow a module."""
    rule = max((name for name in ALLOWED if within(module, {name})), key=len)
    # Importing a package's own name (for its version) is not importing what it is made of.
    return {name for name in imported if name != "ingest" and not within(name, ALLOWED[rule])}


def test_each_module_imports_only_what_the_picture_allows() -> None:
    known = modules()
    found = {module: forbidden(module, imports(path, known.keys())) for module, path in known.items()}
    assert {module: names for module, names in found.items() if names} == {}


def test_the_stream_must_not_know_the_jobs() -> None:
    assert forbidden("ingest.stream.consumer", {"ingest.jobs"})


def test_only_commands_console_dev_and_testing_may_know_the_processing_side() -> None:
    ours = {name for name in modules() if within(name, {"ingest"})}
    knowing = {name for name in ours if not forbidden(name, {"workers.drain.drain"})}
    knows_both = {"ingest.cli", "ingest.console", "ingest.dev", "ingest.testing"}
    assert knowing == {name for name in ours if within(name, knows_both)}


@pytest.mark.parametrize(
    "stranger", ["ingest.settings", "ingest.stream.keys", "ingest.redis_client", "ingest.batch"]
)
def test_what_knows_copernica_may_know_only_our_errors(stranger: str) -> None:
    assert forbidden("ingest.copernica.events", {"ingest.errors", stranger}) == {stranger}


def test_only_the_buffer_knows_a_redis_key() -> None:
    knowing = {name for name, path in modules().items() if "ingest:{" in path.read_text()}
    assert knowing == {"ingest.stream.keys"}


def test_no_test_imports_from_a_test() -> None:
    tests = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob("tests/**/test_*.py")}
    assert len(tests) > 50
    others = re.compile(r"^\s*(from|import) tests(?!\.support)", re.MULTILINE)
    importing = {
        str(path): sorted(imports(path, tests))
        for path in ROOT.glob("tests/**/*.py")
        if others.search(path.read_text())
    }
    assert {path: names for path, names in importing.items() if names} == {}
