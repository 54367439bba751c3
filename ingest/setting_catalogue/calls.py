"""How calls are taken, whose they may be, and what is kept of them while Redis or DNS is away."""

from ingest.setting_catalogue.setting import COMMANDS, CONSOLE, ENDPOINT, EVENTS, Setting

ENDPOINT_ITSELF = (
    Setting(
        "HOST",
        "The address at which the endpoint listens; `0.0.0.0` is every address of the machine.",
        "An address that the machine does not have: the endpoint does not start. The default in a container: "
        "nobody outside gets an answer, and every call is lost until it is recovered.",
        (ENDPOINT, COMMANDS),
        "0.0.0.0",
    ),
    Setting(
        "PORT",
        "The port at which the endpoint listens.",
        "The endpoint does not start if another program has it. If the proxy leads to another one, the proxy "
        "answers 502, and every call is lost until it is recovered.",
        (ENDPOINT, COMMANDS),
        "8000",
    ),
    Setting(
        "WEB_CONCURRENCY",
        "How many endpoint processes share the one port: one for each core that is to take calls.",
        "Too few: calls are answered late, and under a burst 503. Too many for the memory (each takes up to 384 "
        "MiB, or less where a container has less; `ingest serve` says at its start what is too little): the "
        "system kills one, whose calls in hand count as a gap.",
        (ENDPOINT,),
        "2",
    ),
    Setting(
        "INGEST_PATH",
        "Calls to this path, and to every path below it, are taken.",
        "Copernica's calls are answered 404 and lost until they are recovered; `ingest status` counts them. It "
        "must be the path that Copernica calls, since that is signed: a proxy must not rewrite it.",
        (ENDPOINT, COMMANDS),
        "/copernica",
    ),
    Setting(
        "INGEST_MAX_BODY",
        "The largest body of a call. Bounces carry a whole MIME message.",
        "Too small: larger calls are answered 413 and lost; bounces of the Marketing Suite are in no log file "
        "either. The proxy has a limit of its own.",
        (ENDPOINT,),
        "26214400",
        unit="bytes",
    ),
    Setting(
        "INGEST_VALIDATION_FILES",
        "A folder whose files `smtpeter-*.txt` are served, by which SMTPeter validates a domain. They are read "
        "at each request.",
        "The endpoint does not start if it is no folder. Without the file SMTPeter does not begin to call.",
        (ENDPOINT,),
        "/etc/ingest/validation",
    ),
)

ACCEPTED = (
    Setting(
        "INGEST_ACCOUNTS",
        "The accounts whose calls are taken, as in X-Copernica-ID: `account-1234` (or `1234`) and "
        "`environment-12`, which are two different customers even with the same number.",
        "Not set: the endpoint does not start. One is missing: its calls are answered 401 (`wrong-account`) and "
        "are lost until they are recovered. Workers need the same, since they verify what was kept unverified.",
        (ENDPOINT, EVENTS, CONSOLE, COMMANDS),
        "account-1234,environment-12",
    ),
    Setting(
        "INGEST_HOSTS",
        "The Host names that calls may be sent to.",
        "Not set: a call that was meant for another of the account's hosts is taken, too (`hosts-any`). A name "
        "is missing, or the proxy sends another Host on: calls are answered 401 (`wrong-host`) and are lost "
        "until they are recovered.",
        (ENDPOINT, EVENTS, CONSOLE, COMMANDS),
        "hooks.example.nl",
        unset="any",
    ),
    Setting(
        "INGEST_VERIFY",
        "Whether calls must be signed by Copernica. `off` is for closed networks and for experiments.",
        "`off`: whoever can reach the endpoint can add events that nobody can tell from genuine ones "
        "(`signatures-off`).",
        (ENDPOINT, EVENTS, COMMANDS),
        "on",
    ),
    Setting(
        "INGEST_KEYS",
        "Where public keys are: `dns`, or a JSON file of key ids and their DKIM records, for tests and closed "
        "networks.",
        "A file that cannot be read: the endpoint does not start. One that lacks Copernica's key: every call is "
        "answered 401 (`unknown-key`).",
        (ENDPOINT, EVENTS, COMMANDS),
        "/etc/ingest/keys.json",
    ),
    Setting(
        "INGEST_DNS_SERVERS",
        "The resolvers that are asked for public keys, as `address` or `address:port`.",
        "Keys that are known stay valid for a week. After that, and for new keys, calls are kept unverified up "
        "to `INGEST_UNVERIFIED_MAX`, then answered 503 (`dns-silent`). Whoever runs the resolver decides which "
        "keys are genuine.",
        (ENDPOINT, EVENTS, COMMANDS),
        "1.1.1.1,9.9.9.9:53",
        unset="those of the machine",
    ),
    Setting(
        "INGEST_MAX_AGE",
        "How much a call's Date may be off, into the past and into the future.",
        "Too small, or a wrong clock on this machine: genuine calls are answered 401 (`too-old`, `too-new`). Too "
        "large: a call that somebody has recorded can be sent again for longer; it is stored once all the same.",
        (ENDPOINT, EVENTS, COMMANDS),
        "300",
        unit="seconds",
    ),
)

ASIDE = (
    Setting(
        "INGEST_SPOOL_DIR",
        "Where calls are kept while Redis cannot take them: a folder on a local disk, the same at each start. "
        "Empty or `off`: nowhere.",
        "`off`: calls are answered 503 while Redis is away, and are lost until they are recovered (`spool-off`). "
        "A folder that cannot be written: the endpoint does not start. Another one than before: calls in the old "
        "one wait there until an endpoint is started with it.",
        (ENDPOINT, EVENTS, COMMANDS),
        "/var/spool/ingest",
        unset="`spool` in the data folder",
    ),
    Setting(
        "INGEST_SPOOL_DURABLE",
        "Whether the spool's disk outlasts the process: `yes` or `no`. With `no`, calls are answered 503 once "
        "Redis has not taken any for 60 s, instead of being promised.",
        "`yes` on a disk that goes with its container: calls that were answered 200 are lost with it. `no` on "
        "one that stays: a longer outage of Redis costs calls, until they are recovered.",
        (ENDPOINT, COMMANDS),
        "yes",
        unset="`no` on hosts whose disks go with the process, else `yes`",
    ),
    Setting(
        "INGEST_SPOOL_MAX",
        "How much the spool may hold, of all processes that share its folder together.",
        "Too small: calls are answered 503 sooner in an outage. Larger than the disk has room for: `ingest "
        "check` says so (`spool-room`), and the disk may become full for others.",
        (ENDPOINT, COMMANDS),
        "10GiB",
        unit="bytes",
    ),
    Setting(
        "INGEST_BUFFER_MAX",
        "The memory of Redis that the backlog may use before calls go to the spool.",
        "Larger than Redis has: Redis refuses writes by itself, and calls go to the spool then. Too small: calls "
        "go to the spool although Redis has room, and are stored later.",
        (ENDPOINT,),
        "512MiB",
        unit="bytes",
        unset="60 % of Redis's `maxmemory`; without that, no limit",
    ),
    Setting(
        "INGEST_UNVERIFIED_MAX",
        "How much is kept of calls whose signer's key cannot be looked up while DNS is away: what waits in the "
        "database, and what this `ingest serve` has kept that is not there yet.",
        "Too small: genuine calls are answered 503 while DNS is away. Too large: forged ones take up as much of "
        "the database until DNS is back.",
        (ENDPOINT,),
        "256MiB",
        unit="bytes",
    ),
)
