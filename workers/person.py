"""A person by their address: recognises it in events and raw calls, however it is written, and blanks it."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from ingest.copernica.addresses import folded, unicode_domain
from ingest.copernica.events import Event

#: What replaces an address that was only mentioned.
BLANK = "[erased]"
#: How JSON may escape any character.
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
#: Accents that follow the letter they belong to.
_ACCENTS = "\u0300-\u036f"
#: Letters and digits that no escaping changes.
_PIECES = re.compile(r"[a-z0-9]+")
#: Text columns in which an address may be mentioned.
MENTIONING = (
    "recipient",
    "message_id",
    "url",
    "user_agent",
    "referer",
    "extended",
    "state",
    "description",
    "path",
)


class Person:
    """One address, and how to recognise it however it is written; and the pseudonyms that stand for it."""

    def __init__(self, address: str, pseudonyms: Sequence[str] = ()) -> None:
        self.address = folded(address)
        self._others = [Person(one) for one in pseudonyms if folded(one) != self.address]
        local, at, domain = self.address.rpartition("@")
        domains = {domain, unicode_domain(domain)}
        self._written = sorted({f"{local}{at}{each}" for each in domains})
        # Not as part of a longer address: jan@example.nl is neither bertjan@example.nl nor jan@example.nl.org.
        forms = "|".join(re.escape(_comparable(written)[1]) for written in self._written)
        self._mention = re.compile(rf"(?<![\w.+\-{_ACCENTS}])(?:{forms})(?![\w-]|\.\w)")

    @property
    def spellings(self) -> list[str]:
        """Texts of which a database can find one in whatever mentions the address, and in little else.

        That is how the address may be written in text, in a URL and in JSON; in upper case as well, since
        databases ignore the case of ASCII letters only. One with other letters has too many spellings: then the
        longest piece without such a letter is looked for.
        """
        others = {text for other in self._others for text in other.spellings}
        return sorted({*self._own_spellings(), *others})

    def _own_spellings(self) -> Sequence[str]:
        if len(self._written) > 1 or not self.address.isascii():
            return self._own_pieces()
        spellings: set[str] = set()
        local, at, domain = self.address.rpartition("@")
        for plain in (self.address, self.address.upper(), *(local.replace("ss", s) + at + domain for s in "ßẞ")):
            escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
            spellings |= {
                plain,
                escaped,
                quote(plain),
                quote_plus(plain),
                quote(plain, safe="+"),
                quote(plain, safe="@"),
            }
        return list(spellings)

    @property
    def pieces(self) -> list[str]:
        """Letters and digits of ASCII of which some are in each of the `spellings`, however it is escaped.

        The longest piece of the local part, or of each form of the domain if that is longer.
        """
        return sorted({*self._own_pieces(), *(piece for other in self._others for piece in other.pieces)})

    def _own_pieces(self) -> Sequence[str]:
        local, _, domain = self.address.rpartition("@")
        in_local, *in_domains = (
            max(_PIECES.findall(text.replace("ss", " ")), key=len, default="")
            for text in (local, domain, unicode_domain(domain))
        )
        pieces = {in_local} if len(in_local) >= min(map(len, in_domains)) else set(in_domains)
        return list(pieces)  # an empty one is in every text

    def is_subject_of(self, event: Event) -> bool:
        """Whether the event is about this person."""
        if event.recipient is not None and folded(event.recipient) == self.address:
            return True
        if any(folded(value) == self.address for value in texts([event.payload, event.tags])):
            return True
        return any(other.is_subject_of(event) for other in self._others)

    def occurs_in(self, body: bytes, path: str) -> bool:
        """Whether a raw call mentions the address, as it is or escaped in any way."""
        if any(map(self._is_mentioned_in, readings(body, path))):
            return True
        return any(other.occurs_in(body, path) for other in self._others)

    def _is_mentioned_in(self, text: str) -> bool:
        return self._mention.search(_comparable(text)[1]) is not None

    def _without_mentions(self, text: str) -> str:
        decomposed, comparable = _comparable(text)
        mentions = [mention.span() for mention in self._mention.finditer(comparable)]
        if not mentions:
            return text
        # Where each character of the comparable text comes from: folding can make two of one.
        origins = [place for place, letter in enumerate(decomposed) for _ in letter.casefold()]
        kept, after = [], 0
        for start, end in mentions:
            kept.append(decomposed[after : origins[start]])
            after = origins[end - 1] + 1
        return unicodedata.normalize("NFC", BLANK.join((*kept, decomposed[after:])))

    def blanked(self, event: Event) -> Event:
        """The event without the address; the same event if it does not occur."""
        for other in self._others:
            event = other.blanked(event)
        columns = {name: self._without(getattr(event, name)) for name in MENTIONING}
        clean = event._replace(payload=self._without(event.payload), tags=self._without(event.tags), **columns)
        if clean != event or (event.raw is not None and self.occurs_in(event.raw, event.path)):
            return clean._replace(raw=None, raw_type=None)
        return event

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            blanked = self._without_mentions(value)
            # In a URL a plus may stand for a space; anywhere else it is part of the address.
            readings = (unquote(blanked), unquote_plus(blanked) if "://" in blanked else blanked)
            return BLANK if any(map(self._is_mentioned_in, readings)) else blanked
        if isinstance(value, list):
            return [self._without(item) for item in value]
        if isinstance(value, dict):
            return {self._without(name): self._without(item) for name, item in value.items()}
        return value


def _comparable(text: str) -> tuple[str, str]:
    """A text with its accented letters taken apart, and that without regard to case."""
    if text.isascii():
        return text, text.lower()
    decomposed = unicodedata.normalize("NFD", text)
    return decomposed, decomposed.casefold()


def texts(value: Any) -> Iterator[str]:
    """All strings in a JSON value, except for the names of fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        yield from texts(list(value.values()))


def readings(body: bytes, path: str) -> tuple[str, str, str]:
    """A raw call as text: as it is, but for what JSON escapes, and as URLs and forms escape it."""
    text = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), f"{path} {body.decode('utf-8', 'replace')}")
    return text, unquote(text), unquote_plus(text)
