"""What comes with an extra: named where it is missing, and careful about what it tells."""

from typing import Any

import pytest

from ingest import sentry, tracing
from ingest.errors import SettingsError
from ingest.settings import Settings


def test_what_other_releases_of_the_library_add_is_left_out() -> None:
    report: Any = {
        "event_id": "x",
        "request": {"data": "body"},
        "user": {"ip_address": "192.0.2.1"},
        "extra": {"sys.argv": ["x"]},
        "breadcrumbs": {"values": [{"message": "x"}]},
        "something_new": "x",
        "contexts": {"runtime": {"name": "CPython"}, "response": {"data": "x"}},
        "threads": {"values": [{"stacktrace": {"frames": [{"vars": {"a": "x"}, "lineno": 1}]}}]},
        "message": "a@b.nl",
    }
    assert sentry.strip(report, {}) == {
        "event_id": "x",
        "contexts": {"runtime": {"name": "CPython"}},
        "threads": {"values": [{"stacktrace": {"frames": [{"lineno": 1}]}}]},
        "message": "***",
    }


def test_what_sentry_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentry, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'copernica-ingest\[sentry\]'"):
        sentry.set_up(Settings.read({"SENTRY_DSN": "https://x@example.nl/1"}), "x")


def test_what_opentelemetry_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'copernica-ingest\[otel\]'"):
        tracing.of(Settings.read({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}))
