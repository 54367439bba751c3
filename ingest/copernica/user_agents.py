"""What a user agent says, in a few words: which program on which system, or whose proxy fetched the image.

A person wants to know whether somebody read the message on a phone; nobody has to know the version of an engine.
What is not known is left to speak for itself.
"""

import re
from typing import NamedTuple

#: Characters that are looked at: what follows says nothing more.
LONGEST = 1000

#: What fetches in the recipient's place: a proxy for images, a scanner or crawler, a preview of links, a program.
IMAGES, SCANNER, PREVIEW, PROGRAM = "images", "scanner", "preview", "program"
#: Whoever fetches images or links in the recipient's place, by a part of what they call themselves. The IP address
#: and the time are theirs then, and an open may be nobody's.
PROXIES = (
    ("GoogleImageProxy", "Gmail", IMAGES),
    ("YahooMailProxy", "Yahoo", IMAGES),
    ("YahooCacheSystem", "Yahoo", IMAGES),
    ("Barracuda", "Barracuda", SCANNER),
    ("BingPreview", "Microsoft", PREVIEW),
    ("SafeLinks", "Microsoft", SCANNER),
    ("Proofpoint", "Proofpoint", SCANNER),
    ("Mimecast", "Mimecast", SCANNER),
    ("facebookexternalhit", "Facebook", PREVIEW),
    ("WhatsApp/", "WhatsApp", PREVIEW),
    ("Slackbot", "Slack", PREVIEW),
    ("Googlebot", "Google", SCANNER),
    ("bingbot", "Microsoft", SCANNER),
    ("HeadlessChrome", "HeadlessChrome", PROGRAM),
    ("python-requests", "Python", PROGRAM),
    ("curl/", "curl", PROGRAM),
    ("Wget/", "Wget", PROGRAM),
)
#: Programs, the more particular first: most call themselves Mozilla, Chrome and Safari as well.
_PROGRAMS = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"Outlook-iOS/(\d+)?", "Outlook (iOS)"),
        (r"Outlook-Android/(\d+)?", "Outlook (Android)"),
        (r"Microsoft Outlook (\d+)|ms-office|MSOffice (\d+)|Outlook/", "Outlook"),
        (r"Thunderbird/(\d+)", "Thunderbird"),
        (r"Edg(?:e|A|iOS)?/(\d+)", "Edge"),
        (r"OPR/(\d+)|Opera[ /](\d+)", "Opera"),
        (r"SamsungBrowser/(\d+)", "Samsung Internet"),
        (r"Vivaldi/(\d+)", "Vivaldi"),
        (r"(?:Firefox|FxiOS)/(\d+)", "Firefox"),
        (r"(?:Chrome|CriOS)/(\d+)", "Chrome"),
        (r"Version/(\d+)[\d.]* (?:Mobile/\w+ )?Safari/", "Safari"),
        (r"AppleWebKit/[\d.]+ \(KHTML, like Gecko\)(?: Mobile/\w+)?$", "Apple Mail"),
        (r"MSIE (\d+)|Trident/.*rv:(\d+)", "Internet Explorer"),
    )
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


class Reader(NamedTuple):
    """Who fetched something; each part is empty where it is not known."""

    #: Such as `Chrome 120`.
    program: str
    system: str
    #: Who fetched it in the recipient's place, and what that is: `IMAGES`, …
    proxy: str = ""
    kind: str = ""

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return any(self)


def reader_of(user_agent: str) -> Reader:
    """What a user agent says."""
    text = user_agent[:LONGEST].strip()
    folded = text.lower()
    proxy, kind = next(((name, kind) for part, name, kind in PROXIES if part.lower() in folded), ("", ""))
    if text == "Mozilla/5.0":  # nothing else: as Apple's mail privacy protection does it
        proxy, kind = "Apple", IMAGES
    system = next((name for part, name in _SYSTEMS if part in text), "")
    for pattern, name in _PROGRAMS:
        if found := pattern.search(text):
            version = next(filter(None, found.groups()), "")
            return Reader(f"{name} {version}".strip(), system, proxy, kind)
    return Reader("", system, proxy, kind)


#: Kinds of devices, as figures tell them apart. A `PROXY` fetches images for people, whether or not they read;
#: what a `BOT` opens or clicks is nobody's.
PHONE, TABLET, DESKTOP, MAIL_CLIENT, PROXY, BOT, UNKNOWN = DEVICES = (
    "phone",
    "tablet",
    "desktop",
    "mail-client",
    "proxy",
    "bot",
    "unknown",
)
_BOTS = re.compile(
    r"bot\b|crawl|spider|scan|barracuda|mimecast|proofpoint|curl/|wget/|python|java/|okhttp|headless|go-http-client",
    re.IGNORECASE,
)
#: A tablet with Android names itself as a phone does, but for `Mobile`.
_PHONES = re.compile(r"iPhone|iPod|Android.*Mobile|Outlook-(?:iOS|Android)|Windows Phone|BlackBerry")
_TABLETS = re.compile(r"iPad|Android|Tablet|Kindle|Silk/")
_MAIL_CLIENTS = ("Outlook", "Thunderbird", "Apple Mail")
_DESKTOPS = ("Windows", "macOS", "Linux", "ChromeOS")


def device_of(user_agent: str) -> str:
    """The kind of device that a user agent stands for, one of `DEVICES`, by the first that fits.

    A bot, a proxy for images, a phone, a tablet, a program for mail on a computer, a computer; `UNKNOWN` where
    nothing tells, as of recovered events whose source knows no user agent.
    """
    text = user_agent[:LONGEST]
    reader = reader_of(text)
    if reader.kind == IMAGES:
        return PROXY
    if reader.kind or _BOTS.search(text):
        return BOT
    if _PHONES.search(text):
        return PHONE
    if _TABLETS.search(text):
        return TABLET
    if reader.program.startswith(_MAIL_CLIENTS):
        return MAIL_CLIENT
    return DESKTOP if reader.system in _DESKTOPS else UNKNOWN
