"""One rule for which addresses are the same, however they are written: for search, erasure and reconciling.

Case never counts, in any script, nor does how an accented letter is composed. A domain is the same in Unicode and
in the ASCII form that the DNS has for it (`exämple.nl`, `xn--exmple-cua.nl`). A name before the address and blanks
around it are no part of it. For IP addresses, what counts is the address, not how it is abbreviated.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

import idna

#: An address after a name, `Zoë <zoë@example.nl>`, and nothing that could be more than one of these.
_NAMED = re.compile(r"""(?:"[^"\r\n]*"\s*|[^<>@:"\r\n]*)<\s*([^<>\s]*)\s*>""")
#: Addresses whose folded form is remembered: few have letters beyond ASCII, and those come again.
REMEMBERED = 4096
#: Most characters of an address that is remembered; no longer one can be delivered to.
MAX_LENGTH = 320
#: Most characters of a domain in the DNS.
MAX_DOMAIN = 255


def folded(address: str) -> str:
    """The one way to write an e-mail address that all ways to write it have in common."""
    if address.isascii() and ">" not in address:  # nearly all
        return address.strip().lower()
    return _remembered(address) if len(address) <= MAX_LENGTH else _folded(address)


def all_folded(addresses: Sequence[str]) -> Sequence[str]:
    """The same of many, in a third of the time or less where nothing about any of them is unusual."""
    text = "".join(addresses)
    if not text.isascii() or ">" in text:
        return list(map(folded, addresses))
    if text.isprintable() and " " not in text and text == text.lower():
        return addresses
    return [address.strip().lower() for address in addresses]


@lru_cache(REMEMBERED)
def _remembered(address: str) -> str:
    return _folded(address)


def bare(address: str) -> str:
    """An address as it is written, without a name before it and blanks around it."""
    text = address.strip()
    named = _NAMED.fullmatch(text) if len(text) <= 2 * MAX_LENGTH else None
    return named[1] if named else text


def _folded(address: str) -> str:
    text = bare(address)
    if text.isascii():
        return text.lower()
    local, at, domain = text.rpartition("@")
    return f"{_caseless(local)}@{folded_domain(domain)}" if at else _caseless(text)


def folded_domain(domain: str) -> str:
    """A domain in lower case, as the DNS has it."""
    if domain.isascii():
        return domain.lower()
    if len(domain) > MAX_DOMAIN:
        return _caseless(domain)
    try:
        # As browsers do it: with its case folded, and any of the dots that other scripts have.
        return idna.encode(domain, uts46=True).decode()
    except UnicodeError:
        return ".".join(map(_label, _caseless(domain).split(".")))


def _label(label: str) -> str:
    """One label of a domain that the standard does not allow, but that exists: with an emoji, or an underscore."""
    return label if label.isascii() else f"xn--{label.encode('punycode').decode()}"


def unicode_domain(domain: str) -> str:
    """A domain as people read it; the same domain if no label of it can be read so."""
    labels = []
    for label in domain.lower().split("."):
        try:
            labels.append(label[4:].encode().decode("punycode") if label.startswith("xn--") else label)
        except UnicodeError:
            labels.append(label)
    return ".".join(labels)


def _caseless(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def canonical_ip(ip: str) -> str:
    """An IP address as the RFCs write it; one of IPv4 as such, also where IPv6 wraps it (`::ffff:192.0.2.7`)."""
    if ":" in ip or ("0" in ip and _is_padded(ip)):
        return _canonical_ip(ip)
    return ip.strip()


def _is_padded(ip: str) -> bool:
    return ip[0] == "0" or ".0" in ip


@lru_cache(REMEMBERED)
def _canonical_ip(text: str) -> str:
    bare = text.strip().lower()
    if bare.startswith("["):  # [2001:db8::7]:443
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:  # 192.0.2.7:443
        bare = bare.partition(":")[0]
    bare = bare.partition("%")[0]  # the zone of a link-local address
    if ":" not in bare:  # 192.000.002.007
        return ".".join(part.lstrip("0") or "0" if part.isdecimal() else part for part in bare.split("."))
    try:
        ip = ip_address(bare)
    except ValueError:
        return bare
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return str(mapped or ip)
