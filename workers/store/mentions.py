"""Addresses within texts: found however they are escaped, and replaced by their pseudonyms.

Found are addresses as text, in a URL or form (`jan%40example.nl`, also escaped several times), in HTML
(`jan&#64;example.nl`) and JSON (`jan\\u0040example.nl`), and within words in base64. Of the person whom an event
is about, the MD5, SHA-1 and SHA-256 of the address are known as well, since anybody can try addresses on them. A
text that still holds that address in any of these ways when all are replaced is not kept at all.
"""

import binascii
import html
import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import md5, sha1, sha256
from ipaddress import ip_address
from urllib.parse import quote, unquote

from ingest.copernica.addresses import folded, unicode_domain
from workers.store.pseudonyms import DOMAIN, IP_PREFIX, Pseudonyms, is_pseudonym

#: What stands for a text that mentions somebody in a way that cannot be replaced.
HIDDEN = "[pseudonymised]"
#: Most characters of a part of an address before its @, as it is escaped.
LONGEST = 1000
#: How often what is escaped may be escaped again.
TIMES = 3
#: The @ of an address, in each of the ways in which it may be escaped.
_AT = re.compile(r"@|\uff20|%(?:25)*40|&#0*64;|&#[xX]0*40;|&commat;|\\u0040")
#: What is left of one, in a text that may still have an address in it.
_SIGN = re.compile(r"@|\uff20|40|#0*64|%2364|commat")
_DOMAIN = re.compile(r"(?:[\w.\-]|%(?:25)*(?:[89a-fA-F][0-9a-fA-F]|2[dDeE]))+|\[[\w.:]{2,60}\]")
#: Something escaped as in URLs, at the end of a text.
_ESCAPED = re.compile(r"%(?:25)*([0-9a-fA-F]{2})\Z")
#: What is in no address, so that one begins behind it.
_BETWEEN = frozenset(" \t\r\n\0<>()[]{}\"',;:=&?#/\\|%")
#: A word that may be base64, also as URLs have it, and what of it may be a word by itself.
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/_-]|%2[bBfF]){12,}(?:=|%3[dD]){0,2}")
_WORD = re.compile(r"[A-Za-z0-9]{12,}={0,2}")
_ADDRESS_IN_BYTES = re.compile(rb"[\w.!#$%&*+/=?^`{|}~'-]+@[\w-]+(?:\.[\w-]+)+")
_HEX = re.compile(r"[0-9a-fA-F]{32,64}")
#: Something without any of these mentions nobody.
_MAY_MENTION = re.compile(r"@|\uff20|40|64|commat|[A-Za-z0-9+/_-]{12,}")
_IP = re.compile(
    r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9])|(?<![\w:.])[0-9a-fA-F]*(?::[0-9a-fA-F]*){2,7}(?![\w:])"
)


class Mentions:
    """Replaces addresses in texts that belong to one event, or to none."""

    def __init__(self, pseudonyms: Pseudonyms, address: str | None = None, ip: str | None = None) -> None:
        """`address` and `ip` are those of the person whom the event is about."""
        self._pseudonyms = pseudonyms
        self._address = folded(address) if address and pseudonyms.recipients and "@" in address else ""
        if is_pseudonym(self._address):
            self._address = ""
        #: The address as it may be written by those who do not fold it.
        self._forms: set[str] = set()
        #: What is in every base64 of these; made when it is first asked for.
        self._cores: list[str] | None = None
        if self._address and address:
            local, _, domain = self._address.rpartition("@")
            self._forms = {self._address, f"{local}@{unicode_domain(domain)}", address.strip().lower()}
        self._own = _whole_forms(self._forms)
        self._ips = _spellings_of_ip(ip) if ip and pseudonyms.ips else ()

    def without(self, text: str) -> str:
        """The text with pseudonyms in the place of all addresses."""
        if self._ips:
            text = self._without_ips(text)
        if not self._pseudonyms.recipients or not _MAY_MENTION.search(text):
            return text
        if self._own is not None:
            text = self._own.sub(self._of_own, text)
        text = self._without_encoded(self._without_addresses(text))
        return HIDDEN if self._address and self._is_still_in(text) else text

    def whole(self, text: str) -> str:
        """The same of a value: if it is an address and nothing else, its pseudonym."""
        bare = text.strip()
        if self._pseudonyms.ips and 3 <= len(bare) <= 45 and _is_ip(bare):
            return self._pseudonyms.ip(bare)
        if self._address and "@" in text and folded(text) == self._address:
            return self._pseudonyms.address(text)
        return self.without(text)

    def may_be_in(self, text: str) -> bool:
        """Whether it is worth looking for addresses in a text."""
        if self._pseudonyms.recipients and _MAY_MENTION.search(text):
            return True
        return self._pseudonyms.ips and _IP.search(text) is not None

    def without_any_ip(self, text: str) -> str:
        """The text with pseudonyms in the place of everything that is an IP address."""
        if not self._pseudonyms.ips:
            return text
        return _IP.sub(lambda found: self._pseudonyms.ip(found[0]) if _is_ip(found[0]) else found[0], text)

    # --- what is found ---

    def _without_ips(self, text: str) -> str:
        for ip in self._ips:
            if ip in text:
                end = "[\\w:]" if ":" in ip else "\\w"  # behind one of IPv4 there may be a port
                as_such = rf"(?<![\w.:]){re.escape(ip)}(?!{end}|\.[0-9])"
                text = re.sub(as_such, lambda found: self._pseudonyms.ip(unquote(found[0])), text)
        return text

    def _without_addresses(self, text: str) -> str:
        kept, after, least = [], 0, 0
        for at in _AT.finditer(text):
            # First what is ahead: nothing is looked back at twice, however many signs a stranger has sent.
            domain = _DOMAIN.match(text, at.end()) if at.start() >= least else None
            if domain is None or (start := _local_start(text, at.start(), least)) == at.start():
                continue
            name = domain[0].rstrip(".-") or domain[0]
            least = at.end() + len(name)
            pseudonym = self._of(text[start : at.start()], name)
            if pseudonym is None:
                continue
            kept += [text[after:start], pseudonym, at[0], DOMAIN]
            after = least
        return "".join((*kept, text[after:])) if kept else text

    def _of(self, local: str, domain: str) -> str | None:
        """What stands before the @ of a pseudonym of an address; None if it is one already."""
        address = folded(f"{_plain(local)}@{_plain(domain)}")
        # In `from=jan@example.nl` of an unusual kind, say: the longer text is not the person's address.
        if self._address and address.endswith(self._address) and not address[: -len(self._address)][-1:].isalnum():
            address = self._address
        return None if is_pseudonym(address) else self._pseudonyms.address(address).partition("@")[0]

    def _of_own(self, found: re.Match[str]) -> str:
        """The pseudonym of the person's own address, with the @ as it was written."""
        at = _AT.search(found[0])
        return self._pseudonyms.address(self._address).replace("@", at[0] if at else "@")

    def _without_encoded(self, text: str) -> str:
        text = _BASE64.sub(self._of_word, text)
        text = _WORD.sub(self._of_word, text)
        if self._address and _HEX.search(text):
            written = [form.encode("utf-8", "replace") for form in self._forms]
            known = {made(form).hexdigest() for form in written for made in (md5, sha1, sha256)}
            mine = self._pseudonyms.address(self._address)
            text = _HEX.sub(lambda found: mine if found[0].lower() in known else found[0], text)
        return text

    def _of_word(self, word: re.Match[str]) -> str:
        encoded = unquote(word[0]).rstrip("=").replace("-", "+").replace("_", "/").encode()
        try:
            decoded = b64decode(encoded[: len(encoded) - (len(encoded) % 4 == 1)] + b"==")
        except binascii.Error:
            return word[0]
        found = _ADDRESS_IN_BYTES.search(decoded)
        if found is None:
            return word[0]
        address = found[0].decode("latin-1")
        return word[0] if is_pseudonym(folded(address)) else self._pseudonyms.address(address)

    # --- what is left ---

    def _is_still_in(self, text: str) -> bool:
        if _SIGN.search(text) and any(form in reading for reading in _readings(text) for form in self._forms):
            return True
        if self._cores is None:
            self._cores = [core for form in self._forms for core in _cores(form)]
        return any(core in text for core in self._cores)


def _whole_forms(forms: set[str]) -> re.Pattern[str] | None:
    """What finds an address that others would be seen to begin within: `d'hondt@example.be`, also escaped."""
    split = [form for form in forms if not _BETWEEN.isdisjoint(form)]
    if not split:
        return None
    either = "|".join("".join(map(_as_escaped, form)) for form in split)
    return re.compile(rf"(?i:(?<![\w.+-])|(?<=%[0-9a-f][0-9a-f]))(?i:{either})(?![\w-]|\.\w)")


def _as_escaped(letter: str) -> str:
    """What finds a letter of an address, as such or escaped."""
    if letter == "@":
        return f"(?:{_AT.pattern})"
    plain, code = re.escape(letter), ord(letter)
    if letter not in _BETWEEN:
        return plain
    return rf"(?:{plain}|%(?:25)*{code:02x}|&#0*{code};|&#x0*{code:x};|\\u{code:04x})"


def _local_start(text: str, at: int, least: int) -> int:
    """Where what stands before the @ of an address begins; `at` itself if nothing does."""
    start, least = at, max(least, at - LONGEST)
    while start > least:
        escaped = _ESCAPED.search(text, max(least, start - 3 - 2 * TIMES), start)
        if escaped:
            if chr(int(escaped[1], 16)) in _BETWEEN:
                break
            start = escaped.start()
        elif text[start - 1] in _BETWEEN or text[start - 1].isspace():
            break
        else:
            start -= 1
    return start


def _plain(text: str) -> str:
    for _ in range(TIMES):
        if "%" not in text:
            break
        text = unquote(text)
    return html.unescape(text) if "&" in text else text


def _readings(text: str) -> Iterator[str]:
    """A text as it may be read, without regard to case."""
    reading = text
    for _ in range(TIMES):
        yield _caseless(reading)
        if "%" not in reading:
            break
        reading = unquote(reading)
    yield _caseless(html.unescape(reading).replace("=\r\n", "").replace("=\n", "").replace("=40", "@"))
    yield _caseless(re.sub(r"\\u([0-9a-fA-F]{4})", lambda escape: chr(int(escape[1], 16)), reading))


def _caseless(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _cores(address: str) -> Iterator[str]:
    """What is in every base64 of a longer text that has the address in it, at whichever place it begins."""
    plain = address.encode("utf-8", "replace")
    for before in range(3):
        encoded = b64encode(b"\0" * before + plain).decode().rstrip("=")
        # The first and last letters also depend on what stands around it.
        core = encoded[(before * 8 + 5) // 6 : len(encoded) - 1]
        yield core
        if "+" in core or "/" in core:
            yield core.replace("+", "-").replace("/", "_")


def _spellings_of_ip(ip: str) -> tuple[str, ...]:
    bare = ip.strip()
    return tuple(dict.fromkeys((bare, quote(bare, safe="")))) if bare and not bare.startswith(IP_PREFIX) else ()


def _is_ip(text: str) -> bool:
    if not ("." in text or ":" in text):
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
