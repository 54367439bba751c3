"""What people are shown: URLs without secrets, text that cannot steer a terminal, no secret that a library quotes.

Everything that prints a URL calls `url`; everything that prints what came in from outside calls `escaped`. What
libraries say passes through `without_secrets`, on its way into the log, a table or an error: a driver may quote
the URL that it was given.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from operator import itemgetter
from urllib.parse import parse_qsl, quote, unquote

#: How alike two names must be, from 0 to 1, for the one to be suggested for the other.
ALIKE = 0.6
#: What is shown in the place of something that cannot be shown.
HIDDEN = "***"
#: Schemes of the URLs in our settings. Another one may be anything, a password included.
SCHEMES = frozenset(
    {
        "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "postgresql", "postgresql+psycopg",
        "postgres", "mysql", "sqlite", "http", "https",
    }
)  # fmt: skip  # a list to be read across
#: Those of them that may name several hosts, each with its port.
OF_SEVERAL = frozenset({"redis+sentinel", "rediss+sentinel", "postgresql", "postgresql+psycopg", "postgres"})
#: Fewest characters of a secret that is looked for in texts: a shorter one would be found in every other word.
SHORTEST_SECRET = 4
#: Fewest characters of a parameter that counts as a secret whatever its name: words are shorter, keys are not.
LONG_VALUE = 16

#: Parts of the names of parameters that hold a secret.
SECRET_NAMES = ("pass", "pwd", "secret", "token", "key", "auth", "sig", "cred")

#: Formatting characters that are part of words and emoji, and neither move nor turn anything.
_JOINERS = "\u200c\u200d"
_PLACE = re.compile(r"(?:\[[0-9A-Fa-f:.%a-z]+\]|[\w.,-]*)(?::[0-9]{1,5})?", re.ASCII)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

# The secrets of this process, and the pattern that finds them; what cannot be undone is added only.
_secrets: set[str] = set()
_pattern: re.Pattern[str] | None = None


def url(url: str) -> str:
    """A URL as scheme, host, port and path: without user, password, parameters and fragment.

    Where `@` stands behind the host, nobody can say what is a password and what is not, so no more than the
    scheme is shown.
    """
    scheme, separator, rest = url.strip().partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        return "(no URL)"
    authority, behind = re.fullmatch(r"([^/?#\\]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    place = authority.rpartition("@")[2]
    places = place.split(",") if scheme in OF_SEVERAL else [place]
    if "@" in behind or not all(map(_PLACE.fullmatch, places)) or (place.startswith(":") and scheme != "unix"):
        return f"{scheme}://…"
    path, *options = re.split(r"[?#]", behind)
    if scheme in OF_SEVERAL and not place and options:
        place = _hosts(options[0])
    return f"{scheme}://{place}{escaped(path)}"


def _hosts(query: str) -> str:
    """Several hosts that stand among the options, as `ingest.database_url` puts them there."""
    options = dict(parse_qsl(query))
    hosts = options.get("host", "").split(",")
    ports = options.get("port", "").split(",") + [""] * len(hosts)
    places = [f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False)]
    return ",".join(places) if len(hosts) > 1 and all(map(_PLACE.fullmatch, places)) else ""


def counted(number: int, one: str, many: str = "") -> str:
    """How many there are of something: `1 call`, `1,234 calls`; `many` where the plural is more than an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def span(seconds: float) -> str:
    """So much time, as people say it: `0.4 s`, `12 s`, `5 min`, `3.5 h`, `2 days`."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"


def nearest(known: Iterable[str], *spellings: str) -> str | None:
    """The one of these names that is most like a word, in any of its spellings; None if none is like it."""
    from difflib import SequenceMatcher  # noqa: PLC0415  # for mistakes only

    def likeness(name: str) -> float:
        plain = _plainly(name)
        return max(SequenceMatcher(None, plain, _plainly(spelling)).ratio() for spelling in spellings)

    best, name = max(((likeness(name), name) for name in known), key=itemgetter(0), default=(0.0, ""))
    return name if best >= ALIKE else None


def _plainly(name: str) -> str:
    return name.strip().casefold().replace("_", "-")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean open?`, behind a sentence about a word that is not known; empty if none is near it."""
    name = nearest(known, word)
    return f" Did you mean {name}?" if name else ""


def escaped(text: str) -> str:
    """Text in one line that does nothing to a terminal, a log or what stands beside it.

    Control characters, line ends, marks that turn the direction of writing and lone surrogates are written as in
    Python: `\\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(c if _is_harmless(c) else _SHORT_ESCAPES.get(c) or ascii(c)[1:-1] for c in text)


def escaped_lines(text: str) -> str:
    """The same for text of several lines, such as a traceback: its line ends stay."""
    return "\n".join(map(escaped, text.split("\n")))


def escaped_json(text: str, only_ascii: bool = False) -> str:
    """JSON whose strings hold nothing of what `escaped` escapes, or nothing but ASCII; its meaning is the same."""
    if only_ascii:
        text = _NOT_ASCII.sub(lambda found: "".join(map(_in_json, found[0])), text)
    return "\n".join(
        line if line.isprintable() else "".join(c if _is_harmless(c) else _in_json(c) for c in line)
        for line in text.split("\n")
    )


def _is_harmless(c: str) -> bool:
    return c.isprintable() or c in _JOINERS or unicodedata.category(c) == "Zs"


def _in_json(c: str) -> str:
    units = c.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def keep_secret(*values: str | None) -> None:
    """From now on, `without_secrets` hides these, and the secrets in those of them that are URLs."""
    global _pattern  # noqa: PLW0603  # like the log, there is one for the process
    for value in filter(None, values):
        _secrets.update(_secrets_of(value))
    if _secrets:
        longest_first = sorted(_secrets, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, longest_first)))


def without_secrets(text: str) -> str:
    """The text with `***` in the place of every secret of this process."""
    return text if _pattern is None else _pattern.sub(HIDDEN, text)


def _secrets_of(value: str) -> Iterator[str]:
    """The secrets in a setting, in each of the ways in which a library may write them."""
    scheme, separator, rest = value.partition("://")
    if not separator:
        yield from _spellings(value)
        return
    place, _, query = rest.partition("#")[0].partition("?")
    userinfo, _, after = place.rpartition("@")
    user, _, password = userinfo.partition(":")
    # What is shown of the URL anyway, such as a user and a database that have the password's name, is no secret.
    public = f"{scheme} {unquote(user)} {after}"
    if scheme in ("http", "https") and not password:  # a token alone, in the place of the user
        password, public = user, f"{scheme} {after}"
    for secret in _spellings(password):
        if secret not in public:
            yield secret
    for name, parameter in parse_qsl(query, keep_blank_values=True):
        if any(part in name.lower() for part in SECRET_NAMES) or len(parameter) >= LONG_VALUE:
            yield from _spellings(parameter)
            yield f"{name}={quote(parameter)}"


def _spellings(secret: str) -> set[str]:
    decoded = unquote(secret)
    known = {secret, decoded, quote(decoded), quote(decoded, safe=""), repr(decoded)[1:-1]}
    return {one for one in known if len(one) >= SHORTEST_SECRET}
