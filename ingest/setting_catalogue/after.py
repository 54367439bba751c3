"""What events go on to, Copernica's API, and what people look at: alerts, metrics, the console."""

from ingest.setting_catalogue.setting import ALL, COMMANDS, CONSOLE, ENDPOINT, EVENTS, HANDLERS, WORKERS, Setting

_HANDLING = (*WORKERS, CONSOLE, COMMANDS)
_RECOVERING = (ENDPOINT, EVENTS, CONSOLE, COMMANDS)

RECEIVERS = (
    Setting(
        "INGEST_HANDLERS",
        "Your Python modules with handlers. All workers need it, whatever their queue: those for events decide "
        "what is handed on.",
        "A module that cannot be imported: workers for handlers do not start, and `ingest check` shows the error "
        "(`handlers-broken`). Not set for workers for events: what is stored meanwhile is handed to nobody; "
        "`ingest replay` does that later.",
        _HANDLING,
        "myapp.handlers,myapp.statistics",
    ),
    Setting(
        "INGEST_FORWARD_URL",
        "Scripts that every call is passed on to, with options after a `#`: "
        "`types=open|click&rate=50/s&concurrency=4`. The endpoint needs it, too, since it keeps the headers then.",
        "A URL that cannot be reached, or answers no 2xx: calls are tried again and end as dead letters, which "
        "`ingest failed retry` sends again. Not set for the endpoint: the script gets no Signature header.",
        (ENDPOINT, *_HANDLING),
        "https://example.nl/copernica.php#types=open|click&rate=50/s",
    ),
    Setting(
        "INGEST_FORWARD_SECRET",
        "What signs forwarded calls by the rules of Standard Webhooks: base64, as in `whsec_…`. Several, with "
        "commas, sign each call with all of them, while receivers change from one to the next.",
        "The script cannot tell our calls from others, or refuses them: they become dead letters. Not set: calls "
        "go unsigned (`forward-unsigned`).",
        (HANDLERS, COMMANDS),
    ),
    Setting(
        "INGEST_CLICKHOUSE_URL",
        "The table of ClickHouse that events are put into: `https://user:password@host:8443/database/table`, "
        "with options after a `#`.",
        "Events wait for it and are tried again; after the last attempt they are dead letters. `ingest check` "
        "tries it out (`sink-fails`).",
        _HANDLING,
        "https://ingest:secret@clickhouse.example.nl:8443/marketing/events",
    ),
    Setting(
        "INGEST_KAFKA_URL",
        "The topic of Kafka that events are written to: `kafka+ssl://user:password@host:9093/topic`, with "
        "options after a `#`. It needs the extra `kafka`.",
        "Events wait for it and are tried again; after the last attempt they are dead letters. `ingest check` "
        "tries it out (`sink-fails`).",
        _HANDLING,
        "kafka+ssl://ingest:secret@kafka.example.nl:9093/events",
    ),
    Setting(
        "INGEST_EXPORT_TO",
        "Where days are exported to, each by itself once it is over: a folder, or `s3://bucket/prefix`.",
        "Days wait and are tried again; `ingest status` says how far they are behind (`export-behind`), `ingest "
        "check` tries to write (`export-fails`).",
        (ENDPOINT, EVENTS, COMMANDS),
        "s3://example-events/copernica",
    ),
    Setting(
        "INGEST_EXPORT_FORMAT",
        "As what days are exported. `parquet` needs the extra `parquet`.",
        "Another than before: later days have another format than earlier ones, in the same place.",
        (EVENTS, COMMANDS),
        "parquet",
    ),
)

API = (
    Setting(
        "COPERNICA_TOKEN",
        "A token for Copernica's REST API: for gaps, log files, totals and webhooks.",
        "Not set: what is missed while the endpoint is away stays missing (`token-missing`). Refused or without "
        "rights: days are not complete, and gaps stay open (`token-refused`, `token-no-logfiles`); webhooks go "
        "on.",
        _RECOVERING,
    ),
    Setting(
        "COPERNICA_API_URL",
        "Where Copernica's REST API is.",
        "Nothing can be recovered (`api-fails`). Whoever runs that host sees the token.",
        (EVENTS, HANDLERS, COMMANDS),
        "https://api.copernica.com/v4",
    ),
    Setting(
        "COPERNICA_AUTH_URL",
        "Where the token is exchanged for access to the API.",
        "Nothing can be recovered (`api-fails`). Whoever runs that host sees the token.",
        (EVENTS, HANDLERS, COMMANDS),
        "https://authenticate.copernica.com",
    ),
    Setting(
        "INGEST_SMTPETER_TOKEN",
        "A token for SMTPeter's API: for its log files and for `ingest events-of`.",
        "Set, but refused: days are not complete, since SMTPeter's half is missing (`token-refused`).",
        _RECOVERING,
    ),
    Setting(
        "INGEST_SMTPETER_URL",
        "Where SMTPeter's API is.",
        "SMTPeter's half of the days is missing (`api-fails`). Whoever runs that host sees the token.",
        (EVENTS, COMMANDS),
        "https://www.smtpeter.com/v1",
    ),
    Setting(
        "INGEST_RECONCILE_AT",
        "The time of day, in UTC, from which yesterday's log files are compared with the store; `off`: never.",
        "Too early: Copernica does not have the files yet, and the day is tried again. `off`: gaps in which "
        "results tell too little stay.",
        (ENDPOINT, EVENTS, COMMANDS),
        "04:00",
    ),
    Setting(
        "INGEST_CATCH_UP",
        "Whether gaps are filled from Copernica's results, minutes after they end.",
        "`off`: gaps are filled by log files only, a day later.",
        (ENDPOINT, EVENTS, CONSOLE),
        "on",
    ),
    Setting(
        "INGEST_CATCH_UP_PROFILES",
        "Whether recipients that results do not tell are looked up in their profiles, one call to Copernica for "
        "each.",
        "`on` with a large gap: many calls of the account's allowance are used up, and others of your programs "
        "may be refused by Copernica meanwhile.",
        (EVENTS, COMMANDS),
        "off",
    ),
    Setting(
        "INGEST_AUDIT_MAILINGS",
        "Whether Copernica's totals of each mailing are compared with the store, too, once a day's log files are.",
        "`off`: events that both webhook and log file lack are noticed by nobody.",
        (EVENTS, COMMANDS),
        "on",
    ),
    Setting(
        "INGEST_LOGFILE_TZ",
        "The time zone of the times in Copernica's log files, and in its results.",
        "Events are looked for at another hour. An offset of whole hours is measured and allowed for where a day "
        "has enough events, and told as a clock offset; where it has few, they are stored a second time.",
        (EVENTS, COMMANDS),
        "Europe/Amsterdam",
    ),
)

WATCHED = (
    Setting(
        "LOG_LEVEL",
        "From which level on the log tells.",
        "`error`: warnings that come before a loss are not told. `debug`: the log of a busy endpoint becomes "
        "large, and shows more of what was sent.",
        ALL,
        "info",
    ),
    Setting(
        "LOG_FORMAT",
        "What log lines are: text for people, or JSON, one object on each line, for whatever collects them.",
        "The collector shows lines as they are, without fields.",
        ALL,
        "json",
    ),
    Setting(
        "INGEST_ALERT_URL",
        "Where alerts are posted to, as JSON; the URL may be a secret.",
        "Nobody is told what is wrong. `ingest alert test` sends one and says what was answered.",
        (ENDPOINT, EVENTS, COMMANDS),
        "https://alerts.example.nl/hooks/4711",
    ),
    Setting(
        "INGEST_ALERT_SMTP",
        "By which server, from which address and to which ones alerts are mailed: "
        "`smtp://user:password@host:587?from=…&to=…`, `smtps://` for TLS from the start.",
        "Nobody is told what is wrong. `ingest alert test` sends one and says what was answered.",
        (ENDPOINT, EVENTS, COMMANDS),
        "smtp://ingest:secret@mail.example.nl:587?from=ingest@example.nl&to=you@example.nl",
    ),
    Setting(
        "INGEST_ALERT_AGE",
        "How long the oldest event may wait to be stored before that is an alarm.",
        "Too small: an alarm at every large mailing. Too large: workers that have stopped are noticed late; "
        "nothing is lost meanwhile.",
        (ENDPOINT, EVENTS, CONSOLE, COMMANDS),
        "300",
        unit="seconds",
    ),
    Setting(
        "SENTRY_DSN",
        "The Sentry project that errors are reported to. It needs the extra `sentry`, whose library reads more: "
        "`SENTRY_ENVIRONMENT`, `SENTRY_RELEASE` and others.",
        "Errors are in the log only. Without the extra nothing starts that has it set.",
        (ENDPOINT, *WORKERS, CONSOLE),
        "https://0123456789abcdef@sentry.example.nl/1",
    ),
    Setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "The OpenTelemetry collector that traces are sent to, over HTTP. It needs the extra `otel`, whose "
        "library reads more: `OTEL_TRACES_SAMPLER` and others.",
        "Traces are thrown away, with a warning in the log now and then. Without the extra nothing starts that "
        "has it set.",
        (ENDPOINT, *WORKERS),
        "http://127.0.0.1:4318",
    ),
)

METRICS = (
    Setting(
        "INGEST_METRICS_PORT",
        "Where metrics are shown, by a process of its own; `off`: nowhere. Processes on one machine that have "
        "the same take the next free port each, so give kinds of processes ports that are apart.",
        "That of the calls is refused. If another program has it, the next free one is taken and named in the "
        "log: Prometheus then asks the wrong one.",
        (ENDPOINT, *WORKERS, COMMANDS),
        "9464",
        unset="off",
    ),
    Setting(
        "INGEST_METRICS_HOST",
        "The address of this machine at which metrics are shown; in a container `0.0.0.0`.",
        "The default in a container: Prometheus gets no answer. Open to everyone without a token: anybody can "
        "read how much you mail, but no event.",
        (ENDPOINT, *WORKERS, COMMANDS),
        "0.0.0.0",
    ),
    Setting(
        "INGEST_METRICS_TOKEN",
        "What has to be sent as a Bearer token to see metrics.",
        "Prometheus is answered 401.",
        (ENDPOINT, *WORKERS, COMMANDS),
        unset="nothing has to be sent",
    ),
)

CONSOLE_ITSELF = (
    Setting(
        "INGEST_CONSOLE_HOST",
        "The address at which the console is shown.",
        "One that others can reach, without passwords or a proxy that has people sign in: the console does not "
        "start.",
        (CONSOLE,),
        "0.0.0.0",
    ),
    Setting(
        "INGEST_CONSOLE_PORT",
        "Its port; `off`: `ingest dev` and `ingest all` start none.",
        "The console does not start if another program has it; all else goes on.",
        (CONSOLE,),
        "8001",
    ),
    Setting(
        "INGEST_CONSOLE_PASSWORD",
        "What those type who may act in the console: 12 characters or more, or their hash, as `ingest console "
        "hash-password` prints it.",
        "A short one is a mistake, and nothing starts. Whoever has it can see and erase persons, and replay "
        "events.",
        (CONSOLE,),
    ),
    Setting(
        "INGEST_CONSOLE_READ_PASSWORD",
        "What those type who may only look.",
        "A short one is a mistake, and nothing starts. Whoever has it can see personal data.",
        (CONSOLE,),
    ),
    Setting(
        "INGEST_CONSOLE_SECRET",
        "What signs the console's sessions: 32 random characters or more.",
        "Not set, or changed: everybody signs in again after each start. Whoever has it can sign in as anybody.",
        (CONSOLE,),
        unset="made anew at each start",
    ),
    Setting(
        "INGEST_CONSOLE_AUTH_HEADER",
        "The header in which a proxy that has people sign in names them.",
        "Nobody is let in. It counts only from the addresses in `INGEST_CONSOLE_PROXIES`.",
        (CONSOLE,),
        "X-Forwarded-User",
    ),
    Setting(
        "INGEST_CONSOLE_PROXIES",
        "The addresses or networks of such proxies.",
        "One is missing: nobody is let in through it. A network that is too wide: whoever is in it can name "
        "themselves as anybody.",
        (CONSOLE,),
        "10.0.0.7,10.1.0.0/16",
    ),
    Setting(
        "INGEST_CONSOLE_OPERATORS",
        "Those whom the proxy names that may act.",
        "Somebody is missing: they can only look. Not set: everybody whom the proxy names may act.",
        (CONSOLE,),
        "anna,j.de.vries",
        unset="all whom the proxy names",
    ),
)
