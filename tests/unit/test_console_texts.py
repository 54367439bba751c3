"""Each text of the console is there in each language, whole and with the same places for values."""

import re
from collections.abc import Iterator
from typing import get_args

import pytest
from babel.messages.extract import extract_from_dir

from ingest.console.known_texts import ABOUT, DAY_CAUSES
from ingest.console.texts import LANGUAGES, catalogues
from ingest.console.warning_texts import WHAT
from tests.support.source import ROOT
from workers.operations.check.findings import About
from workers.operations.warnings import Code
from workers.reconcile.report import DayCause
from workers.totals.report import Cause

METHODS = [("**.py", "python"), ("**.html", "jinja2")]
OPTIONS = {"**.html": {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}}
#: What to do about each warning, and why totals may differ: pages' only texts with code between backticks.
MARKED = (*(code.remedy for code in Code), *(cause.text for cause in Cause))
PLACES = re.compile(r"%\(\w+\)[sd]|%[sd]")


def written() -> Iterator[str | tuple[str, ...]]:
    """The texts in modules and templates, and those that the program has elsewhere."""
    yield from MARKED
    for _, _, text, _, _ in extract_from_dir(ROOT / "ingest" / "console", METHODS, OPTIONS):
        yield text


@pytest.mark.parametrize("language", set(LANGUAGES) - {"en"})
def test_each_text_is_translated_with_its_places(language: str) -> None:
    known = {message.id: message.string for one in catalogues(language) for message in one if message.id}
    known = {key if isinstance(key, str) else key[0]: text for key, text in known.items()}
    texts = {text if isinstance(text, str) else text[0] for text in written()}
    assert len(texts) > 10
    assert sorted(texts - known.keys()) == []
    assert sorted(known.keys() - texts) == [], "no longer used"
    for text in texts:
        translated = known[text] or ()
        assert translated, text
        for one in [translated] if isinstance(translated, str) else translated:
            assert one
            assert set(PLACES.findall(one)) <= set(PLACES.findall(text)), text


def test_no_text_is_in_two_files() -> None:
    ids = [message.id for one in catalogues("nl") for message in one if message.id]
    assert sorted(map(str, ids)) == sorted({str(one) for one in ids})


def test_dutch_has_one_word_for_each_thing() -> None:
    for message in (one for catalogue in catalogues("nl") for one in catalogue if one.id):
        ours, dutch = str(message.id), str(message.string)
        assert not re.search(r"\b(de|elke) (volgende )?event\b", dutch, re.I), dutch  # het event
        assert "webhook" in ours.lower() or "webhook" not in dutch.lower(), dutch  # a call is an aanroep
        assert ("ead letter" in ours) == ("ead letter" in dutch), dutch
        assert "`" not in ours or ours in MARKED, "a page shows them as they are"


def test_each_warning_says_in_each_language_what_it_is_about() -> None:
    assert set(WHAT) == set(Code)


def test_each_finding_and_each_lacking_day_says_in_each_language_what_it_is_about() -> None:
    assert sorted(ABOUT) == sorted(get_args(About))
    assert set(DAY_CAUSES) == set(DayCause)
