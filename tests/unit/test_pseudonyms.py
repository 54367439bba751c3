"""A pseudonym is one person's however the address is written, and no text keeps an address in a form we know."""

import random
import string
from base64 import b64encode, urlsafe_b64encode
from hashlib import md5, sha256
from typing import Any
from urllib.parse import quote

import pytest

from ingest.errors import SettingsError
from ingest.settings import Settings
from tests.support.builders import event
from workers.store.mentions import HIDDEN, Mentions
from workers.store.pseudonymising import Pseudonymiser
from workers.store.pseudonyms import Pseudonyms
from workers.store.rows import event_row

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
BOTH = Pseudonyms([KEY], ["recipient", "ip"])
JAN = "jan@example.nl"
MINE = BOTH.address(JAN)


@pytest.mark.parametrize("written", ["JAN@Example.NL", " jan@example.nl ", "Jan <jan@example.nl>"])
def test_a_person_has_one_pseudonym_however_the_address_is_written(written: str) -> None:
    assert BOTH.address(written) == MINE
    assert BOTH.address("zoë@exämple.nl") == BOTH.address("ZOË@xn--exmple-cua.nl")


def test_a_pseudonym_of_a_pseudonym_is_that_pseudonym() -> None:
    assert BOTH.address(MINE) == MINE == Pseudonyms([OTHER, KEY], ["recipient"]).address(MINE)
    assert BOTH.ip(BOTH.ip("192.0.2.7")) == BOTH.ip("::ffff:192.0.2.7")


def test_another_key_makes_another_pseudonym_and_older_ones_are_known() -> None:
    rotated = Pseudonyms([OTHER, KEY], ["recipient"])
    assert rotated.address(JAN) != MINE
    assert rotated.aliases(JAN) == [rotated.address(JAN), MINE]


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("short", "32 random bytes"),
        ("a" * 64, "32 random bytes"),
        (f"{KEY},{KEY}", "twice"),
        (f"{KEY},short", "of number 2"),
        (f"{KEY} x", "one word"),
    ],
)
def test_a_weak_key_is_refused_and_not_shown(key: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as refused:
        Settings.read({"INGEST_PSEUDONYMISE": "recipient", "INGEST_PSEUDONYM_KEY": key})
    assert KEY not in str(refused.value)


def test_pseudonyms_without_a_key_are_refused_with_how_to_make_one() -> None:
    with pytest.raises(SettingsError, match="openssl rand -hex 32"):
        Settings.read({"INGEST_PSEUDONYMISE": "recipient"})
    with pytest.raises(SettingsError, match="recipient, ip, or both"):
        Settings.read({"INGEST_PSEUDONYMISE": "user_agent", "INGEST_PSEUDONYM_KEY": KEY})


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("550 5.1.1 <jan@example.nl> unknown", f"550 5.1.1 <{MINE}> unknown"),
        ("https://x.nl/?e=jan%40example.nl&a=1", f"https://x.nl/?e={MINE.replace('@', '%40')}&a=1"),
        ("https://x.nl/?u=https%3A%2F%2Fy.nl%3Fe%3DJAN%40Example.nl%26a%3D1", None),
        ("https://x.nl/?u=https%253A%252F%252Fy.nl%253Fe%253Djan%2540example.nl", None),
        ("jan&#64;example.nl or jan\\u0040example.nl", None),
        (f"https://x.nl/u/{b64encode(JAN.encode()).decode()}/x", f"https://x.nl/u/{MINE}/x"),
    ],
)
def test_an_address_in_a_text_becomes_its_pseudonym_wherever_it_stands(text: str, then: str | None) -> None:
    without = Mentions(BOTH, JAN).without(text)
    assert then is None or without == then
    assert MINE.partition("@")[0] in without
    assert Mentions(BOTH, JAN).without(without) == without


@pytest.mark.parametrize(
    "written",
    [
        "d'hondt@example.be",
        "D%27Hondt%40example.be",
        "d%2527hondt%2540example.be",
        "d'hondt%40example.be",
        "d&#39;hondt@example.be",
        "d\\u0027hondt@example.be",
    ],
)
def test_an_address_with_an_apostrophe_is_one_person_s_as_a_whole(written: str) -> None:
    local = BOTH.address("d'hondt@example.be").partition("@")[0]
    for text in (f"550 <{written}> unknown", f"https://x.nl/?e%3D{written}&a=1", f"'{written}'"):
        without = Mentions(BOTH, "d'hondt@example.be").without(text)
        begin, _, rest = text.partition(written)
        assert without.startswith(begin + local), text
        assert "hondt" not in without.lower()
        assert without.endswith(rest)
    other = "xd'hondt@example.be and d'hondt@example.be.nl"
    assert local not in Mentions(BOTH, "d'hondt@example.be").without(other)


@pytest.mark.parametrize(
    "text",
    [
        "https://x.nl/mailings/november/2026/utm_campaign-black-friday?width=400&x=40",
        "250 2.0.0 Ok: queued as 4XyZ12",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36",
        "@example.nl and jan@",
    ],
)
def test_a_text_that_mentions_nobody_stays_as_it_is(text: str) -> None:
    assert Mentions(BOTH, JAN, "192.0.2.1").without(text) == text


def test_the_reader_s_own_ip_is_replaced_and_no_server_s() -> None:
    text = "{} asked 192.0.2.10 and {}: https://x.nl/?ip={}"
    mine = BOTH.ip("192.0.2.1")
    without = Mentions(BOTH, JAN, "192.0.2.1").without(text.format(*["192.0.2.1"] * 3))
    assert without == text.format(mine, mine, mine)


def escaped(address: str, chance: random.Random) -> str:
    """The address in one of the forms in which nothing may keep it."""
    written = "".join(chance.choice((letter, letter.upper())) for letter in address)
    return chance.choice(
        (
            written,
            quote(written),
            quote(quote(written)),
            quote(quote(quote(written))),
            "".join(f"%{byte:02x}" for byte in written.encode()),
            written.replace("@", "&#64;"),
            written.replace("@", "&#x40;"),
            written.replace("@", "\\u0040"),
            written.replace("@", "=40"),
            b64encode(address.encode()).decode(),
            urlsafe_b64encode(f'{{"id":{chance.randrange(9999)},"e":"{address}"}}'.encode()).decode(),
            md5(address.encode()).hexdigest(),
            sha256(address.encode()).hexdigest().upper(),
        )
    )


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_no_generated_event_keeps_the_address_in_any_form_we_claim(seed: int) -> None:
    chance = random.Random(seed)
    pseudonymiser = Pseudonymiser(BOTH)
    for _ in range(200):
        local = "".join(
            chance.choices(string.ascii_lowercase + "0123456789.+_-", k=chance.randrange(4, 20))
        ).strip(".")
        address = f"x{local}@{chance.choice(('example.nl', 'mail.example.co.uk', 'exämple.nl'))}"
        forms = [escaped(address, chance) for _ in range(8)]
        given = event(
            recipient=address,
            ip="192.0.2.77",
            url=f"https://x.nl/a?x={forms[0]}&ip=192.0.2.77#{forms[1]}",
            referer=f"https://y.nl/{forms[2]}/k",
            description=f"550 5.1.1 {forms[3]}: mailbox unknown to 192.0.2.77",
            tags=["a", forms[4]],
            payload={
                "email": address.upper(),
                "fields": {"x": [forms[5]]},
                forms[6]: "1",
                "mime": f"To: {forms[7]}",
            },
            path=f"/copernica/{quote(forms[0])}",
            raw=address.encode(),
            raw_type="text/plain",
        )
        stored = pseudonymiser.row(pseudonymiser.row(event_row(given)))
        kept = repr(stored)
        assert stored[5] == BOTH.address(address)
        for form in (address, *forms):
            assert form.lower() not in kept.lower(), (form, kept)
        assert "192.0.2.77" not in kept


def test_a_text_that_hides_an_address_in_a_way_of_its_own_is_not_kept() -> None:
    assert Mentions(BOTH, JAN).without("aj=61n=40example.nl jan=40example.nl") == HIDDEN
    inside = b64encode(b"x" * 31 + JAN.encode() + b"\xff" * 30).decode()
    assert JAN not in Mentions(BOTH, JAN).without(f"q={inside}")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["@", "%40", "x@pseudonym.invalid", "x@@", "a@b"])
def test_a_stranger_s_text_of_nothing_but_signs_takes_no_longer_than_its_length_lets_it(piece: str) -> None:
    looked: list[int] = []

    class Counted(str):
        """A text that counts how often one of its characters is looked at."""

        def __getitem__(self, at: Any) -> str:
            looked.append(1)
            return super().__getitem__(at)

    text = piece * (2_000 // len(piece))
    Mentions(BOTH, JAN)._without_addresses(Counted(text))
    assert len(looked) < 10 * len(text)
