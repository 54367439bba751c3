"""Sessions of the console, passwords and attempts: what a cookie can and cannot say."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.console import ways
from ingest.console.attempts import ALL, ALL_EVERY, EACH, EACH_EVERY, MOST_ADDRESSES, Attempts
from ingest.console.rules import Rules
from ingest.console.sessions import ABSOLUTE, AHEAD, IDLE, Role, Session, Signer
from ingest.errors import SettingsError
from ingest.password_hash import LEAST_COST, PasswordHash, is_meant
from ingest.setting_values import good_password
from ingest.settings import Settings

PASSWORDS = {Role.OPERATOR: "een-lang-wachtwoord", Role.READER: "alleen-maar-kijken"}
NOW = 1_800_000_000
SESSIONS = st.builds(
    Session,
    st.binary(min_size=16, max_size=16),
    st.sampled_from(Role),
    st.integers(NOW - ABSOLUTE + 1, NOW),
    st.integers(NOW - IDLE + 1, NOW),
    st.sampled_from(["", "en", "nl"]),
)


@given(SESSIONS)
def test_a_cookie_says_what_it_was_made_of(session: Session) -> None:
    signer = Signer(b"key", PASSWORDS)
    assert signer.read(signer.cookie(session), NOW) == session


@given(SESSIONS, st.integers(0, 10_000), st.sampled_from("AZaz09-_=+/ é\x00"))
def test_no_sign_of_a_cookie_can_be_another(session: Session, at: int, sign: str) -> None:
    signer = Signer(b"key", PASSWORDS)
    cookie = signer.cookie(session)
    at %= len(cookie)
    changed = cookie[:at] + sign + cookie[at + 1 :]
    read = signer.read(changed, NOW)
    assert read is None or read == session, "the last sign holds bits that mean nothing"


@given(st.text(max_size=300))
def test_what_we_did_not_make_is_no_session(text: str) -> None:
    assert Signer(b"key", PASSWORDS).read(text, NOW) is None


@given(SESSIONS)
def test_a_cookie_of_another_key_or_password_is_none(session: Session) -> None:
    cookie = Signer(b"key", PASSWORDS).cookie(session)
    assert Signer(b"other", PASSWORDS).read(cookie, NOW) is None
    others = Signer(b"key", {role: f"{password}x" for role, password in PASSWORDS.items()})
    none = Signer(b"key", {})
    for one in (others, none):
        assert one.read(cookie, NOW) == (session if session.role is Role.NOBODY else None)


@pytest.mark.parametrize(
    ("began", "seen", "counts"),
    [
        (0, 0, True),
        (0, -IDLE + 1, True),
        (0, -IDLE, False),
        (-ABSOLUTE + 1, 0, True),
        (-ABSOLUTE, 0, False),
        (AHEAD, AHEAD, True),
        (AHEAD + 1, 0, False),
        (0, AHEAD + 1, False),
    ],
)
def test_a_session_ends_when_nobody_uses_it_and_in_any_case_after_a_week(
    began: int, seen: int, counts: bool
) -> None:
    session = Session(bytes(16), Role.OPERATOR, NOW + began, NOW + seen)
    assert session.is_over(NOW) is not counts


def test_use_is_noted_now_and_then_and_a_token_is_one_sessions_and_one_persons() -> None:
    session = Session.new(Role.OPERATOR, NOW)
    assert session.used(NOW + 10) is session
    assert session.used(NOW + 1000).seen == NOW + 1000
    signer = Signer(b"key", PASSWORDS)
    other = Session.new(Role.OPERATOR, NOW)
    assert len({signer.csrf(session, "jan"), signer.csrf(session, "piet"), signer.csrf(other, "jan")}) == 3


# --- passwords ---


def test_a_hash_knows_its_password_and_no_other() -> None:
    hashed = PasswordHash(LEAST_COST, 8, 1, bytes(16), b"")
    made = PasswordHash.of("wachtwoord-é", LEAST_COST, 1)
    read = PasswordHash.read(str(made))
    assert read == made
    assert read.matches("wachtwoord-e\u0301"), "the same, as another keyboard types it"
    assert not read.matches("wachtwoord-e")
    with pytest.raises(ValueError, match="hash-password"):
        PasswordHash.read(str(hashed))


@pytest.mark.parametrize(
    "text",
    [
        "scrypt$",
        "scrypt2768",  # as a shell leaves it
        "scrypt$32768$8$3$PNtRfSn-hnZb4AjsPMZmyA",
        "scrypt$32768$8$3$PNtRfSn-hnZb4AjsPMZmyA$wXurqIg64fTKVsvYGS7zjT1EfQe-C3PfXQRxK0l",
        "scrypt$32767$8$3$PNtRfSn-hnZb4AjsPMZmyA$xWurqIg64fTKVsvYGS7zjT1EfQe-C3PfXQRxK0lDYPA",
        "scrypt$1024$8$3$PNtRfSn-hnZb4AjsPMZmyA$xWurqIg64fTKVsvYGS7zjT1EfQe-C3PfXQRxK0lDYPA",
        "scrypt$1048576$32$3$PNtRfSn-hnZb4AjsPMZmyA$xWurqIg64fTKVsvYGS7zjT1EfQe-C3PfXQRxK0lDYPA",
        "scrypt$-1$8$3$PNtRfSn-hnZb4AjsPMZmyA$xWurqIg64fTKVsvYGS7zjT1EfQe-C3PfXQRxK0lDYPA",
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    ],
)
def test_what_was_meant_as_a_hash_is_never_taken_for_a_password(text: str) -> None:
    assert is_meant(text)
    with pytest.raises(ValueError, match="hash-password"):
        good_password(text)


@pytest.mark.parametrize(
    "text", ["kort", "aaaaaaaaaaaaaaaa", "abababababababab", " een-lang-wachtwoord", "lang-genoeg\n"]
)
def test_a_password_that_protects_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it"):
        good_password(text)


# --- attempts ---


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_address_has_a_few_attempts_and_then_one_now_and_then() -> None:
    clock = Clock()
    attempts, stranger, other = Attempts(clock), ip_address("192.0.2.1"), ip_address("192.0.2.2")
    assert [attempts.wait(stranger) for _ in range(EACH)] == [0.0] * EACH
    assert attempts.wait(stranger) == EACH_EVERY
    assert attempts.wait(other) == 0
    clock.now += EACH_EVERY
    assert attempts.wait(stranger) == 0
    assert attempts.wait(stranger) > 0


def test_who_knows_one_password_cannot_guess_the_other_with_it() -> None:
    attempts, reader = Attempts(Clock()), ip_address("192.0.2.1")
    guesses = 0
    for _ in range(100):
        if attempts.wait(reader) == 0:
            attempts.succeeded(reader)
        guesses += attempts.wait(reader) == 0
    assert guesses == EACH


def test_many_addresses_have_no_more_than_all_and_who_was_here_before_still_gets_in() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    known, here = ip_address("198.51.100.7"), ip_address("127.0.0.1")
    assert attempts.wait(known) == 0
    attempts.succeeded(known)
    tried = sum(attempts.wait(ip_address(f"10.0.{n // 250}.{n % 250}")) == 0 for n in range(1000))
    assert tried == ALL
    assert 0 < attempts.wait(ip_address("203.0.113.1")) <= ALL_EVERY
    assert (attempts.wait(known), attempts.wait(here)) == (0, 0)


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    attempts = Attempts(Clock())
    for number in range(MOST_ADDRESSES + 100):
        attempts.wait(ip_address((0x20010DB8 << 96) + (number << 64)))
    assert len(attempts._each) == MOST_ADDRESSES


# --- what is refused before we listen ---


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"INGEST_CONSOLE_HOST": "0.0.0.0"}, "open to everybody"),
        ({"INGEST_CONSOLE_HOST": "::"}, "open to everybody"),
        ({"INGEST_CONSOLE_HOST": "192.0.2.1"}, "open to everybody"),
        ({"INGEST_CONSOLE_HOST": "::ffff:192.0.2.1"}, "open to everybody"),
        ({"INGEST_CONSOLE_HOST": "no such host"}, "cannot be used"),
        ({"INGEST_CONSOLE_AUTH_HEADER": "X-User"}, "INGEST_CONSOLE_PROXIES is not"),
        ({"INGEST_CONSOLE_PROXIES": "0.0.0.0/0"}, "means everybody"),
        ({"INGEST_CONSOLE_OPERATORS": "jan"}, "INGEST_CONSOLE_AUTH_HEADER is not"),
        ({"INGEST_CONSOLE_READ_PASSWORD": PASSWORDS[Role.OPERATOR]}, "are the same"),
    ],
)
def test_what_would_let_strangers_in_is_refused_in_one_sentence(settings: dict[str, str], said: str) -> None:
    password = {"INGEST_CONSOLE_PASSWORD": PASSWORDS[Role.OPERATOR]} if "READ" in str(settings) else {}
    with pytest.raises(SettingsError, match=said):
        Rules.of(Settings.read({**settings, **password}))


def test_the_same_password_is_found_behind_its_hash() -> None:
    hashed = str(PasswordHash.of(PASSWORDS[Role.READER], LEAST_COST, 1))
    both = {"INGEST_CONSOLE_PASSWORD": hashed, "INGEST_CONSOLE_READ_PASSWORD": PASSWORDS[Role.READER]}
    with pytest.raises(SettingsError, match="are the same"):
        Rules.of(Settings.read(both))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1"])
def test_this_machine_needs_no_password(host: str) -> None:
    assert Rules.of(Settings.read({"INGEST_CONSOLE_HOST": host})).is_open


def test_beyond_this_machine_a_password_is_enough() -> None:
    read = {"INGEST_CONSOLE_HOST": "0.0.0.0", "INGEST_CONSOLE_PASSWORD": PASSWORDS[Role.OPERATOR]}
    assert not Rules.of(Settings.read(read)).is_open


@given(st.text(max_size=50))
def test_nobody_is_led_to_another_host(text: str) -> None:
    for path in (text, f"/{text}", f"//{text}", f"/\\{text}", f"/{text}//evil.example"):
        led = ways.own(path)
        assert led == "/" or (led == path and not led.startswith(("//", "/\\")) and led.isprintable())
