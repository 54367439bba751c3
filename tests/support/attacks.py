"""Calls with attack strings in every field: on a browser, on a terminal, on whoever counts on short texts."""

from tests.support.console_site import ConsoleSite
from tests.support.running import until
from workers.store import tables

#: What each attack tries: a page in which it was run has this.
MARK = "__xss"
#: What is seen in a page where it was shown as text.
SEEN = "Att4ck"
ATTACKS = (
    f"{SEEN}<script>window.{MARK}=1</script>",
    f"{SEEN}\"><img src=x onerror='window.{MARK}=2'>",
    f"{SEEN}'><svg/onload=window.{MARK}=3>",
    f"{SEEN}</title></textarea></script><script>window.{MARK}=4</script>",
    f"javascript:window.{MARK}=5//{SEEN}",
    f"{SEEN}{{{{ 7*7 }}}}{{% raw %}}${{7*7}}<%= 7*7 %>",
    f"{SEEN}\" autofocus onfocus=window.{MARK}=6 x=\"' style='position:fixed;inset:0",
    f"{SEEN}\u202egnp.exe\u2066\u200b\x1b[31m\x07\x7f\x00\r\nSet-Cookie: a=b",
    f"{SEEN}<a href='https://evil.example/' hx-get='https://evil.example/' hx-trigger='load'>x</a>",
)
#: A word that no line breaks: it must not make a page wider than the screen.
LONG = f"{SEEN}{'w' * 4000}"
#: A mailing that all of these belong to.
MAILING = 666
TYPES = ("delivery", "open", "click", "bounce", "failure", "unsubscribe", "abuse", "profile-update")


def attack(site: ConsoleSite) -> None:
    """Fill a site with them: events, quarantine, refused calls, errors of handlers, dead letters, retries."""
    with site.failing():
        for number, text in enumerate((*ATTACKS, LONG)):
            for type_ in TYPES:
                assert site.call(type_, **_fields(number, text)) == 200
        quarantined = b'{"type": "open", "recipient": "' + ATTACKS[0].encode() + b"\xff\x00"
        for content_type in ("application/json", f"text/html; charset={SEEN}"):
            assert site.raw_call(quarantined, content_type) == 200
        stored = (len(ATTACKS) + 1) * len(TYPES)
        until(lambda: site.ask(lambda store: len(list(store.rows(tables.events)))) >= stored, "all events")
        until(lambda: site.ask(lambda store: list(store.rows(tables.dead_letters))), "dead letters")
    for text in ATTACKS:
        refused = {"X-Copernica-ID": text, "User-Agent": text, "X-Forwarded-For": text, "Signature": text}
        plain = {name: value.encode("ascii", "replace").decode() for name, value in refused.items()}
        assert site.raw_call(text.encode(), signed=False, **{k: _header(v) for k, v in plain.items()}) >= 400


def _fields(number: int, text: str) -> dict[str, object]:
    return {
        "id": f"{SEEN}{number}{text}"[:200],
        "recipient": f"{text}@example.nl",
        "mailing": MAILING,
        "template": text,
        "ip": text,
        "useragent": text,
        "referer": text,
        "url": text,
        "original": text,
        "link": text,
        "description": text,
        "code": text,
        "extended": text,
        "action": text,
        "state": text,
        "profile": number + 1,
        "database": text,
        "fields[name]": text,
        "tags": [*ATTACKS, f"{SEEN}{number}", ""],
        text: text,
    }


def _header(value: str) -> str:
    return "".join(character for character in value if character.isprintable())
