"""Events and calls with pseudonyms in the place of addresses, as they are stored.

What this cannot do is not kept: `raw`, and the whole messages (`mime`) that bounces and complaints bring. What was
done to a row once leaves it as it is when it is done again.
"""

import re
from collections.abc import Sequence
from typing import Any

from ingest.batch import Record
from ingest.copernica.events import Event
from workers.records import Quarantined, read, record_of
from workers.store.backend import Row
from workers.store.mentions import HIDDEN, Mentions
from workers.store.pseudonyms import Pseudonyms
from workers.store.rows import event_of_new, event_row, json_text, load
from workers.store.tables import events

_COLUMNS = [column.name for column in events.columns]
_RECIPIENT, _IP, _RAW, _RAW_TYPE, _FOLDED, _MESSAGE = map(
    _COLUMNS.index, ("recipient", "ip", "raw", "raw_type", "folded_recipient", "message_id")
)
#: Columns of text in which somebody may be mentioned.
_TEXTS = tuple(map(_COLUMNS.index, ("url", "user_agent", "referer", "extended", "state", "description", "path")))
#: Columns of JSON.
_VALUES = tuple(map(_COLUMNS.index, ("tags", "payload")))
#: The field that has a whole message in it, and what one begins with.
MESSAGE_FIELD = "mime"
_MESSAGE_HEAD = re.compile(r"(?im)\A(?:[\w-]+:[^\n]*\n[ \t]*){2,}|^(?:mime-version|content-transfer-encoding):")
#: The same within calls that cannot be read.
_IN_FORM = re.compile(r"((?:^|&)mime=)[^&]*")
_IN_JSON = re.compile(r'("mime"\s*:\s*")(?:[^"\\]|\\.)*')


class Pseudonymiser:
    """Puts pseudonyms in the place of addresses."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self.pseudonyms = pseudonyms

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """Rows of `events`."""
        return list(map(self.row, rows))

    def row(self, row: Row) -> Row:
        """One of them."""
        values = list(row)
        recipient, ip = values[_RECIPIENT], values[_IP]
        mentions = Mentions(self.pseudonyms, recipient, ip)
        if recipient and self.pseudonyms.recipients:
            values[_RECIPIENT], values[_FOLDED] = self.pseudonyms.address(recipient), None
        if ip and self.pseudonyms.ips:
            values[_IP] = self.pseudonyms.ip(ip)
        for at in _TEXTS:
            if text := values[at]:
                values[at] = mentions.without(text)
        if "@" in (values[_MESSAGE] or ""):  # else it would be another message
            values[_MESSAGE] = mentions.without(values[_MESSAGE])
        for at in _VALUES:
            if mentions.may_be_in(values[at]):
                values[at] = json_text(_walked(load(values[at]), mentions))
        values[_RAW] = values[_RAW_TYPE] = None
        return tuple(values)

    def event(self, event: Event) -> Event:
        """The same of an event."""
        return event_of_new(self.row(event_row(event)))

    def record(self, record: Record) -> Record:
        """A call that handlers are given."""
        event = read(record)
        return self.unreadable(record) if isinstance(event, Quarantined) else record_of(self.event(event))

    def quarantined(self, call: Quarantined) -> Quarantined:
        """A call that goes to quarantine."""
        return call._replace(record=self.unreadable(call.record), reason=self.text(call.reason))

    def unreadable(self, record: Record) -> Record:
        """A call that is no event: what of it is text, without its headers."""
        return record._replace(target=self._bytes(record.target), body=self._bytes(record.body), headers=b"")

    def text(self, text: str) -> str:
        """A text that belongs to no event, such as an error: also without any IP address."""
        mentions = Mentions(self.pseudonyms)
        return mentions.without(mentions.without_any_ip(text))

    def _bytes(self, content: bytes) -> bytes:
        if b"\0" in content or b"%00" in content:  # another encoding than UTF-8, or no text at all
            return HIDDEN.encode()
        text = content.decode("utf-8", "surrogateescape")
        if self.pseudonyms.recipients:
            text = _IN_JSON.sub(rf"\1{HIDDEN}", _IN_FORM.sub(r"\1%5Bpseudonymised%5D", text))
        return self.text(text).encode("utf-8", "surrogateescape")


def _walked(value: Any, mentions: Mentions, name: str = "") -> Any:
    if isinstance(value, str):
        is_message = name == MESSAGE_FIELD or ("\n" in value and _MESSAGE_HEAD.search(value) is not None)
        return HIDDEN if is_message and mentions.may_be_in(value) else mentions.whole(value)
    if isinstance(value, list):
        return [_walked(item, mentions, name) for item in value]
    if isinstance(value, dict):
        return {mentions.without(key): _walked(item, mentions, key) for key, item in value.items()}
    return value
