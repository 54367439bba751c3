"""What is said of user agents, and of codes of mail servers."""

import pytest

from ingest.console.reasons import PERMANENT, TEMPORARY, of_code, of_status
from ingest.copernica.user_agents import DEVICES, IMAGES, LONGEST, SCANNER, Reader, device_of, reader_of

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"
)
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
)


@pytest.mark.parametrize(
    ("text", "reader"),
    [
        (CHROME, Reader("Chrome 120", "Windows")),
        (f"{CHROME} Edg/121.0", Reader("Edge 121", "Windows")),
        (PHONE, Reader("Apple Mail", "iPhone")),
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
         Reader("Firefox 11", "Windows", "Gmail", IMAGES)),
        ("Mozilla/5.0", Reader("", "", "Apple", IMAGES)),
        ("Mozilla/5.0 (compatible; bingbot/2.0)", Reader("", "", "Microsoft", SCANNER)),
        ("x" * 1_000_000, Reader("", "")),
        ("", Reader("", "")),
    ],
)  # fmt: skip  # a list to be read across
def test_a_user_agent_is_told_in_a_few_words(text: str, reader: Reader) -> None:
    assert reader_of(text) == reader


def test_a_status_says_what_is_wrong_and_for_how_long() -> None:
    assert of_status("5.1.1") == ["There is no mailbox with this address.", PERMANENT]
    assert of_status(" 4.2.2 ") == ["The mailbox is full.", TEMPORARY]
    assert of_status("5.7.99") == [of_status("5.7.0")[0], PERMANENT]
    assert of_status("5.9.9") == [PERMANENT]
    assert [of_status(text) for text in ("2.0.0", "", None, "5.1", "6.1.1", "5.1.1" * 9999)] == [[]] * 6
    assert of_code(550)[1:] == [PERMANENT]
    assert of_code(450)[1:] == [TEMPORARY]
    assert [of_code(code) for code in (None, 250, 600, -1)] == [[]] * 4


AGENTS = {
    "phone": (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Mobile Safari",
        "Outlook-iOS/2.0",
        "Outlook-Android/4.2",
    ),
    "tablet": (
        "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
        "Mozilla/5.0 (Linux; Android 13; SM-X900) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Safari/537.36",
    ),
    "mail-client": (
        "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
        "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.5.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    ),
    "desktop": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Safari",
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Safari/537.36",
    ),
    "proxy": (
        "Mozilla/5.0",
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    ),
    "bot": (
        "Mozilla/5.0 (Linux; Android 6; Nexus) Chrome/120 Mobile (compatible; Googlebot/2.1)",
        "curl/8.0",
        "python-requests/2.31",
        "WhatsApp/2.23",
    ),
    "unknown": ("", "\0", "Lotus Notes", "x" * LONGEST + "iPhone"),
}


@pytest.mark.parametrize(("device", "text"), [(device, text) for device in AGENTS for text in AGENTS[device]])
def test_a_user_agent_tells_the_kind_of_device(device: str, text: str) -> None:
    assert device_of(text) == device
    assert device in DEVICES
