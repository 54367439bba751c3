"""The names of all Redis keys: known here and nowhere else.

A partition is what these keys hold on one server. There may be several servers (INGEST_STREAM_URLS), and on each
the keys have the same names, so that a server may be named in another place, or at another address. On all of them
are the stream, what is `dead`, `suspects`, `wake`, `counts`, `closed`, `mark`, `clock` and what is tried. All
others are where rq's queues are, and only there. The braces keep them in one slot of a Redis Cluster; p is 0:

    ingest:{p}:stream      stream of packed batches, each in the field `b`; read by the consumer group `drain`
    ingest:{p}:dead        stream of batches that could not be unpacked: fields `b` and `reason`
    ingest:{p}:suspects    hash: how often a batch's drain died, see `ingest.stream.suspects`
    ingest:{p}:wake        string, there while a wake-up is on its way to the workers
    ingest:{p}:closed      string, there while endpoints should write no batch here (`ingest streams drain`)
    ingest:{p}:streams     hash: the servers that have a partition, as JSON, see `ingest.stream.known_streams`
    ingest:{p}:away:S      string, there while the server S did not answer a drain a moment ago
    ingest:{p}:unverified  string, how many calls in the store wait for their signer's key, and their bytes
    ingest:{p}:known-keys  hash: Copernica's public keys by name, as JSON, see `ingest.stream.known_keys`
    ingest:{p}:verify:S    string, there while the last attempt to verify those is younger than S seconds
    ingest:{p}:counts      hash: events ever `accepted`, `drained`, and `doubles` (in the store already)
    ingest:{p}:coverage    hash: what endpoint processes surely took, as JSON, see `ingest.stream.coverage`
    ingest:{p}:gaps        string, there while the last job that looks for gaps is young
    ingest:{p}:reports     hash: what each live process says of itself, as JSON with the time `at`
    ingest:{p}:refusals    hash: a few refused calls of each reason, as JSON, see `ingest.stream.refusals`
    ingest:{p}:daily       string, there while the last daily job is less than a day old
    ingest:{p}:reconcile:D string, there once a job was put on the queue on the day D, and it need not be again
    ingest:{p}:export:D    string, the same of the job that exports days
    ingest:{p}:exported    hash: when days were exported last, see `ingest.stream.exports`
    ingest:{p}:catch-up:S  string, there while the last look for gaps to fill is younger than S seconds
    ingest:{p}:catch-up:waits  string, there while there are gaps that are not filled
    ingest:{p}:mailings:S  string, there while the last job for figures of mailings is younger than S seconds
    ingest:{p}:mailings:waits, …:rests  strings, there while events were stored since; while none is to begin
    ingest:{p}:unknown-jobs  string, there while the last look for jobs that a worker did not know is recent
    ingest:{p}:handoffs    string, there while handlers have something to do, now or later
    ingest:{p}:hand-on     string, there while the last job that hands on is young
    ingest:{p}:handler:H   string, there while a wake-up for the handler H is on its way
    ingest:{p}:handlers    hash: the handlers that workers have, as JSON, see `workers.handlers.announced`; with
                           `…:told`, there while they were told of a moment ago
    ingest:{p}:turns       hash: when each handler last had its turn on a worker, in µs since 1970
    ingest:{p}:bucket:H    hash: the token bucket of a handler's rate, see `workers.handlers.throttle`
    ingest:{p}:breaker:H   hash: the circuit breaker of a handler's target, see `workers.handlers.throttle`
    ingest:{p}:paused      hash: queues and handlers that are paused by hand, see `ingest.stream.pauses`
    ingest:{p}:probe:…     what is written, and deleted at once, to find out whether Redis takes batches again
    ingest:{p}:trial:…     what `ingest check` writes and deletes at once
    ingest:{p}:mark        hash: which database this is for, and how far both had come (`workers.gaps.lineage`, and
                           `workers.gaps.stream_marks` for the fields that are on each of several servers)
    ingest:{p}:lookout     string, there while the last look for what may be wrong is young
    ingest:{p}:looked      string, there while the last such look of a worker is
    ingest:{p}:alerts      string: what was told, and what the next look compares with, as JSON
    ingest:{p}:told:H:E    string, there while a failure E of the handler H was told in full a while ago
    ingest:{p}:clock       string: the time in ms since 1970 at the last look, see `ingest.stream.setback`
    ingest:{p}:stored      channel on which drains tell the delivery ids of what they have stored
"""

#: Seconds after which a wake-up counts as lost (its sender died before it reached RQ).
WAKE_TTL = 10
#: There while rq was told to start no jobs (`rq suspend`): `rq.suspension.WORKERS_SUSPENDED`.
RQ_SUSPENDED = "rq:suspended"


class Keys:
    """The names of one partition's keys."""

    def __init__(self, partition: int = 0) -> None:
        prefix = f"ingest:{{{partition}}}:"
        self.stream = prefix + "stream"
        self.dead = prefix + "dead"
        self.suspects = prefix + "suspects"
        self.wake = prefix + "wake"
        self.closed = prefix + "closed"
        self.streams = prefix + "streams"
        self.unverified = prefix + "unverified"
        self.known_keys = prefix + "known-keys"
        self.verify = prefix + "verify"
        self.counts = prefix + "counts"
        self.coverage = prefix + "coverage"
        self.gaps = prefix + "gaps"
        self.mark = prefix + "mark"
        self.reports = prefix + "reports"
        self.refusals = prefix + "refusals"
        self.daily = prefix + "daily"
        self.paused = prefix + "paused"
        self.probe = prefix + "probe"
        self.trial = prefix + "trial"
        self.reconcile = prefix + "reconcile"
        self.export = prefix + "export"
        self.exported = prefix + "exported"
        self.catch_up = prefix + "catch-up"
        self.mailings = prefix + "mailings"
        self.unknown = prefix + "unknown-jobs"
        self.lookout = prefix + "lookout"
        self.looked = prefix + "looked"
        self.alerts = prefix + "alerts"
        self.stored = prefix + "stored"
        self.handoffs = prefix + "handoffs"
        self.hand_on = prefix + "hand-on"
        self.turns = prefix + "turns"
        self.handlers = prefix + "handlers"
        self.clock = prefix + "clock"
        self._prefix = prefix

    @property
    def all(self) -> str:
        """A pattern of all of them."""
        return f"{self._prefix}*"

    def away(self, server: str) -> str:
        """That a server did not answer a drain."""
        return f"{self._prefix}away:{server}"

    def handler(self, name: str) -> str:
        """The wake-up of a handler."""
        return f"{self._prefix}handler:{name}"

    def told(self, name: str, error: str) -> str:
        """That a failure of a handler was told in full."""
        return f"{self._prefix}told:{name}:{error}"

    def bucket(self, name: str) -> str:
        """The token bucket of a handler."""
        return f"{self._prefix}bucket:{name}"

    def breaker(self, name: str) -> str:
        """The circuit breaker of a handler."""
        return f"{self._prefix}breaker:{name}"
