"""Every form of the console, as somebody fills it in who may act; each page's address; what they are about."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import redis
from rq import Queue
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from ingest.jobs import EVENTS_QUEUE
from tests.support.builders import NINE, event, failure, handler, record
from workers.handlers.announced import announce
from workers.handlers.work_queue import WorkQueue
from workers.records import Quarantined
from workers.store.store import Store

PASSWORD = "een-lang-wachtwoord"
#: A call that a handler gave up, one in quarantine, and an event.
LETTER, QUARANTINED, EVENT = record(1), record(2, body=b"\xff"), event(3)
#: A task that is under way, and a job that failed.
TASK, JOB = "0123456789abcdef", "failed-drain"


class Form(NamedTuple):
    """A form as somebody sends it who may: where to, with which fields, and what the audit then has."""

    path: str
    fields: Mapping[str, str] = {}
    #: Empty: it changes nothing.
    action: str = ""


FORMS: Mapping[str, Sequence[Form]] = {
    "/login": [Form("/login", {"password": PASSWORD})],
    "/logout": [Form("/logout")],
    "/events": [Form("/events", {"type": "open"})],
    "/find": [Form("/find", {"q": "jan@example.nl"})],
    "/erase/look": [Form("/erase/look", {"recipient": "jan@example.nl"})],
    "/erase": [Form("/erase", {"recipient": "jan@example.nl", "again": "jan@example.nl"}, "erase")],
    "/event/{id}/hand-on": [Form(f"/event/{EVENT.delivery_id.hex()}/hand-on", {"handler": "crm"}, "hand-on")],
    "/dead-letters/selected": [
        Form("/dead-letters/selected", {"letter": f"{LETTER.delivery_id.hex()}:crm", "do": do}, do)
        for do in ("retry", "drop")
    ],
    "/dead-letters/all": [
        Form("/dead-letters/all", {"do": do, "before": str(NINE)}, f"{do}-dead-letters")
        for do in ("retry", "drop")
    ],
    "/dead-letter/{key}": [
        Form(f"/dead-letter/{LETTER.delivery_id.hex()}", {"handler": "crm", "do": do}, do)
        for do in ("retry", "drop")
    ],
    "/quarantine/all": [
        Form("/quarantine/all", {"do": do, "newest": QUARANTINED.delivery_id.hex()}, f"{do} quarantine")
        for do in ("retry", "drop")
    ],
    "/quarantine/{delivery_id}/drop": [Form(f"/quarantine/{QUARANTINED.delivery_id.hex()}/drop", {}, "drop")],
    "/quarantine/{delivery_id}/retry": [Form(f"/quarantine/{QUARANTINED.delivery_id.hex()}/retry", {}, "retry")],
    "/day/{day}/reconcile": [Form("/day/2026-11-20/reconcile", {}, "reconcile")],
    "/day/{day}/totals": [Form("/day/2026-11-20/totals", {}, "audit-mailings")],
    "/handler/pause": [Form("/handler/pause", {"name": "crm", "seconds": "600"}, "pause")],
    "/handler/resume": [Form("/handler/resume", {"name": "crm"}, "resume")],
    "/handler/retry": [Form("/handler/retry", {"name": "crm"}, "retry-now")],
    "/gaps/period": [Form("/gaps/period", {"since": "2026-11-20T09:00", "until": "2026-11-20T10:00"}, "catch-up")],
    "/gaps/fill": [Form("/gaps/fill", {}, "catch-up")],
    "/system/queues/{queue}/{action}": [
        Form(f"/system/queues/{EVENTS_QUEUE}/{do}", {"job": JOB}, f"{do} job") for do in ("requeue", "drop")
    ],
    "/task/{number}/stop": [Form(f"/task/{TASK}/stop", {}, "stop")],
}
ALL = [form for forms in FORMS.values() for form in forms]

#: A module with the handler that these forms name.
HANDLERS = "from workers import on\n@on()\ndef crm(event): ...\n"

#: What stands in the address of a page for what it is about, and what it asks for.
NAMES = {
    "id": EVENT.delivery_id.hex(),
    "day": "2026-11-20",
    "key": LETTER.delivery_id.hex(),
    "delivery_id": QUARANTINED.delivery_id.hex(),
    "number": "4711",
}
QUERIES = {
    "/handler": "?name=crm",
    "/recipient": "?address=jan@example.nl",
    "/message": "?id=5fd2",
    "/events": "?type=open",
    "/erase": f"?event={NAMES['id']}",
    "/dead-letters/all": "?do=drop",
    "/dead-letter/{key}": "?handler=crm",
    "/quarantine/all": "?do=drop",
    "/mailings/compare": "?mailing=1&mailing=2",
    "/mailings/tag": "?name=november",
}


def address(route: str) -> str:
    """The address of a page."""
    return re.sub(r"{(\w+)[^}]*}", lambda found: NAMES[found[1]], route) + QUERIES.get(route, "")


def fill(store: Store, client: redis.Redis) -> None:
    """Have there be a dead letter, a call in quarantine, an event, a handler and a job that failed."""
    store.add([EVENT], [Quarantined(QUARANTINED, "not readable")])
    with store.writing() as connection:
        WorkQueue(store)._bury(connection, "crm", [failure(LETTER, None)], 7)
    announce(client, [handler("crm")])
    queue = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
    job = queue.enqueue("workers.jobs.drain", job_id=JOB)
    queue.remove(job.id)
    job.set_status(JobStatus.FAILED)
    queue.failed_job_registry.add(job, ttl=3600)
