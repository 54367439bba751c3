"""What `ingest status` says of work that is held up, from a real server and both databases."""

import json
import time
from pathlib import Path

import redis
from rq.suspension import suspend

from ingest.stream.pauses import HANDLER, QUEUE, Pauses
from tests.support.cli import typed
from tests.support.sql import execute
from workers.store.store import Store


def test_work_that_is_tried_again_or_paused_is_shown_with_its_reason(
    store: Store, database: str, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    due = int((time.time() + 3600) * 1_000_000)
    columns = "handler, count, packed, attempt, crashes, due_at, leased_until, slots, error"
    row = f"INSERT INTO handoffs ({columns}) VALUES "
    execute(
        store,
        f"{row} ('crm', 5, '', 0, 0, 0, 0, 0, NULL)",
        f"{row} ('crm', 2, '', 1, 0, {due}, 0, 0, 'KeyError: older')",
        f"{row} ('crm', 1, '', 3, 0, {due + 1}, 0, 0, 'ValueError: \x1b[31mno')",
    )
    Pauses(client).add([QUEUE + "events"])
    Pauses(client).add([HANDLER + "crm"], due)
    suspend(client)
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": database, "INGEST_DATA_DIR": str(tmp_path)}
    figures = json.loads(typed("status", "--json", environ=environ).stdout)
    crm = figures["handlers"]["crm"]
    assert (crm["waiting"], crm["retries"], crm["failed"]) == (8, 3, 0)
    assert abs(crm["retry_at"] - due / 1e6) < 1
    assert crm["last_error"] == "ValueError: \x1b[31mno"
    assert [pause["name"] for pause in figures["paused"]] == ["handler:crm", "queue:events"]
    assert figures["suspended"]
    codes = [warning["code"] for warning in figures["warnings"]]
    assert codes == ["no-endpoint", "paused", "paused", "workers-suspended"]
    shown = typed("status", "--tz", "Europe/Amsterdam", environ=environ)
    assert "3 of them are tried again, the next at " in shown.stdout.replace("\n", " ")
    assert "+01:00" in shown.stdout or "+02:00" in shown.stdout
    assert "\x1b[31mno" not in shown.stdout
