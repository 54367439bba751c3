"""Everything that this program says "no" with.

    IngestError                 one sentence for a person; never a traceback
    ├── SettingsError           a setting is missing or wrong                   exit code 2
    ├── Unavailable             something we depend on does not answer          exit code 1
    │   ├── NoStoreYet          there is no database where one is expected, or no tables in it
    │   ├── WrongSchema         its tables are of another release
    │   ├── Away                Redis is there no more, or not yet
    │   ├── BufferFull          neither Redis nor the spool could confirm the write
    │   └── SpoolFailed         the spool is full, or its disk failed
    ├── Refused                 the database does not take what it was given, and would not the next time
    ├── KeyUnavailable          DNS does not say what a public key is, nor that there is none
    ├── Occupied                a port or a folder is in use by somebody else   exit code 1
    ├── RestError               a call to Copernica's REST API came to nothing
    │   ├── WrongToken          it does not take COPERNICA_TOKEN
    │   ├── NoRights            it does, but the token may not do this
    │   ├── NotThere            there is no such file or webhook
    │   ├── Declined            Copernica refuses for a reason of its own, or answers what cannot be read
    │   ├── Unreachable         no answer, or only errors, however often it was tried
    │   └── OutcomeUnknown      it was not answered, and may have been done all the same
    ├── BatchError              a stream entry that `pack` did not make
    ├── Undecodable             a body that is neither a form nor a JSON object
    └── LogFileError            a file that is none of Copernica's log files

This module imports nothing of ours.
"""


class IngestError(Exception):
    """Base of all errors of this program: its text is one sentence that says what to do."""

    #: What the process ends with when this error reaches the command line.
    exit_code = 1


class SettingsError(IngestError):
    """A setting is missing or has a value that cannot be used."""

    exit_code = 2


class Unavailable(IngestError):
    """A server or a folder that we depend on cannot be reached or used."""


class SchemaMissing(Unavailable):
    """There is no database, or no tables in it; `ingest db upgrade` makes them."""


class SchemaMismatch(Unavailable):
    """The tables are of an older or newer release."""


class RowsRejected(IngestError):
    """The database does not take some row of those that it was given: trying again will not help."""


class RedisUnavailable(Unavailable):
    """Redis does not answer, or not yet: it may come back by itself."""


class WriteUnconfirmed(Unavailable):
    """A batch was refused, or not confirmed in time: nothing may be acknowledged."""


class SpoolFailed(Unavailable):
    """The spool is full, or its disk failed or took too long: nothing is certain to be in it."""


class KeyUnavailable(IngestError):
    """A public key cannot be had at the moment: what it signed is neither true nor false yet."""


class AddressInUse(IngestError):
    """A port or a data folder is already in use."""


class RestError(IngestError):
    """A call to Copernica's REST API came to nothing."""


class InvalidToken(RestError):
    """Copernica gives no access for the API token, or takes it back at once."""


class Forbidden(RestError):
    """The API token is good, but not for this."""


class NotFound(RestError):
    """Copernica has no such log file or webhook."""


class RequestRejected(RestError):
    """Copernica refuses what it was asked, or answers with something that its documentation does not know."""


class Unreachable(RestError):
    """Copernica did not answer, or had errors of its own, as often as it was tried."""


class OutcomeUnknown(RestError):
    """The connection was lost after something was asked that must not be asked twice."""


class BatchError(IngestError):
    """Bytes that are not a packed batch: damaged, cut off, of another version or not ours at all."""


class Undecodable(IngestError):
    """A body that cannot be read as an event; `str(error)` is the reason kept in quarantine."""


class LogFileError(IngestError):
    """A file of which cannot be told what kind of log file it is, or of which day."""
