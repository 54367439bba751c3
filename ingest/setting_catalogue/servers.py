"""Where Redis, the database and our own files are."""

from ingest.setting_catalogue.setting import ALL, COMMANDS, CONSOLE, WORKERS, Setting

REDIS = (
    Setting(
        "REDIS_URL",
        "Where the stream and the job queues are: `redis://`, `rediss://` for TLS, `unix://`, or "
        "`redis+sentinel://` with several hosts. Options follow a `?`: `client_name`, `db`, `username`, "
        "`password`; by TCP `socket_keepalive`; with `rediss://` those of TLS that begin with `ssl_`. Others "
        "that redis-py knows are left out, unknown ones refused. In a password `/`, `?`, `#` and `@` are written "
        "as `%2F`, `%3F`, `%23` and `%40`.",
        "The endpoint starts all the same if it has a spool, and keeps calls there; workers do not start, and "
        "`ingest status` ends with 2. Endpoint and workers with two different servers both run without an error, "
        "and nothing is stored: the backlog of the one grows.",
        ALL,
        "redis://ingest:secret@10.0.0.5:6379/0",
        unset="the server of an `ingest dev` or `ingest all` that runs in the data folder",
    ),
    Setting(
        "REDIS_TLS_URL",
        "The same server with TLS, as some hosts name it. It is used if `REDIS_URL` is not set, or leads to the "
        "same host without TLS.",
        "As for `REDIS_URL`. One that names another host than `REDIS_URL` is not used at all.",
        ALL,
        "rediss://:secret@redis.example.nl:6380",
    ),
    Setting(
        "INGEST_STREAM_URLS",
        "Several independent servers that calls are written to, each with a partition of its own and written as "
        "`REDIS_URL` is, separated by commas. The job queues stay on the server of `REDIS_URL`.",
        "A server that is missing here and has a backlog is not drained: `ingest status` names it "
        "(`stream-left`). Take one out with `ingest streams drain` first. Processes that name different ones "
        "disagree about where calls are, so set the same everywhere.",
        ALL,
        "redis://10.0.0.5:6379/0,redis://10.0.0.6:6379/0",
        unset="that of `REDIS_URL` alone",
    ),
    Setting(
        "INGEST_REDIS_TLS",
        "How a server with `rediss://` proves who it is: `verify` (by a certificate of a known authority), "
        "`ca:/path/to/ca.pem` (by one of that authority), or `no-verify` (not at all, as on Heroku).",
        "Redis is treated as away if its certificate is not accepted: calls go to the spool, and workers do not "
        "start. With `no-verify` whoever sits in between can read and change events (`unverified-redis`).",
        ALL,
        "ca:/etc/ingest/redis-ca.pem",
        unset="as the URL says, else `verify`",
    ),
    Setting(
        "INGEST_REDIS_CERT",
        "A file with the certificate by which Redis knows us, in PEM.",
        "Redis is treated as away: calls go to the spool, and workers do not start.",
        ALL,
        "/etc/ingest/redis-client.pem",
    ),
    Setting(
        "INGEST_REDIS_KEY",
        "The file with the key of that certificate, in PEM, if it is not in the same file.",
        "A key without a certificate is a mistake, and nothing starts. One that does not fit: Redis is treated "
        "as away.",
        ALL,
        "/etc/ingest/redis-client.key",
    ),
)

DATABASE = (
    Setting(
        "DATABASE_URL",
        "Where events are stored: `sqlite:///file`, `postgresql://user:password@host/database` or "
        "`mysql://user:password@host/database` (MariaDB). PostgreSQL with standbys may name several hosts.",
        "Workers do not start, or store nothing until it answers; calls are taken and acknowledged meanwhile, "
        "and wait in Redis. A wrong but working database is refused as soon as this Redis has been used with "
        "another one (`other-database`).",
        ALL,
        "postgresql://ingest:secret@10.0.0.7:5432/ingest",
        unset="`ingest.db`, an SQLite file in the data folder",
    ),
    Setting(
        "INGEST_DATA_DIR",
        "Where `ingest dev` and `ingest all` keep everything: their Redis, their database, the spool. Other "
        "commands look there for what runs, and for the spool.",
        "Commands see another, empty installation, or say that nothing runs there. An endpoint that was started "
        "in another folder than usual leaves the calls in its old spool where they are, until one is started "
        "there.",
        ALL,
        "/var/lib/ingest",
    ),
    Setting(
        "INGEST_TZ",
        "The time zone of times that people type and are shown, on the command line and in the console. JSON and "
        "CSV are always in UTC.",
        "Times are shown and read in another zone; nothing that is stored changes. A name that does not exist is "
        "a mistake, and nothing starts.",
        (CONSOLE, COMMANDS),
        "Europe/Amsterdam",
    ),
    Setting(
        "INGEST_ENV_FILE",
        "A file with more settings, as `--env-file` names it; what the environment sets wins. `off`: none, not "
        "even `.env`.",
        "Nothing starts if it is named and cannot be read. Of a `.env` in a folder that one is not in, nothing "
        "is said: `ingest config` shows where each value comes from.",
        ALL,
        "/etc/ingest.env",
        unset="`.env` in the working directory, if it is there",
    ),
    Setting(
        "INGEST_ALLOW_ROOT",
        "`on` lets workers run as root. They run your code, so they refuse that otherwise.",
        "Workers started by root end with a sentence that says so.",
        WORKERS,
        "on",
    ),
)
