"""The arithmetic: what a rate of events takes, part by part, each step as a line that a reader can check."""

from math import ceil, inf, log2

from ingest.capacity.amounts import shown_rate, shown_size, shown_span
from ingest.capacity.demand import Demand, Limit, Part, Plan
from ingest.capacity.figures import Figures, costs_of
from ingest.errors import SettingsError

#: Share of a processor that what answers at once may use: above, calls wait for each other.
ANSWERING = 0.7
#: The same of what works through a backlog, whom nobody waits for.
WORKING = 0.9
#: Processors of one machine for endpoints or workers: a size that every host has.
MACHINE = 16
#: Processors of the largest database server, and bytes per second that its disk takes for hours: one good NVMe.
SERVER, SERVER_WRITES = 64, 1e9
#: Share of `maxmemory` that the backlog may use by default (`INGEST_BUFFER_MAX`).
BACKLOG_SHARE = 0.6
#: An append-only file is as large as this many times its content just before it has been rewritten.
LOG_TWICE = 2
#: Bytes of memory: the endpoint's parent, each of its processes, a worker with its job, an empty Redis; they are
#: from docs/hosts/README.md.
PARENT, PROCESS, WORKER, REDIS = 64e6, 85e6, 140e6, 10e6
#: Bytes of the smallest Redis server; larger ones have twice, four times, … as much.
SMALLEST = 62.5e6
#: Days of a month.
MONTH = 30
#: Bytes of a month's events up to which SQLite is chosen: a file that is still copied for a backup in minutes.
SQLITE_MONTH = 100e9
#: Most workers whose commits count events at once without waiting (`workers.store.postgres_counts.SHARDS`).
COUNTING_AT_ONCE = 16
#: What is full after a time, not at a rate.
DISK_SPACE = "the database's disk space"
#: Units of what a network carries.
SPEEDS = ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1, "bit/s"))
SQLITE, POSTGRESQL = "sqlite", "postgresql"


def plan(demand: Demand, figures: Figures) -> Plan:
    """How much of everything it takes.

    Raises:
        SettingsError: what was asked for cannot be had.
    """
    _check_disk(demand, figures)
    database = _database(demand, figures)
    endpoint, serving = _endpoint(demand, figures)
    redis, keeping = _redis(demand, figures)
    workers, draining = _workers(demand, figures, database)
    store, storing = _store(demand, figures, database)
    parts = [endpoint, redis, workers, store]
    limits = [serving, *keeping, draining, *storing]
    if demand.handlers:
        part, limit = _handlers(demand, figures)
        parts.append(part)
        limits.append(limit)
    parts.append(_network(demand, figures))
    parts.append(_whole(parts))
    limits.sort(key=lambda limit: limit.factor)
    return Plan(demand, figures, database, tuple(parts), tuple(limits), _notes(demand, parts))


def _endpoint(demand: Demand, figures: Figures) -> tuple[Part, Limit]:
    busy = demand.rate * figures.endpoint_us / 1e6
    processes = ceil(busy / ANSWERING)
    machines = ceil(processes / MACHINE)
    memory = machines * PARENT + processes * PROCESS
    full = processes * 1e6 / figures.endpoint_us
    part = Part(
        "endpoint",
        f"{_many(processes, 'process', 'processes')} on {_many(machines, 'machine')}, {shown_size(memory)} of "
        "memory",
        (
            f"{shown_rate(demand.rate)} x {figures.endpoint_us:g} µs = {_cores(busy)} processors at work",
            f"{_cores(busy)} ÷ {ANSWERING} (calls must not wait for each other) → {processes:,} "
            "(WEB_CONCURRENCY, all machines together)",
            f"{processes:,} ÷ {MACHINE} processors of a machine → {machines:,}",
            f"{machines:,} x {shown_size(PARENT)} + {processes:,} x {shown_size(PROCESS)} = {shown_size(memory)}",
        ),
        {"processes": processes, "machines": machines, "processors": busy, "memory_bytes": memory},
    )
    then = "calls wait for each other; what Copernica then gives up is in its log files (ingest reconcile)"
    return part, Limit("endpoint", full / demand.rate, shown_rate(full), then)


def _redis(demand: Demand, figures: Figures) -> tuple[Part, list[Limit]]:
    of_each = figures.append_us + figures.claim_us * demand.working_rate / demand.rate
    busy = demand.rate * of_each / 1e6
    held = demand.backlog * figures.stream_bytes
    memory = held / BACKLOG_SHARE + REDIS
    by_work, by_memory = ceil(busy / ANSWERING), ceil(memory / demand.memory)
    servers = max(by_work, by_memory)
    log = demand.backlog * figures.log_bytes * LOG_TWICE
    each = min(demand.memory, SMALLEST * 2 ** max(0, ceil(log2(memory / servers / SMALLEST))))
    part = Part(
        "Redis",
        f"{_many(servers, 'server')} with {shown_size(each)} of memory{_disk(log / servers)}{_each(servers)}",
        (
            f"{shown_rate(demand.rate)} x {of_each:.3g} µs (taken, and given to drains) = {_cores(busy)} "
            f"processors; a server uses one, ÷ {ANSWERING} → {by_work:,}",
            f"{_gathered(demand)} events wait, x {figures.stream_bytes:g} bytes = {shown_size(held)}",
            f"{shown_size(held)} ÷ {BACKLOG_SHARE} (INGEST_BUFFER_MAX) + {shown_size(REDIS)} = "
            f"{shown_size(memory)} of maxmemory, ÷ {shown_size(demand.memory)} → {by_memory:,}; "
            f"{_many(servers, 'server')} → {shown_size(each)}{_each(servers)}, in sizes that double",
            f"{demand.backlog:,.0f} x {figures.log_bytes:g} bytes x {LOG_TWICE} (while it is rewritten) = "
            f"{shown_size(log)} of append-only files",
        ),
        {
            "servers": servers, "processors": busy, "memory_bytes": each * servers, "disk_bytes": log,
            "backlog_events": demand.backlog,
        },
    )  # fmt: skip  # as the parts below
    limits = [
        Limit(
            "Redis' processor",
            servers * 1e6 / of_each / demand.rate,
            shown_rate(servers * 1e6 / of_each),
            "writes are confirmed later, batches grow, and what takes longer than 0.5 s goes to the spool",
        )
    ]
    if demand.outage:
        room = each * servers - REDIS
        lasts = room * BACKLOG_SHARE / figures.stream_bytes / (demand.backlog / demand.outage)
        then = "calls go to the spool (INGEST_SPOOL_MAX), and once that is full they are answered 503"
        limits.append(Limit("Redis' memory", lasts / demand.outage, f"an outage of {shown_span(lasts)}", then))
    return part, limits


def _gathered(demand: Demand) -> str:
    """How many events the outage leaves, and why."""
    if demand.backlog < demand.rate * demand.outage:
        return (
            f"{shown_span(demand.outage)} at {demand.daily:,.0f} a day, the rate at first: {demand.backlog:,.0f}"
        )
    return f"{shown_rate(demand.rate)} x {shown_span(demand.outage)} = {demand.backlog:,.0f}"


def _workers(demand: Demand, figures: Figures, database: str) -> tuple[Part, Limit]:
    costs = costs_of(database, figures)
    # A worker waits while its session of the server works.
    own, cost = costs.worker_us, costs.worker_us + costs.server_us
    busy = demand.working_rate * own / 1e6
    at_once = demand.working_rate * cost / 1e6
    workers = ceil(at_once / WORKING)
    machines = ceil(workers / MACHINE)
    full = workers * 1e6 / cost
    lasts = demand.backlog / (full - demand.rate) if full > demand.rate else inf
    twice = " x 2 (a backlog is made up for in as long as it took)" if demand.outage else ""
    waits = "" if database == SQLITE else f" + {costs.server_us:g} µs while the server works"
    lines = [
        f"{shown_rate(demand.rate)}{twice} x {own:g} µs = {_cores(busy)} processors at work",
        f"{shown_rate(demand.working_rate)} x ({own:g} µs{waits}) ÷ {WORKING} → {workers:,} (ingest worker "
        "--queue events)",
    ]
    if demand.outage:
        lines.append(
            f"{demand.backlog:,.0f} events ÷ ({shown_rate(full)} - {shown_rate(demand.rate)}) = made up for in "
            f"{shown_span(lasts)}"
        )
    memory = workers * WORKER
    part = Part(
        "workers",
        f"{_many(workers, 'worker')} on {_many(machines, 'machine')}, {shown_size(memory)} of memory",
        tuple(lines),
        {
            "workers": workers, "machines": machines, "processors": busy, "memory_bytes": memory,
            "catch_up_seconds": lasts,
        },
    )  # fmt: skip  # the figures in one row
    then = "the backlog grows in Redis, then in the spool; nothing is lost before both are full"
    return part, Limit("workers", full / demand.rate, shown_rate(full), then)


def _store(demand: Demand, figures: Figures, database: str) -> tuple[Part, list[Limit]]:
    costs = costs_of(database, figures)
    stored, each_writes = costs.stored_bytes, costs.log_bytes + costs.written * costs.stored_bytes
    day = demand.daily * stored
    disk = (
        f"{demand.daily:,.0f} events a day x {stored:g} bytes = {shown_size(day)} a day, x {MONTH} = "
        f"{shown_size(day * MONTH)} a month"
    )
    if database == SQLITE:
        limits = _full(demand, day)
        values = {"servers": 1, "processors": 0.0, "disk_bytes_per_day": day, "disk_bytes_per_month": day * MONTH}
        needs = f"SQLite, a file that grows by {shown_size(day)} a day, {shown_size(day * MONTH)} a month"
        return Part("database", needs, (disk, "its work is in the worker's"), values), limits
    busy = demand.working_rate * costs.server_us / 1e6
    written = demand.working_rate * each_writes
    servers = max(1, ceil(busy / ANSWERING / SERVER), ceil(written / SERVER_WRITES))
    processors = ceil(busy / ANSWERING)
    limits = _full(demand, day, servers)
    full = processors * 1e6 / costs.server_us
    lines = (
        f"{shown_rate(demand.working_rate)} x {costs.server_us:g} µs = {_cores(busy)} processors at work, "
        f"÷ {ANSWERING} → {processors:,}",
        f"{shown_rate(demand.working_rate)} x ({costs.log_bytes:g} of log + {costs.written} x {stored:g}) = "
        f"{shown_size(written)}/s written while a backlog is made up for",
        f"a server of {SERVER} processors that writes {shown_size(SERVER_WRITES)}/s → {servers:,}",
        disk,
    )
    needs = (
        f"{costs.shown}, {_many(servers, 'server')} with {_many(ceil(processors / servers), 'processor')}"
        f"{_each(servers)}, {shown_size(day)} a day, {shown_size(day * MONTH)} a month"
    )
    values = {
        "servers": servers, "processors": busy, "processors_needed": processors,
        "written_bytes_per_second": written,
        "disk_bytes_per_day": day, "disk_bytes_per_month": day * MONTH,
    }  # fmt: skip  # the figures in one row
    limits.append(
        Limit(
            "the database's processors",
            full / demand.rate,
            shown_rate(full),
            "commits take longer and the backlog grows: more processors for it, not more workers",
        )
    )
    at = servers * SERVER_WRITES / each_writes
    then = "commits wait for the disk, and the backlog grows"
    limits.append(Limit("the database's disk", at / demand.rate, shown_rate(at), then))
    return Part("database", needs, lines, values), limits


def _full(demand: Demand, day: float, servers: int = 1) -> list[Limit]:
    """When disks of that size are full: at so many times of a month."""
    if demand.disk is None:
        return []
    days = demand.disk * servers / day
    at = f"{shown_span(days * 86400)} of events"
    then = "nothing is stored any more, and the backlog grows: set INGEST_RETENTION_DAYS before that"
    return [Limit(DISK_SPACE, days / MONTH, at, then)]


def _handlers(demand: Demand, figures: Figures) -> tuple[Part, Limit]:
    calls = demand.working_rate * demand.handlers
    busy = calls * figures.handler_us / 1e6
    workers = ceil(busy / WORKING)
    full = workers * 1e6 / figures.handler_us / demand.handlers
    part = Part(
        "handlers",
        f"{_many(workers, 'worker')} and what your code itself takes, {shown_size(workers * WORKER)} of memory",
        (
            f"{shown_rate(demand.working_rate)} x {_many(demand.handlers, 'handler')} x {figures.handler_us:g} µs "
            f"= {_cores(busy)} processors at work",
            f"{_cores(busy)} ÷ {WORKING} → {workers:,} (ingest worker --queue handlers)",
        ),
        {"workers": workers, "processors": busy, "memory_bytes": workers * WORKER},
    )
    return part, Limit("handlers", full / demand.rate, shown_rate(full), "what is due waits in the database")


def _network(demand: Demand, figures: Figures) -> Part:
    bits = demand.rate * figures.call_bytes * 8
    shown = next(f"{bits / of:,.3g} {unit}" for of, unit in SPEEDS if bits >= of or of == 1)
    line = f"{shown_rate(demand.rate)} x {figures.call_bytes:g} bytes x 8 = {shown}"
    return Part("network", f"{shown} at the endpoints", (line,), {"bits_per_second": bits})


def _whole(parts: list[Part]) -> Part:
    busy = [part.values["processors"] for part in parts if "processors" in part.values]
    processors, memory = sum(busy), sum(part.values.get("memory_bytes", 0.0) for part in parts)
    line = f"{' + '.join(f'{_cores(each)}' for each in busy)} = {_cores(processors)} processors at work"
    return Part(
        "in all",
        f"{_cores(processors)} processors at work, {shown_size(memory)} of memory beside the database's own",
        (line,),
        {"processors": processors, "memory_bytes": memory},
    )


def _notes(demand: Demand, parts: list[Part]) -> tuple[str, ...]:
    """What the arithmetic does not say."""
    values = {part.name: part.values for part in parts}
    notes = []
    if values["endpoint"]["processes"] == 1:
        notes.append(
            "Two endpoint processes, better on two machines, if one is to be replaced while the other takes calls."
        )
    if values["in all"]["memory_bytes"] <= 512e6 and values["workers"]["workers"] == 1:
        notes.append("All of it fits into one machine with 512 MB: `ingest all`.")
    if (servers := values["Redis"]["servers"]) > 1:
        notes.append(f"Redis: {servers:,.0f} independent servers, not a cluster: INGEST_STREAM_URLS names them.")
    if values["database"]["servers"] > 1:
        notes.append(
            f"One installation has one database: divide the accounts among {values['database']['servers']:,.0f} "
            "installations, each with its share of everything above."
        )
    if values["workers"]["workers"] > COUNTING_AT_ONCE:
        notes.append(
            f"More than {COUNTING_AT_ONCE} workers that commit at the same moment wait for each other while they "
            "count; what was measured is four of them, and beyond that this is arithmetic."
        )
    return tuple(notes)


def _check_disk(demand: Demand, figures: Figures) -> None:
    if demand.disk is None:
        return
    log = demand.backlog * figures.log_bytes * LOG_TWICE
    if log / max(1, ceil(demand.backlog * figures.stream_bytes / BACKLOG_SHARE / demand.memory)) > demand.disk:
        raise SettingsError(
            f"An outage of {shown_span(demand.outage)} leaves {shown_size(log)} in Redis' append-only files, more "
            f"than a disk of {shown_size(demand.disk)} holds: plan for a shorter one, or name a larger --disk."
        )


def _database(demand: Demand, figures: Figures) -> str:
    most = WORKING * 1e6 / figures.sqlite_us
    if demand.database == SQLITE and demand.working_rate > most:
        raise SettingsError(
            f"SQLite has one writer at a time, which stores {shown_rate(most)} here, and this takes "
            f"{shown_rate(demand.working_rate)}: plan with --database postgresql."
        )
    if demand.database is not None:
        return demand.database
    small = demand.daily * MONTH * figures.sqlite_bytes <= SQLITE_MONTH
    return SQLITE if small and demand.working_rate <= most else POSTGRESQL


def _each(number: float) -> str:
    return " each" if number > 1 else ""


def _disk(size: float) -> str:
    return f" and {shown_size(size)} of disk" if size >= 1e6 else ""


def _cores(processors: float) -> str:
    if processors >= 100:
        return f"{processors:,.0f}"
    return f"{processors:.3g}" if processors >= 0.001 else "under 0.001"


def _many(number: float, one: str, many: str = "") -> str:
    return f"{number:,.0f} {one if number == 1 else many or one + 's'}"
