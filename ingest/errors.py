"""All errors of this program, in one tree.

    IngestError                 one sentence for a person, never a traceback    exit code 1
    ├── SettingsError           a setting is missing or wrong                   exit code 2
    ├── Unavailable             a server or a folder we depend on cannot be used
    │   ├── RedisUnavailable    Redis does not answer
    │   ├── WriteUnconfirmed    neither Redis nor the spool confirmed a write
    │   │   ├── ServerDrained   this stream server is to be emptied, and takes no more
    │   │   └── ServerForeign   this stream server is another database's
    │   ├── SpoolFailed         the spool is full, or its disk failed
    │   ├── SchemaMissing       there is no database, or it has no tables
    │   ├── SchemaMismatch      its tables belong to another release
    │   │   └── SchemaOlder     they belong to an older one
    │   ├── OtherDatabase       what is in Redis is for another one
    │   ├── OtherKey            the database has pseudonyms that were made with another key
    │   ├── TookTooLong         the database was not done when the time for it was up
    │   ├── Collided            two transactions were in each other's way; a new one will do
    │   ├── Undelivered         nobody took an alert
    │   └── Interrupted         this process was asked to stop before it was done
    ├── AddressInUse            a port or a data folder is in use
    ├── CallRejected            a call does not come from Copernica
    ├── KeyUnavailable          DNS does not answer what a public key is
    ├── RowsRejected            the database will never accept a row
    ├── RestError               a call to Copernica's REST API failed
    │   ├── InvalidToken        Copernica does not accept COPERNICA_TOKEN
    │   ├── Forbidden           it does, but the token may not do this
    │   ├── NotFound            there is no such thing
    │   │   └── LogFilesGone    Copernica has deleted the log files of a day
    │   ├── RequestRejected     Copernica rejects the request, or its answer cannot be read
    │   │   └── AnswerTooLarge  it answers more than fits: ask for less at once
    │   ├── Unreachable         no answer, or only errors, on every attempt
    │   └── OutcomeUnknown      no answer, and the request may have been carried out
    ├── BatchError              a stream entry that `pack` did not make
    ├── Undecodable             a body that is neither a form nor a JSON object
    └── LogFileError            a file that is not one of Copernica's log files

What a caller turns down is *rejected*; what may succeed later is *unavailable*. Exceptions that never leave the
package that raises them are defined there and do not belong to this tree, nor do `GiveUp` and `TryLater`, by which
users' handlers talk to us (`workers.handlers.registry`). This module imports nothing of ours.
"""

from enum import StrEnum


class IngestError(Exception):
    """Base of all errors of this program: its text is one sentence that says what to do."""

    #: What the process ends with when this error reaches the command line.
    exit_code = 1


class SettingsError(IngestError):
    """A setting is missing or has a value that cannot be used."""

    exit_code = 2


class Unavailable(IngestError):
    """A server or a folder that we depend on cannot be reached or used."""


class RedisUnavailable(Unavailable):
    """Redis does not answer, or not yet: it may come back by itself."""


class WriteUnconfirmed(Unavailable):
    """A batch was rejected, or not confirmed in time: its calls must not be acknowledged."""

    #: How a server is shown that said this and nothing worse; empty: it failed.
    state = ""


class ServerDrained(WriteUnconfirmed):
    """A stream server is to be emptied (`ingest streams drain`): it has nothing of the batch."""

    state = "drained"


class ServerForeign(WriteUnconfirmed):
    """A stream server is another database's, whose workers would store the calls: it has nothing of the batch."""

    state = "foreign"


class SpoolFailed(Unavailable):
    """The spool is full, or its disk failed or took too long: the batch may or may not be in it."""


class SchemaMissing(Unavailable):
    """There is no database, or it has no tables; `ingest db upgrade` creates them."""


class SchemaMismatch(Unavailable):
    """The tables belong to an older or newer release."""


class SchemaOlder(SchemaMismatch):
    """The tables belong to an older release; `ingest db upgrade` brings them up to date."""


class OtherDatabase(Unavailable):
    """What is in this Redis is for another database: events would be stored in two, some in each."""


class OtherKey(Unavailable):
    """The pseudonyms in this database are of another key than ours, or we have none: nothing is stored."""


class TookTooLong(Unavailable):
    """The database was still at work when the time that somebody gave it was up; it has stopped."""


class Collided(Unavailable):
    """The database has undone a transaction in favour of another: done again, the same may well succeed."""


class Undelivered(Unavailable):
    """An alert was not taken; what it says is without the URL, which may be a secret."""


class Interrupted(Unavailable):
    """This process was asked to stop before it was done; the next run does the rest."""


class AddressInUse(IngestError):
    """A port or a data folder is already in use."""


class Reason(StrEnum):
    """Why a call is rejected: a closed list, fit for counters; the caller is not told."""

    NO_SIGNATURE = "no-signature"
    BAD_SIGNATURE_HEADER = "bad-signature-header"
    REPEATED = "repeated-header"
    BAD_DATE = "bad-date"
    TOO_OLD = "too-old"
    TOO_NEW = "too-new"
    WRONG_HOST = "wrong-host"
    WRONG_ACCOUNT = "wrong-account"
    BAD_DIGEST = "bad-digest"
    WRONG_DIGEST = "wrong-digest"
    NOT_COVERED = "not-covered"
    ABSENT_HEADER = "absent-header"
    BAD_KEY_ID = "bad-key-id"
    BAD_ALGORITHM = "bad-algorithm"
    UNKNOWN_KEY = "unknown-key"
    REVOKED_KEY = "revoked-key"
    BAD_KEY = "bad-key"
    WRONG_SIGNATURE = "wrong-signature"


class CallRejected(IngestError):
    """A call does not come from Copernica.

    `reason` says why. `excerpt` is what the call sent where it should have sent something else, shortened and
    escaped for the log.
    """

    #: Bytes of what a call sent that go into the log.
    MAX_EXCERPT = 60

    def __init__(self, reason: Reason, sent: bytes = b"") -> None:
        super().__init__(f"The call was rejected: {reason}.")
        self.reason = reason
        self.excerpt = ascii(sent[: self.MAX_EXCERPT].decode("latin-1")) if sent else ""


class KeyUnavailable(IngestError):
    """A public key cannot be fetched at the moment: what it signed is neither true nor false yet.

    `plausible` says whether the name is likely to have one: it had one before, or DNS as a whole gives no answer.
    Anybody can invent names, so what names any other is not worth keeping.
    """

    def __init__(self, message: str, plausible: bool = False) -> None:
        super().__init__(message)
        self.plausible = plausible


class RowsRejected(IngestError):
    """The database does not accept one of the rows that it was given: trying again will not help."""


class RestError(IngestError):
    """A call to Copernica's REST API failed.

    `status` is that of the answer that says so; None if none came, or none was a refusal.
    """

    def __init__(self, message: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class InvalidToken(RestError):
    """Copernica grants no access for the API token, or withdraws it at once."""


class Forbidden(RestError):
    """The API token is valid, but does not allow this."""


class NotFound(RestError):
    """Copernica has no such log file, webhook, profile or whatever was asked for."""


class LogFilesGone(NotFound):
    """Copernica no longer has log files of that day."""


class RequestRejected(RestError):
    """Copernica rejects a request, or answers something that its documentation does not mention."""


class AnswerTooLarge(RequestRejected):
    """An answer is larger than what is read into memory."""


class Unreachable(RestError):
    """Copernica did not answer, or answered with an error of its own, on every attempt."""


class OutcomeUnknown(RestError):
    """The connection was lost during a request that must not be repeated."""


class BatchError(IngestError):
    """Bytes that are not a packed batch: damaged, cut off, of another version or not ours at all."""


class Undecodable(IngestError):
    """A body that cannot be read as an event; `str(error)` is the reason kept in quarantine."""


class LogFileError(IngestError):
    """A file whose kind or day cannot be determined."""
