"""What events go on to once they are stored, apart from your code."""

import asyncio
from collections.abc import Iterator

from ingest.errors import IngestError
from ingest.health import RiskCode
from ingest.settings import Settings
from ingest.shown import counted
from workers.operations.check.findings import Finding, ok, wrong


def check(settings: Settings) -> Iterator[Finding]:
    """Each that is configured, by putting something there."""
    if settings.export_to is not None:
        yield _export(settings, settings.export_to)
    if settings.clickhouse_url is not None:
        yield asyncio.run(_clickhouse(settings.clickhouse_url))
    if settings.kafka_url is not None:
        yield _kafka(settings.kafka_url)


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


async def _clickhouse(url: str) -> Finding:
    from workers.handlers.clickhouse import ClickHouse  # noqa: PLC0415  # an HTTP client

    try:
        table = ClickHouse.of(url)
        await table.try_out()
    except IngestError as error:
        return wrong("clickhouse", RiskCode.SINK_FAILS, str(error))
    return ok("clickhouse", f"{table.shown} has all columns, and takes rows")


def _kafka(url: str) -> Finding:
    try:
        from workers.handlers.kafka import Topic  # noqa: PLC0415  # an extra, which may be missing

        topic = Topic.of(url)
        partitions = topic.try_out()
    except ModuleNotFoundError:
        return wrong("kafka", RiskCode.SINK_FAILS, "Kafka needs its client: pip install 'copernica-ingest[kafka]'")
    except IngestError as error:
        return wrong("kafka", RiskCode.SINK_FAILS, str(error))
    return ok("kafka", f"{topic.shown} has {counted(partitions, 'partition')}")
