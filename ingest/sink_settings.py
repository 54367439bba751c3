"""The settings of what events go on to, once they are stored: a part of `ingest.settings`."""

from typing import Literal

from pydantic import BaseModel, Field

from ingest.setting_values import CommaList

#: The time of day (UTC) of the daily export where log files are never compared.
EXPORT_AT = "04:00"


class SinkSettings(BaseModel):
    """Where events go on to; see `ingest.settings.Settings`, which has these too."""

    handlers: CommaList = Field((), alias="INGEST_HANDLERS")
    forward_url: CommaList = Field((), alias="INGEST_FORWARD_URL", repr=False)
    forward_secret: str | None = Field(None, alias="INGEST_FORWARD_SECRET", repr=False)
    clickhouse_url: str | None = Field(None, alias="INGEST_CLICKHOUSE_URL", repr=False)
    kafka_url: str | None = Field(None, alias="INGEST_KAFKA_URL", repr=False)
    export_to: str | None = Field(None, alias="INGEST_EXPORT_TO")
    export_format: Literal["parquet", "jsonl", "csv"] = Field("parquet", alias="INGEST_EXPORT_FORMAT")
