"""Every RQ job, under a name that stays: what is queued must still be found after an upgrade.

The receiving side enqueues these by name (`ingest.jobs`), and a job may lie on its queue for long, so a function
in here is never renamed and never loses an argument; the modules that do the work may move. A job is only a
wake-up: the stream and the tables hold what is to be done, so a job that is lost, doubled or killed costs nothing.
A job of a queue or handler that is paused does nothing and is done; what is due comes again when that is over.

`drain`, `verify`, `retention`, `reconcile`, `export`, `find_gaps`, `catch_up` and `mailings` are enqueued on the
queue `events`, the others on `handlers`. Each imports what it needs when it is called, so that naming a job costs
nothing. A worker imports the modules of frequent jobs once at its start, before RQ forks
(`workers.process.worker`).
"""
# ruff: noqa: PLC0415  # see above


def drain() -> dict[str, float]:
    """Store what is in the stream; returns what was done, as numbers.

    done     the stream was empty, or the time slice was over and another job goes on
    retried  Redis failed, or the database was unavailable for the whole time slice: logged in one line, and the
             sweep enqueues another job as long as there is a backlog. After a kill, another drain takes over what
             this one had claimed once that has been idle for `RECLAIM_IDLE_MS`
    dead     a damaged batch goes to the dead stream, a call that cannot be read to the table `quarantine`
    """
    from workers.drain.drain import drain_job

    return drain_job()


def verify() -> int:
    """Verify the calls whose key was unavailable; returns how many still wait, -1 if that is unknown.

    done     nothing waits any more, or what waits cannot be verified yet: a sweep enqueues another job later
    retried  Redis or the database failed: logged in one line, and a sweep enqueues another job. After a kill
             likewise, since each page is one transaction
    dead     a call that proves to be forged, or that cannot be read, goes to the table `quarantine`
    """
    from workers.drain.late_verification import verify_job

    return verify_job()


def retention() -> int:
    """Delete what is too old, once a day; returns how many events and calls that were.

    done     everything older than `INGEST_RETENTION_DAYS` is deleted
    retried  the database failed: logged in one line, and another job tries again in ten minutes. After a kill,
             the rest is deleted the next day
    dead     nothing
    """
    from workers.operations.retention import daily_job

    return daily_job()


def reconcile() -> int:
    """Compare log files with the store, once a day; returns how many events were recovered.

    done     every day up to yesterday is complete, or as complete as its log files allow
    retried  Copernica, Redis or the database failed, or the worker was stopped: logged in one line, and another
             job continues. After a kill, the next day's job does the rest; what was recovered is in the store
    dead     nothing: a line that cannot be read is reported, and its day counts as incomplete
    """
    from workers.reconcile.daily import reconcile_job

    return reconcile_job()


def export() -> int:
    """Write the days that have changed into files, once a day; returns how many events were written.

    done     every day that is over is at the target as the store has it
    retried  the target, Redis or the database failed, or the worker was stopped: logged in one line, and another
             job does the rest. After a kill, the next day's job does; what was written is whole
    dead     nothing
    """
    from workers.export.daily import export_job

    return export_job()


def find_gaps() -> int:
    """Look for periods in which calls may be missing; returns how many are not closed.

    done     the tables `coverage` and `gaps` are up to date
    retried  Redis or the database failed: logged in one line, and a sweep enqueues another job. After a kill
             likewise, since it is one transaction
    dead     nothing
    """
    from workers.gaps.looking import look_job

    return look_job()


def catch_up() -> int:
    """Fill gaps that are due from Copernica's results; returns how many events were recovered.

    done     every gap that was due is closed, or will be tried again later
    retried  Copernica, Redis or the database failed, or the worker was stopped: logged in one line, and another
             job goes on. After a kill likewise, when the lease of the gap has ended
    dead     nothing: what cannot be stored is named, and its gap stays open
    """
    from workers.catch_up.job import catch_up_job

    return catch_up_job()


def mailings() -> int:
    """Bring the figures of mailings up to date; returns how many mailings that were.

    done     nothing is stale, or the slice is over and another job goes on after a rest
    retried  Redis or the database failed: logged in one line, and a sweep enqueues another job. After a kill
             likewise, since what is stale is found by what the tables hold
    dead     nothing
    """
    from workers.mailings.job import mailings_job

    return mailings_job()


def hand_on() -> int:
    """Give each handler its share of what was stored; returns how many rows of the outbox that were.

    done     every handler has its calls, and those with something to do now are woken
    retried  Redis or the database failed: logged in one line, and a sweep enqueues another job. After a kill
             likewise, since each step is one transaction
    dead     nothing
    """
    from workers.handlers.jobs import hand_on_job

    return hand_on_job()


def handle(name: str) -> dict[str, int]:
    """Call the handler of this name with what is due for it; returns how many calls were done, unwanted, failed.

    done     nothing is due for it, or the time slice is over and another job goes on
    retried  calls that it raised on wait for their backoff. Redis or the database failed: logged in one line, and
             a sweep enqueues another job. After a kill, what was not noted as done is done again once the claim
             has expired
    dead     calls that failed their last attempt, or on which the handler gave up, become dead letters
    """
    from workers.handlers.jobs import handle_job

    return handle_job(name)
