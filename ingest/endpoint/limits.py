"""What one endpoint process takes, and for how long it waits."""

#: Seconds within which the head of a request must have come in, from its first byte …
HEAD_DEADLINE = 10.0
#: … and its body.
BODY_DEADLINE = 30.0
#: Seconds that an idle connection is kept open; longer than the 60 s of common load balancers, so that it is they
#: who close and never a request that meets a closing door.
KEEPALIVE = 75.0
#: Seconds that the rest of a refused body is read and thrown away, so that the sender gets to see the answer.
LINGER = 2.0
#: Connections per process; further ones are turned away. Copernica needs some dozens.
MAX_CONNECTIONS = 4096
#: Connections that may wait to be accepted, per process; the system has a limit of its own (somaxconn).
LISTEN_BACKLOG = 2048
#: Bytes of bodies held in memory at once, per process, before calls are turned away.
MAX_HELD = 256 * 1024 * 1024
#: Seconds that a call waits for its key to be looked up, before it is kept as unverified.
KEY_WAIT = 2.0
#: Seconds after which a sender that could not be served may try again.
RETRY_AFTER = 5
#: Seconds that Redis may take to answer `/readyz`.
READY_TIMEOUT = 1.0
