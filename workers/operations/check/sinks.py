"""What events go on to once they are stored, apart from your code."""

from collections.abc import Iterator

from ingest.errors import IngestError
from ingest.health import RiskCode
from ingest.settings import Settings
from workers.operations.check.findings import Finding, ok, wrong


def check(settings: Settings) -> Iterator[Finding]:
    """Each that is configured, by putting something there."""
    if settings.export_to is not None:
        yield _export(settings, settings.export_to)


def _export(settings: Settings, to: str) -> Finding:
    try:
        if settings.export_format == "parquet":
            from workers.export import parquet  # noqa: F401, PLC0415  # an extra, which may be missing
        from workers.export.trial import try_out  # noqa: PLC0415

        shown = try_out(to)
    except ModuleNotFoundError:
        text = "days cannot be exported: pip install 'copernica-ingest[parquet]'"
        return wrong("export", RiskCode.EXPORT_FAILS, text)
    except IngestError as error:
        return wrong("export", RiskCode.EXPORT_FAILS, str(error))
    return ok("export", f"{shown} takes files, daily as {settings.export_format}")
