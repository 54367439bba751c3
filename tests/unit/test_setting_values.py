"""Values of settings that would be taken, and then have every call refused, are refused with the right form."""

import pytest

from ingest.errors import SettingsError
from ingest.settings import Settings


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://hooks.example.nl", "write hooks.example.nl"),
        ("https://u:p@Hooks.example.nl:443/copernica?x#y", "write hooks.example.nl"),
        ("hooks.example.nl/", "write hooks.example.nl"),
        ("hooks.example.nl/copernica", "write hooks.example.nl"),
        ("//hooks.example.nl", "write hooks.example.nl"),
        ("hooks.example.nl.", "write hooks.example.nl"),
        ("hooks.example.nl:443", "write hooks.example.nl"),
        ("http://hooks.example.nl:8080/", "write hooks.example.nl:8080"),
        ("hooks.exämple.nl", "write hooks.xn--exmple-cua.nl"),
        ("*.example.nl", "write each name by itself"),
        ("*", "write each name by itself, or none at all for any"),
        ("hooks example.nl", "write hooks.example.nl"),
        ("https://", "write hooks.example.nl"),
    ],
)
def test_a_host_that_no_call_can_have_is_refused_with_the_right_form(written: str, meant: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({"INGEST_HOSTS": f"ok.example.nl, {written}"})
    assert meant in str(refused.value)


def test_hosts_as_calls_have_them_are_taken() -> None:
    hosts = "hooks.example.nl, Hooks_2.example.nl:8000,localhost,127.0.0.1:80800,[::1]:8000"
    assert len(Settings.read({"INGEST_HOSTS": hosts}).hosts) == 5


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("opens=90", "Did you mean open?"),
        ("open", "write open=90,click=90"),
        ("open=0", "from 1 to 36,500"),
        ("open=ninety", "from 1 to 36,500"),
        ("open=9,open=8", "names open twice"),
        ("open=500", "set that to 500"),
    ],
)
def test_days_of_types_that_cannot_be_used_are_refused_with_the_right_form(written: str, why: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({"INGEST_RETENTION_DAYS": "400", "INGEST_RETENTION_TYPES": written})
    assert why in str(refused.value)


def test_each_type_is_kept_for_its_days_and_all_others_for_those_of_all() -> None:
    settings = Settings.read({"INGEST_RETENTION_DAYS": "400", "INGEST_RETENTION_TYPES": " open=90, click = 30,"})
    assert [settings.kept_days(kind) for kind in ("open", "click", "bounce")] == [90, 30, 400]
    assert settings.shortest_retention == 30


@pytest.mark.parametrize("name", ["INGEST_DATA_DIR", "COPERNICA_TOKEN", "HOST"])
def test_what_is_no_text_is_refused_in_one_sentence_that_does_not_show_it(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} cannot be used: it has bytes that are not UTF-8") as refused:
        Settings.read({name: "caf\udce9"})
    assert "caf" not in str(refused.value)
