"""What has to be seen in an interpreter of its own, because that of the tests has loaded everything."""

import subprocess
import sys

from ingest.failpoints import VARIABLE
from tests.support.running import PATIENCE, clean_environ


def python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a piece of code to its end."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean_environ(), **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def loaded(*modules: str) -> set[str]:
    """All modules that are loaded once these have been imported."""
    done = python(f"import sys, {', '.join(modules)}; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_naming_a_job_loads_neither_database_nor_http() -> None:
    assert not {"sqlalchemy", "aiohttp", "cryptography"} & loaded("workers.jobs")


def test_looking_at_the_status_does_not_load_what_only_others_need() -> None:
    heavy = {"aiohttp", "httptools", "uvloop", "dns", "stamina", "cryptography.hazmat", "ingest.simulation"}
    assert not heavy & loaded("ingest.cli.main", "ingest.cli.render.status", "workers.operations.status")


def test_a_worker_imports_its_jobs_before_it_forks() -> None:
    assert {"workers.drain.drain", "workers.handlers.jobs"} <= loaded("workers.process.worker")


def test_a_process_kills_itself_at_a_fail_point() -> None:
    done = python(
        "from ingest import failpoints; failpoints.arm(); failpoints.reach('commit'); print('alive')",
        **{VARIABLE: "commit=kill"},
    )
    assert (done.returncode, done.stdout) == (-9, "")


def test_a_plan_of_chaos_is_decided_by_its_seed_and_nothing_else() -> None:
    code = "import json; from tests.chaos.plan import plan; print(json.dumps(plan(2, 60).as_dict()))"
    plans = {python(code, PYTHONHASHSEED=seed).stdout for seed in ("1", "7")}
    assert len(plans) == 1
    assert plans != {""}
