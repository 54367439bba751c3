"""Realistic calls, for users' own tests and for ours: what a newsletter brings in the hours after it was sent.

Each type's whole body is a file in the folder `payloads`, of which some fields are drawn at random for every call.
Bodies are encoded as PHP's `http_build_query` does it, which is how Copernica's published signer writes them
(`tags%5B0%5D=…`). The same seed gives the same calls, byte for byte.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from ingest.copernica.events import PROFILE_EVENTS, EventType
from ingest.errors import SettingsError
from ingest.shown import did_you_mean

FORM = "application/x-www-form-urlencoded"
#: Unix seconds at which a run with a seed begins, since "now" would make each run different: 2026-11-20 09:00 UTC.
SEEDED_START = 1_795_165_200
#: How often each type occurs, roughly as in a real mailing.
WEIGHTS = {
    "delivery": 400,
    "open": 380,
    "click": 140,
    "failure": 40,
    "bounce": 20,
    "unsubscribe": 4,
    "abuse": 1,
    "profile-create": 2,
    "profile-update": 8,
    "profile-delete": 1,
    "subprofile-create": 2,
    "subprofile-update": 1,
    "subprofile-delete": 1,
}
TYPES = tuple(WEIGHTS)
#: Types that bring the tags of their message.
_TAGGED = frozenset({"open", "click", "bounce", "failure", "delivery"})
#: Copernica's products that send mail.
PRODUCTS = MARKETING_SUITE, PUBLISHER = "ms", "publisher"
#: Messages for which events are drawn at any time; each gives several.
AUDIENCE = 5000
#: The first of the mailings that events are about, and how many there are; the database and collection of their
#: recipients.
MAILING, MAILINGS, DATABASE, COLLECTION = 90210, 3, 7, 12

_FIRST = (
    "anna",
    "bart",
    "chantal",
    "daan",
    "eva",
    "femke",
    "hanna",
    "jan",
    "kees",
    "lotte",
    "maria",
    "olaf",
    "sem",
)
_LAST = ("bakker", "de.vries", "hendriks", "jansen", "de.jong", "meijer", "mulder", "smit", "visser", "van.dijk")
_DOMAINS = ("example.nl", "example.com", "example.org", "mail.example.net", "post.example.be", "bedrijf.example")
_CAMPAIGNS = ("nieuwsbrief", "aanbieding", "welkom", "herinnering", "enquête", "black friday")
_MONTHS = ("september", "oktober", "november", "december")
_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    "Mozilla/5.0 (Linux; Android 14; SM-S911B) AppleWebKit/537.36 Chrome/129.0.6668.100 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.12.2",
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
)
_FAILURES = (
    ("550", "5.1.1", "The email account that you tried to reach does not exist"),
    ("552", "5.2.2", "The recipient's inbox is out of storage space"),
    ("421", "4.7.0", "Temporarily deferred due to unexpected volume"),
    ("554", "5.7.1", "Message rejected due to content restrictions"),
)


def chosen_types(names: str | None) -> Sequence[str]:
    """Comma-separated types, as a person writes them; None for all.

    Raises:
        SettingsError: one of them cannot be simulated.
    """
    types = [name.strip().lower() for name in names.split(",") if name.strip()] if names else list(TYPES)
    if not types:
        raise SettingsError(f"--types: it names none; there are {', '.join(TYPES)}.")
    for name in types:
        if name not in WEIGHTS:
            likely = did_you_mean(name, TYPES)
            raise SettingsError(f"--types: {name!r} cannot be simulated; there are {', '.join(TYPES)}.{likely}")
    return types


class Call(NamedTuple):
    """A call as Copernica would send it; `fields` is what the simulator knows about it, also for the log files."""

    type: str
    content_type: str
    body: bytes
    fields: Mapping[str, Any]


class _Message(NamedTuple):
    product: str
    id: str
    recipient: str
    #: Recipients and profiles belong together: neither has two of the other.
    profile: int
    #: None for messages to the profile itself.
    subprofile: int | None
    mailing: int
    #: When it was sent, in Unix seconds.
    sent: int
    ip: str
    agent: str
    tags: tuple[str, ...]


def payload(kind: str) -> bytes:
    """A complete, realistic body of this type."""
    return (Path(__file__).with_name("payloads") / f"{kind}.form").read_bytes()


@cache
def _template(kind: str) -> list[tuple[str, str]]:
    """The fields of a body in their order, without the tags, which come last."""
    pairs = parse_qsl(payload(kind).decode(), keep_blank_values=True, strict_parsing=True)
    return [(name, value) for name, value in pairs if not name.startswith("tags[")]


class Simulator:
    """An endless stream of calls."""

    def __init__(
        self,
        seed: int | None = None,
        types: Sequence[str] = TYPES,
        start: float | None = None,
        now: Callable[[], float] | None = None,
        products: Sequence[str] = PRODUCTS[:1],
    ) -> None:
        """`start` is the Unix time of the first events; with a seed it is `SEEDED_START` by default.

        From there on there are 200 events per second. With neither, or with `now`, which tells the Unix time,
        events happen when their calls are made: none is in the future, and a gap is as long as it was. Messages
        are of these products in turn; webhooks do not tell of which.
        """
        self._products = products
        self._now = time.time if now is None and start is None and seed is None else now
        self._random = random.Random(seed)  # noqa: S311
        self._types = list(types)
        self._weights = [WEIGHTS[name] for name in types]
        self._clock = float(start or (time.time() if seed is None else SEEDED_START))
        self._audience = [self._message() for _ in range(AUDIENCE)]

    def __iter__(self) -> Iterator[Call]:
        """Calls without end."""
        while True:
            yield self.call()

    def call(self) -> Call:
        """The next call."""
        draw = self._random
        kind = draw.choices(self._types, self._weights)[0]
        place = draw.randrange(AUDIENCE)
        message = self._audience[place]
        if draw.random() < 0.2:  # most people look at a message more than once
            self._audience[place] = self._message()
        drawn = self._drawn(EventType(kind), message)
        fields = [(name, drawn.get(name, value)) for name, value in _template(kind)]
        if kind in _TAGGED:
            fields += [(f"tags[{number}]", tag) for number, tag in enumerate(message.tags)]
        return Call(kind, FORM, urlencode(fields).encode(), drawn | {"tags": message.tags})

    def _message(self) -> _Message:
        draw = self._random
        plus = draw.randrange(1, 4) if draw.random() < 0.1 else 0
        # The digits of the profile's number, each in a base of its own, are the parts of the address.
        parts = [draw.randrange(size) for size in (len(_FIRST), len(_LAST), 1000, len(_DOMAINS))]
        first, last, number, domain = parts
        profile = ((plus * len(_FIRST) + first) * len(_LAST) + last) * 1000 * len(_DOMAINS)
        profile += number * len(_DOMAINS) + domain + 1
        name = f"{_FIRST[first]}.{_LAST[last]}{number}" + (f"+{_CAMPAIGNS[plus - 1]}" if plus else "")
        groups = [draw.getrandbits(16) for _ in range(5)]
        ip4 = f"{draw.randrange(1, 224)}.{groups[0] >> 8}.{groups[1] & 255}.{groups[2] & 255}"
        ip6 = "2001:db8:" + ":".join(f"{group:x}" for group in groups)
        message = draw.getrandbits(48)
        return _Message(
            self._products[(message >> 8) % len(self._products)],
            f"{message:012x}",
            f"{name}@{_DOMAINS[domain]}",
            profile,
            None if message % 4 else profile * 3,
            MAILING + message % MAILINGS,
            int(self._clock),
            ip6 if draw.random() < 0.3 else ip4,
            draw.choice(_AGENTS),
            (*draw.sample(_CAMPAIGNS, draw.randrange(3)), draw.choice(_MONTHS)),
        )

    def _drawn(self, kind: EventType, message: _Message) -> dict[str, object]:
        """The fields that differ from one call to the next."""
        self._clock = self._now() if self._now else self._clock + self._random.expovariate(200)
        second = int(self._clock)
        stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")
        drawn: dict[str, object] = {"timestamp": stamp, "time": second, "profile": message.profile}
        if kind in PROFILE_EVENTS:
            return drawn | self._profile(kind, message, stamp)
        drawn |= {"id": message.id, "recipient": message.recipient, "database": DATABASE}
        drawn |= {"product": message.product, "mailing": message.mailing, "sent": message.sent, "attempts": 1}
        if message.subprofile:
            drawn["subprofile"] = message.subprofile
        if kind in (EventType.OPEN, EventType.CLICK):
            drawn |= {"ip": message.ip, "useragent": message.agent, "referer": ""}
        return drawn | self._particulars(kind, message)

    def _particulars(self, kind: EventType, message: _Message) -> dict[str, object]:
        """The fields that belong to one type only."""
        draw = self._random
        if kind is EventType.CLICK:
            item: object = draw.randrange(10_000)
            personal = draw.random() < 0.5
            address = f"https://www.example.nl/{draw.choice(_CAMPAIGNS)}?item={{}}&utm_source=mail"
            # The link is what the template says, and `original` what becomes of it for this recipient.
            original = address.format(message.profile if personal else item)
            return {"original": original, "link": address.format("{$profile.id}" if personal else item)}
        if kind is EventType.DELIVERY:
            return {"description": f"Ok: queued as {message.id[:10].upper()}"}
        if kind is EventType.FAILURE:
            code, extended, description = draw.choice(_FAILURES)
            state = "bounce" if draw.random() < 0.3 else "error"
            return {"state": state, "code": code, "extended": extended, "description": description}
        if kind is EventType.BOUNCE:
            return {"envelope": f"bounce-{message.id}@mail.example.nl", "mime": self._bounce(message)}
        if kind is EventType.ABUSE:
            sample = dict(_template(kind))
            mime = sample["mime"].replace(sample["emailfrom"], message.recipient)
            return {"emailfrom": message.recipient, "mime": mime}
        return {}

    def _bounce(self, message: _Message) -> str:
        code, extended, description = self._random.choice(_FAILURES)
        boundary = f"{self._random.getrandbits(64):016x}"
        return (
            "From: MAILER-DAEMON@mx.example.net\r\nTo: bounces@example.nl\r\n"
            "Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n"
            f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"\r\n\r\n'
            f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{description}\r\n"
            f"--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n"
            f"Final-Recipient: rfc822; {message.recipient}\r\nAction: failed\r\nStatus: {extended}\r\n"
            f"Diagnostic-Code: smtp; {code} {extended} {description}\r\n--{boundary}--\r\n"
        )

    def _profile(self, kind: EventType, message: _Message, stamp: str) -> dict[str, object]:
        """What differs in the profile of a person, and in the orders that are its subprofiles."""
        draw = self._random
        subprofile = message.subprofile or message.profile * 3 + draw.randrange(3)
        name = message.recipient.partition("@")[0].replace(".", " ").title()
        about: dict[str, object] = {
            "id": subprofile if kind.startswith("sub") else message.profile,
            "subprofile": subprofile,
            "database": DATABASE,
            "collection": COLLECTION,
            "modified": stamp,
            "interests[blue]": draw.randrange(2),
        }
        order = f"2026-{draw.randrange(100_000):05d}"
        for group in ("fields", "parameters"):
            own = {"name": name, "email": message.recipient, "order": order}
            about |= {f"{group}[{field}]": value for field, value in own.items()}
        return about | ({"created": stamp} if kind.endswith("create") else {})
