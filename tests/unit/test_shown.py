"""What people are shown can neither hold a secret nor steer a terminal."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import shown
from ingest.log import _Formatter
from ingest.redis_url import RedisURL
from ingest.settings import Settings

#: What people put into passwords, with every sign that divides a URL.
PASSWORDS = st.text(st.sampled_from("QZ9/?#@:%&=+[]\\ ;,'é\uff0f\n\x1b"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://user:geheim@localhost:6379/0?ssl_password=geheim", "redis://localhost:6379/0"),
        ("rediss://:gehe@im@h/1", "rediss://h/1"),
        ("redis://:gehe/im@h/1", "redis://…"),
        ("redis://:gehe?im@h/1", "redis://…"),
        ("redis://:gehe#im@h/1", "redis://…"),
        ("redis://user:12?geheim@h/1", "redis://…"),
        ("redis://:geheim", "redis://…"),
        ("redis://user:geheim", "redis://…"),
        ("redis://h1:1,h2:2/x", "redis://…"),
        ("redis+sentinel://u:geheim@h1:1,h2/m/0?sentinel_password=geheim", "redis+sentinel://h1:1,h2/m/0"),
        ("rediss+sentinel://:gehe/im@h1:1,h2/m", "rediss+sentinel://…"),
        ("postgresql://u:geheim@h1:1,[::1]:2/d", "postgresql://h1:1,[::1]:2/d"),
        ("postgresql://u:geheim@/d?host=h1,h2&port=1,", "postgresql://h1:1,h2/d"),
        ("postgresql://u:geheim@/d?host=/run/a,/run/b", "postgresql:///d"),
        ("unix:///run/redis.sock?password=geheim", "unix:///run/redis.sock"),
        ("unix://u:geheim@/run/redis.sock", "unix:///run/redis.sock"),
        ("postgresql://u:geheim@[2001:db8::1]:5432/d?sslmode=require", "postgresql://[2001:db8::1]:5432/d"),
        ("https://example.nl/a.php?token=geheim#rate=1/s", "https://example.nl/a.php"),
        ("https://u:geheim@example.nl/a.php", "https://example.nl/a.php"),
        ("https://example.nl\\geheim@h/", "https://…"),
        ("https://h/\x1b[31m\n", "https://h/\\x1b[31m"),
        ("sqlite:////var/lib/ingest/ingest.db?key=geheim", "sqlite:////var/lib/ingest/ingest.db"),
        ("geheim", "(no URL)"),
        ("geheim://h", "(no URL)"),
        ("", "(no URL)"),
    ],
)
def test_a_url_is_shown_as_the_place_that_it_names(url: str, text: str) -> None:
    assert shown.url(url) == text


@given(
    st.sampled_from(["redis", "rediss", "unix", "redis+sentinel", "postgresql", "https"]),
    st.sampled_from(
        ["{p}@h:1/d", "u:{p}@h/d", ":{p}@/d", "u@x:{p}@h", "h/d?token={p}", "h?a=1&password={p}", "h#{p}"]
    ),
    PASSWORDS,
)
def test_no_url_shows_any_part_of_its_password(scheme: str, form: str, password: str) -> None:
    # Every piece between two signs counts: the rest of a password that was cut off is a secret as well.
    text = shown.url(f"{scheme}://{form.format(p=password)}")
    assert not set(text.removeprefix(f"{scheme}://")) & set("QZ9é\n\x1b\uff0f"), text


@given(
    st.sampled_from(["redis://{}@h:1/0", "redis://u:{}@h", "redis://h?password={}", "redis://h?x={}"]), PASSWORDS
)
def test_no_complaint_about_a_redis_url_shows_any_part_of_its_password(form: str, password: str) -> None:
    try:
        RedisURL.read(form.format(password))
    except ValueError as error:
        said = str(error).replace("redis://host:6379/0", "")
        assert not set(said) & set("QZ9é\n\x1b\uff0f"), said


@given(st.text())
def test_escaped_text_is_one_line_that_moves_nothing(text: str) -> None:
    line = shown.escaped(text)
    assert all(c.isprintable() or c in "\u200c\u200d" or c.isspace() for c in line)
    assert line.splitlines() in ([], [line])
    assert shown.escaped(line) == line


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_escaped_json_means_what_it_meant(value: object) -> None:
    for indent in (None, 1):
        text = shown.escaped_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(text) == value
        assert all(shown.escaped(line) == line for line in text.split("\n"))


@pytest.mark.parametrize(
    "harmless", ["Zoë Šimůnek", "👩\u200d💻", "\u0645\u06cc\u200c\u062e", "10\u00a0000", "日本\u3000語"]
)
def test_words_stay_as_they_are(harmless: str) -> None:
    assert shown.escaped(harmless) == harmless


def logged(message: str, *values: object, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    return _Formatter().format(logging.LogRecord("x", logging.INFO, "x.py", 1, message, values, info))


def test_a_message_in_the_log_is_one_line_without_escape_sequences() -> None:
    assert logged("%s", "\x1b]0;x\x07\u202e\x9b31m\n09:00:00 ERROR forged").endswith(
        " INFO    \\x1b]0;x\\x07\\u202e\\x9b31m\\n09:00:00 ERROR forged"
    )


def test_no_line_of_a_traceback_can_pass_for_a_message() -> None:
    try:
        raise RuntimeError("broken\n09:00:00 ERROR forged \x1b[31m")
    except RuntimeError as error:
        lines = logged("failed", error=error).split("\n")
    assert len(lines) > 3
    assert all(line.startswith("  ") for line in lines[1:])
    assert "  09:00:00 ERROR forged \\x1b[31m" in lines


@pytest.mark.parametrize(
    "setting",
    [
        {"REDIS_URL": "redis://u:g%20heim%2Fx@h"},
        {"DATABASE_URL": "postgresql://u:g%20heim%2Fx@h/d"},
        {"DATABASE_URL": "postgresql://u:g heim/x@h/d"},
        {"DATABASE_URL": "postgresql://u@h/d?password=g%20heim%2Fx"},
        {"INGEST_FORWARD_URL": "https://h/x?token=g%20heim%2Fx"},
        {"INGEST_FORWARD_URL": "https://u:g%20heim%2Fx@h/x"},
        {"INGEST_FORWARD_URL": "https://g%20heim%2Fx@h/x"},
    ],
)
def test_a_secret_that_a_library_quotes_is_hidden_in_the_log(
    setting: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "_secrets", set())
    monkeypatch.setattr(shown, "_pattern", None)
    Settings.read(setting)
    for spelling in ("g heim/x", "g%20heim%2Fx", "g%20heim/x"):
        line = logged("cannot use %s", f"'u:{spelling}@h'", error=ValueError(f"token={spelling}"))
        assert "heim" not in line
        assert line.count("***") == 2


def test_a_password_that_is_also_a_name_in_the_url_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "_secrets", set())
    monkeypatch.setattr(shown, "_pattern", None)
    Settings.read({"DATABASE_URL": "postgresql://postgres:postgres@localhost/postgres"})
    assert shown.without_secrets("the user postgres") == "the user postgres"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 batches"), (1, "1 batch"), (2, "2 batches"), (1234, "1,234 batches")]
)
def test_one_of_a_kind_is_no_plural(number: int, text: str) -> None:
    assert shown.counted(number, "batch", "batches") == text
    assert shown.counted(number, "call").removesuffix("s") == f"{number:,} call"
    assert shown.counted(number, "call").endswith("s") == (number != 1)
