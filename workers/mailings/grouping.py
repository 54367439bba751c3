"""What is counted as the same: reasons of failures, links, clients, tags.

What is personal in them is left out, so that figures hold no data of people, and so that what everybody has of
his own (an address in a reason, a number in a link) is one row and not a million.
"""

import json
import re
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import urlsplit

from ingest.copernica.message_ids import bare
from ingest.copernica.user_agents import device_of

#: Characters of a reason, a link or a tag that are kept: what is longer is cut.
LONGEST = 160
#: Tags of one event that are counted.
MOST_TAGS = 20
#: Texts of one kind whose group is remembered: a mailing has some links and some hundreds of clients.
REMEMBERED = 20_000
#: Stands for what is left out.
LEFT_OUT = "…"

_ADDRESS = re.compile(r"<?[^\s<>@\"']{1,64}@[^\s<>@\"']+>?")
#: What may be a number of a queue or a session, or an address of the internet: left out from four digits on.
_WORD = re.compile(r"[\w.:]+")
_DIGIT = re.compile(r"\d")
#: Digits of a word in a reason that say nothing: codes such as 5.1.1 have three.
MOST_DIGITS = 3
_SPACE = re.compile(r"\s+")
#: A part of a path that is somebody's own: long, with digits in it.
_TOKEN = re.compile(r"(?=[^/]*\d)[\w~.=-]{16,}")

#: What is in the name of a client, the first that fits: what shows pictures for others before the browsers.
_CLIENTS = (
    ("googleimageproxy", "Gmail"),
    ("ggpht.com", "Gmail"),
    ("yahoomailproxy", "Yahoo Mail"),
    ("thunderbird", "Thunderbird"),
    ("microsoft outlook", "Outlook"),
    ("ms-office", "Outlook"),
    ("msoffice", "Outlook"),
    ("iphone", "iPhone"),
    ("ipad", "iPad"),
    ("android", "Android"),
    ("cros ", "ChromeOS"),
    ("macintosh", "Mac"),
    ("windows", "Windows"),
    ("linux", "Linux"),
)
_BOTS = re.compile(r"bot\b|crawl|spider|scan|barracuda|mimecast|proofpoint|curl/|python|java/|headless", re.I)
#: Apple's proxy, which loads pictures whether or not somebody reads, says no more than this.
_APPLE_PROXY = "Mozilla/5.0"


@lru_cache(REMEMBERED)
def reason(code: int | None, extended: str | None, description: str | None, state: str | None) -> str:
    """Why a message failed: its codes, and what the server said without addresses and numbers."""
    said = _SPACE.sub(" ", (description or "")[: 4 * LONGEST]).strip()
    said = _WORD.sub(_without_numbers, _ADDRESS.sub(LEFT_OUT, said))
    codes = " ".join(str(each) for each in (code, extended) if each not in (None, ""))
    return _cut(" ".join(filter(None, (codes, said))) or (state or ""))


def _without_numbers(word: "re.Match[str]") -> str:
    return LEFT_OUT if len(_DIGIT.findall(word[0])) > MOST_DIGITS else word[0]


@lru_cache(REMEMBERED)
def link(url: str | None) -> str:
    """A link without what belongs to one recipient: its query, its fragment, addresses and tokens in its path."""
    if not url:
        return ""
    try:
        parts = urlsplit(url[: 16 * LONGEST].strip())
        host = parts.netloc.rpartition("@")[2].lower()
    except ValueError:  # brackets that are no address, say
        return LEFT_OUT
    if not host:  # no web page: `mailto:`, `tel:`
        return f"{parts.scheme}:{LEFT_OUT}" if parts.scheme else _cut(_ADDRESS.sub(LEFT_OUT, parts.path))
    steps = parts.path.replace("%40", "@").split("/")
    path = "/".join(_TOKEN.sub(LEFT_OUT, _ADDRESS.sub(LEFT_OUT, step)) for step in steps)
    return _cut(f"{parts.scheme}://{host}{path}" + (f"?{LEFT_OUT}" if parts.query else ""))


@lru_cache(REMEMBERED)
def client(user_agent: str | None) -> str:
    """The program or device that a message was read with, as far as it tells; empty if it does not."""
    if not user_agent:
        return ""
    if user_agent.strip() == _APPLE_PROXY:
        return "Apple Mail"
    if _BOTS.search(user_agent):
        return "Robots"
    name = user_agent[: 4 * LONGEST].lower()
    return next((found for sign, found in _CLIENTS if sign in name), "")


@lru_cache(REMEMBERED)
def device(user_agent: str | None) -> str:
    """The kind of device that opened or clicked."""
    return device_of(user_agent or "")


@lru_cache(REMEMBERED)
def tags(as_json: str | None) -> tuple[str, ...]:
    """The tags of an event, each once, from the JSON text of their column."""
    if not as_json or as_json == "[]":
        return ()
    try:
        found = json.loads(as_json)
    except ValueError:
        return ()
    named = [_cut(each) for each in found if isinstance(each, str) and each] if isinstance(found, list) else []
    return tuple(dict.fromkeys(named[:MOST_TAGS]))


def message(message_id: str) -> int:
    """A hash of a message's id, of 64 bits, the same in every process."""
    text = bare(message_id).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big", signed=True)


def _cut(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + LEFT_OUT
