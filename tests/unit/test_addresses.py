"""Addresses are the same, or not, however they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.copernica.addresses import all_folded, canonical_ip, folded, unicode_domain


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jan@Example.NL", "jan@example.nl"),
        (" jan@example.nl\r\n", "jan@example.nl"),
        ("RENÉE@example.nl", "renée@example.nl"),
        ("rene\u0301e@example.nl", "renée@example.nl"),
        ("Zoë.Šimůnek+test@exämple.nl", "ZOË.ŠIMŮNEK+TEST@XN--EXMPLE-CUA.NL"),
        ("jan@EXÄMPLE.nl", "jan@xn--exmple-cua.nl"),
        ("jan@exa\u0308mple。nl", "jan@xn--exmple-cua.nl"),
        ("STRASSE@example.nl", "straße@example.nl"),
        ("ΝΊΚΟΣ@example.gr", "νίκος@example.gr"),
        ("почта@ПРИМЕР.рф", "ПОЧТА@xn--e1afmkfd.xn--p1ai"),
        ("jan@i❤.ws", "jan@xn--i-7iq.ws"),
        ("jan@_dmarc.exämple.nl", "jan@_dmarc.xn--exmple-cua.nl"),
        ("Zoë <zoë@example.nl>", "ZOË@example.nl"),
        ('"Jansen, Jan" <jan@example.nl>', "jan@example.nl"),
        ("Jan <JAN@example.nl> ", "jan@example.nl"),
        ("<jan@example.nl>", "jan@example.nl"),
    ],
)
def test_one_address_written_in_two_ways_is_one(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.slow
@given(
    st.lists(st.sampled_from(("Jan@x.nl", " a ", "", "<B@x.nl>", "C <c@x.nl>", "É@x.nl")) | st.text(max_size=9))
)
def test_many_addresses_are_folded_as_each_of_them_is(addresses: list[str]) -> None:
    assert list(all_folded(addresses)) == list(map(folded, addresses))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("renee@example.nl", "renée@example.nl"),
        ("jan@faß.de", "jan@fass.de"),
        ("jan+a@example.nl", "jan@example.nl"),
        ("j.an@example.nl", "jan@example.nl"),
        ("jan@example.nl", "jan@example.nl.example.org"),
        ("piet@example.nl, Jan <jan@example.nl>", "jan@example.nl"),
        ("To: Jan <jan@example.nl>", "jan@example.nl"),
        ("Eva <eva@example.nl>\r\nJan <jan@example.nl>", "jan@example.nl"),
    ],
)
def test_what_only_looks_alike_is_not_the_same(one: str, other: str) -> None:
    assert folded(one) != folded(other)


@given(st.text(st.characters(), max_size=400))
def test_any_text_can_be_folded_and_folding_it_again_changes_nothing(text: str) -> None:
    once = folded(text)
    assert folded(once) == once or "<" in text or "@" not in text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:c000:207", "192.0.2.7"),
        ("192.000.002.007", "192.0.2.7"),
        ("192.0.2.7:443", "192.0.2.7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("no address", "no address"),
        ("", ""),
    ],
)
def test_an_ip_address_is_one_however_it_is_abbreviated(one: str, other: str) -> None:
    assert canonical_ip(one) == canonical_ip(other)


def test_a_domain_is_shown_as_people_read_it() -> None:
    assert unicode_domain("XN--exmple-cua.nl") == "exämple.nl"
    assert unicode_domain("xn--é.example.nl") == "xn--é.example.nl"
