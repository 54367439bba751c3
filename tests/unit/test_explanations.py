"""What is said of user agents, and of codes of mail servers."""

import pytest

from ingest.console.reasons import PERMANENT, TEMPORARY, of_code, of_status
from ingest.copernica.user_agents import IMAGES, SCANNER, Reader, reader_of

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
