"""Where something listens, as people and programs type it."""

import pytest

from ingest.listening import url_from_here, url_of
from ingest.settings import Settings


@pytest.mark.parametrize(
    ("host", "shown", "reached"),
    [
        ("127.0.0.1", "http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://0.0.0.0:80", "http://127.0.0.1:80"),
        ("*", "http://*:80", "http://127.0.0.1:80"),
        ("::", "http://[::]:80", "http://[::1]:80"),
        ("::1", "http://[::1]:80", "http://[::1]:80"),
        ("web.example.nl", "http://web.example.nl:80", "http://web.example.nl:80"),
    ],
)
def test_a_url_leads_to_what_listens_there(host: str, shown: str, reached: str) -> None:
    assert (url_of(host, 80), url_from_here(host, 80)) == (shown, reached)


@pytest.mark.parametrize("setting", ["HOST", "INGEST_CONSOLE_HOST", "INGEST_METRICS_HOST"])
def test_an_address_may_have_the_brackets_of_a_url(setting: str) -> None:
    settings = Settings.read({setting: " [::1] "})
    assert "::1" in (settings.host, settings.console_host, settings.metrics_host)
