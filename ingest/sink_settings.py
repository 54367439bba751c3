"""The settings of what events go on to, once they are stored: a part of `ingest.settings`."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from ingest.setting_values import CommaList

#: The time of day (UTC) of the daily export where log files are never compared.
EXPORT_AT = "04:00"


class SinkSettings(BaseSettings):
    """Where events go on to; see `ingest.settings.Settings`, which has these too."""

    #: Python modules that hold handlers: `myapp.events`.
    handlers: CommaList = Field((), alias="INGEST_HANDLERS")
    #: URLs of scripts that every call is forwarded to, with their options after a `#`.
    forward_url: CommaList = Field((), alias="INGEST_FORWARD_URL", repr=False)
    #: The key that signs forwarded calls, as Standard Webhooks defines it: base64, as in `whsec_…`. Several, with
    #: commas between them, sign each call with all of them, while receivers change from one to the next.
    forward_secret: str | None = Field(None, alias="INGEST_FORWARD_SECRET", repr=False)
    #: The table of ClickHouse, and the topic of Kafka, that events are put into, with options after a `#`.
    clickhouse_url: str | None = Field(None, alias="INGEST_CLICKHOUSE_URL", repr=False)
    kafka_url: str | None = Field(None, alias="INGEST_KAFKA_URL", repr=False)
    #: Where days are exported to by themselves: a folder, or `s3://bucket/prefix`; None: nowhere.
    export_to: str | None = Field(None, alias="INGEST_EXPORT_TO")
    #: As what.
    export_format: Literal["parquet", "jsonl", "csv"] = Field("parquet", alias="INGEST_EXPORT_FORMAT")
