"""The limits and timeouts of one endpoint process, and how often it does what is periodic."""

#: Seconds from the first byte of a request within which its head must have arrived …
HEAD_DEADLINE = 10.0
#: … and from then on its body. Copernica needs milliseconds; slow senders must not hold connections for ever.
BODY_DEADLINE = 30.0
#: Seconds between two checks of these deadlines on the fast path, so a deadline is exceeded by at most this.
DEADLINE_CHECK_INTERVAL = 1.0
#: Seconds that an idle connection is kept open; longer than the 60 s of common load balancers, so that they are
#: the ones to close, and a request never meets a connection that we are closing.
KEEPALIVE = 75.0
#: Seconds for which the rest of a rejected body is read and discarded, so that the sender sees the answer.
LINGER = 2.0
#: Seconds that a sender may leave its answers unfetched.
WRITE_DEADLINE = 10.0
#: Bytes of answers that may wait to be fetched before no more is read of that sender.
ANSWERS_MAX = 16 * 1024
#: Bytes of answers that the system may hold for a sender, before we do; left to itself it holds megabytes, which
#: are ten thousands of requests answered for nobody.
SEND_BUFFER = 32 * 1024
#: Bytes that a sender may send ahead of our answers before we stop reading its connection.
AHEAD_MAX = 64 * 1024
#: Connections per process; further ones are turned away. Copernica needs a few dozen.
MAX_CONNECTIONS = 4096
#: Connections that may wait to be accepted, per process; the system may allow fewer (somaxconn).
LISTEN_BACKLOG = 2048
#: Seconds between two searches for connections that can be given up, when there were none.
CROWDED_INTERVAL = 0.1
#: Bytes held in memory at once, per process, before calls are answered 503. A process takes some 90 MB itself, and
#: some five times INGEST_MAX_BODY while it writes a largest body: 384 MiB are enough for all of it, or less where
#: there is less (`ingest.endpoint.memory`).
MAX_HELD = 192 * 1024 * 1024
#: All processes together hold no more than one part in so many of the memory that there is …
MEMORY_PARTS = 4
#: … but each at least so many largest bodies: two that arrive, and two on their way to Redis.
BODIES_HELD = 4
#: Calls that may wait for keys to be looked up: strangers can name keys that take long, and must not get all the
#: places and all the memory by that.
WAITING_MAX = MAX_CONNECTIONS // 2
#: Seconds that a call waits for its key: for a place in the queue of new names, for a lookup, and for a look
#: whether DNS answers at all, which take 2 s each at most.
KEY_WAIT = 7.0
#: Seconds after which a sender that was answered 503 is asked to try again.
RETRY_AFTER = 5
#: Seconds that Redis may take to answer `/readyz`.
READY_TIMEOUT = 1.0
#: Seconds for which a write counts that `/readyz` tried: anybody may ask, and each write waits for a disk.
PROBE_INTERVAL = 1.0

#: Seconds between two rounds of maintenance: waking workers and reporting to `status`. Well below the time after
#: which a process that has not reported counts as gone (`ingest.stream.heartbeats.REPORT_TTL`).
MAINTENANCE_INTERVAL = 3.0
#: Seconds that Redis may take over one step of maintenance; a stop waits for the end of one at most.
MAINTENANCE_TIMEOUT = 1.5
#: Seconds between two log lines about how many calls were taken.
LOG_INTERVAL = 10.0
#: Seconds between two log lines about the same trouble.
WARNING_INTERVAL = 5.0
#: Seconds before replaying goes on after a fault of its own.
REPLAY_AGAIN = 0.1
#: Seconds between two checks of how full Redis is, and of the spool's folder while others have something in it.
CONDITION_INTERVAL = 1.0
#: Seconds between two checks of how full Redis is while nothing is written there.
IDLE_INTERVAL = 3.0
#: Seconds between two checks of the spool's disk; a write that fails is known at once.
DISK_INTERVAL = 5.0
