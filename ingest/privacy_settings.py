"""The settings of what is kept of people, and in which form: a part of `ingest.settings`."""

from collections.abc import Collection, Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from ingest.copernica.event_types import EventType
from ingest.errors import SettingsError
from ingest.setting_values import FEWEST_SIGNS, CommaList
from ingest.shown import did_you_mean

#: What may be pseudonymised: e-mail addresses, and the IP addresses of readers.
RECIPIENT, IP = "recipient", "ip"
#: Bytes of a key of pseudonyms: whoever guesses it can tell for each address what its pseudonym is.
SHORTEST_KEY = 32
#: Most days that events can be kept for, if not for ever.
MOST_DAYS = 36_500

_TYPES = tuple(kind.value for kind in EventType)


def _known_parts(parts: tuple[str, ...]) -> tuple[str, ...]:
    for part in parts:
        if part not in (RECIPIENT, IP):
            raise ValueError(f"{part!r} cannot be pseudonymised; write recipient, ip, or both: recipient,ip")
    return tuple(dict.fromkeys(parts))


def _good_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    for number, key in enumerate(keys, 1):
        which = f"of number {number}: " if len(keys) > 1 else ""
        if len(key.encode()) < SHORTEST_KEY or len(set(key)) < FEWEST_SIGNS:
            raise ValueError(f"{which}a key should have {SHORTEST_KEY} random bytes or more: openssl rand -hex 32")
        if not key.isprintable() or " " in key:
            raise ValueError(f"{which}a key should be one word, as openssl rand -hex 32 prints it")
    if len(set(keys)) < len(keys):
        raise ValueError("it has the same key twice; write each once, the one for new pseudonyms first")
    return keys


def _days_of_types(value: object) -> object:
    if not isinstance(value, str):
        return value
    days: dict[str, int] = {}
    for part in filter(None, map(str.strip, value.split(","))):
        name, separator, number = (text.strip() for text in part.partition("="))
        if name not in _TYPES or not separator:
            raise ValueError(
                f"{part!r} is not a type and its days; write open=90,click=90{did_you_mean(name, _TYPES)}"
            )
        if name in days:
            raise ValueError(f"it names {name} twice")
        if not (number.isascii() and number.isdecimal() and 1 <= int(number[:6]) <= MOST_DAYS):
            raise ValueError(f"{part!r} has no number of days from 1 to {MOST_DAYS:,}")
        days[name] = int(number)
    return tuple(days.items())


Parts = Annotated[CommaList, AfterValidator(_known_parts)]
Keys = Annotated[CommaList, AfterValidator(_good_keys)]
DaysOfTypes = Annotated[tuple[tuple[str, int], ...], BeforeValidator(_days_of_types)]


class PrivacySettings(BaseModel):
    """What is kept of people, and for how long; see `ingest.settings.Settings`, which has these too."""

    retention_days: int = Field(0, alias="INGEST_RETENTION_DAYS", ge=0, le=MOST_DAYS)
    retention_types: DaysOfTypes = Field((), alias="INGEST_RETENTION_TYPES")
    pseudonymise: Parts = Field((), alias="INGEST_PSEUDONYMISE")
    pseudonym_key: Keys = Field((), alias="INGEST_PSEUDONYM_KEY", repr=False)
    pseudonymise_handlers: Literal["on", "off"] = Field("on", alias="INGEST_PSEUDONYMISE_HANDLERS")

    @property
    def pseudonym_keys(self) -> tuple[str, ...]:
        """The keys of pseudonyms, the one that makes new ones first.

        Raises:
            SettingsError: only the `ingest dev` that runs there knows them.
        """
        if not self.pseudonym_key:
            raise SettingsError(
                "What runs here has an INGEST_PSEUDONYM_KEY, which it tells nobody: set it here as well."
            )
        return self.pseudonym_key

    def kept_days(self, kind: str) -> int:
        """Days after which events of a type are deleted; 0: never."""
        return dict(self.retention_types).get(kind, self.retention_days)

    @property
    def shortest_retention(self) -> int:
        """Days after which the first events are deleted; 0: none ever are."""
        return min(filter(None, (self.retention_days, *dict(self.retention_types).values())), default=0)

    def mistakes(self, withheld: Collection[str]) -> Iterator[str]:
        """A sentence for each of these that does not go with another; `withheld` are secrets set elsewhere."""
        if self.pseudonymise and not self.pseudonym_key and "INGEST_PSEUDONYM_KEY" not in withheld:
            yield (
                "INGEST_PSEUDONYMISE is set, but INGEST_PSEUDONYM_KEY is not: make a key with openssl rand -hex "
                "32, and keep it where the other secrets are."
            )
        for kind, days in self.retention_types:
            if self.retention_days and days > self.retention_days:
                yield (
                    f"INGEST_RETENTION_TYPES keeps {kind} for {days} days, but INGEST_RETENTION_DAYS deletes all "
                    f"events after {self.retention_days}: set that to {days}, and name the types that go sooner."
                )
