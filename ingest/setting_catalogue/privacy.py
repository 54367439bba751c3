"""The settings of what is kept of people, and for how long."""

from ingest.setting_catalogue.setting import COMMANDS, CONSOLE, EVENTS, HANDLERS, Setting

PEOPLE = (
    Setting(
        "INGEST_RETENTION_DAYS",
        "How long events are kept. Older ones are deleted once a day, with what else holds personal data; 0 "
        "keeps them for ever.",
        "Too low: events are gone for good, except as far as Copernica's log files still have them. Not set: "
        "personal data is kept for ever, which `ingest check` calls a risk (`retention-off`).",
        (EVENTS, CONSOLE, COMMANDS),
        "400",
        unit="days",
    ),
    Setting(
        "INGEST_RETENTION_TYPES",
        "How many days events of some types are kept, where that is fewer than of all others.",
        "Too low: those events are gone for good, and so are they from the figures of mailings. More days than "
        "`INGEST_RETENTION_DAYS`: nothing starts.",
        (EVENTS, CONSOLE, COMMANDS),
        "open=90,click=90",
        unset="all types alike",
    ),
    Setting(
        "INGEST_PSEUDONYMISE",
        "What is stored as pseudonyms: `recipient` (every e-mail address, wherever it stands in a call), `ip`, or "
        "both (docs/how-to/pseudonymise.md).",
        "Set for some workers only: the others store nothing, and say so. Not set: addresses are stored.",
        (EVENTS, HANDLERS, CONSOLE, COMMANDS),
        "recipient,ip",
        unset="nothing",
    ),
    Setting(
        "INGEST_PSEUDONYM_KEY",
        "The key of pseudonyms: 32 random bytes or more, as `openssl rand -hex 32` prints them. Several, with "
        "commas: the first makes new pseudonyms, and people are found by those of all.",
        "Another one than the other workers have: nothing is stored, and nobody is found by an address. Lost: "
        "nobody can ever be found by an address again. Whoever has it can try addresses on pseudonyms.",
        (EVENTS, HANDLERS, CONSOLE, COMMANDS),
        unset="none: nothing can be pseudonymised",
    ),
    Setting(
        "INGEST_PSEUDONYMISE_HANDLERS",
        "Whether handlers, forward targets and other receivers get pseudonyms, too.",
        "`off`: calls wait for handlers, and as dead letters, with addresses in them. `on`, where a receiver "
        "needs addresses or checks the signature of Copernica: it gets neither.",
        (EVENTS, HANDLERS, COMMANDS),
        "off",
    ),
)
