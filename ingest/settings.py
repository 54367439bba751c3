"""All settings, read once from the environment and passed on as a value.

Names that have a convention follow it (`REDIS_URL`, `DATABASE_URL`, `PORT`, `WEB_CONCURRENCY`, …); ours begin
with `INGEST_`. An empty variable counts as one that is not set.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from ingest.errors import SettingsError

#: In the data folder: the URL of the private server that `ingest dev` runs there.
REDIS_URL_FILE = "redis.url"

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], StringConstraints(to_lower=True, strip_whitespace=True)
]


class Settings(BaseModel):
    """The set-up of one process; frozen, so that it can be handed around."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)

    redis_url: str | None = Field(None, alias="REDIS_URL")
    database_url: str | None = Field(None, alias="DATABASE_URL")
    host: str = Field("127.0.0.1", alias="HOST")
    port: int = Field(8000, alias="PORT", ge=1, le=65535)
    web_concurrency: int = Field(1, alias="WEB_CONCURRENCY", ge=1, le=256)
    log_level: LogLevel = Field("info", alias="LOG_LEVEL")
    #: Where Copernica posts to: this path and everything below it.
    path: str = Field("/copernica", alias="INGEST_PATH")
    #: Signature verification does not exist yet: `off` is all there is to choose.
    verify: Literal["off"] = Field("off", alias="INGEST_VERIFY")
    #: Bytes of body that are taken at the most. Bounces carry a whole MIME message.
    max_body: int = Field(10 * 1024 * 1024, alias="INGEST_MAX_BODY", ge=1, le=100 * 1024 * 1024)
    #: Where `ingest dev` keeps everything, and where the other commands look when no URL is set.
    data_dir: Path = Field(Path("data"), alias="INGEST_DATA_DIR")

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from the environment.

        Raises:
            SettingsError: a value cannot be used; the message names the variable and what is wrong with it.
        """
        try:
            return cls.model_validate({name: value for name, value in environ.items() if value})
        except ValidationError as error:
            first = error.errors()[0]
            name, value = first["loc"][0], str(first["input"])[:100]
            why = first["msg"].removeprefix("Value error, ")
            raise SettingsError(f"{name}={value!r} cannot be used: {why}.") from None

    @field_validator("path")
    @classmethod
    def _plain_path(cls, path: str) -> str:
        if not path.startswith("/") or path != path.strip() or any(c in path for c in "?#%{} "):
            raise ValueError("it should be a plain path that begins with a slash")
        return path.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str | None) -> str | None:
        if url is not None and (not url.startswith("sqlite:///") or url in ("sqlite:///", "sqlite:///:memory:")):
            raise ValueError("the store runs on SQLite so far, in a file; write sqlite:///path/to/file.db")
        return url

    @property
    def database(self) -> str:
        """Where events are stored, as an SQLAlchemy URL; by default a file in the data folder."""
        return self.database_url or f"sqlite:///{self.data_dir / 'ingest.db'}"

    @property
    def redis(self) -> str:
        """Where the stream and the job queue live: `REDIS_URL`, or the private server of `ingest dev`.

        Raises:
            SettingsError: neither is there.
        """
        if self.redis_url:
            return self.redis_url
        try:
            return (self.data_dir / REDIS_URL_FILE).read_text().strip()
        except OSError:
            raise SettingsError(
                f"REDIS_URL is not set and no `ingest dev` runs in {self.data_dir}/: set one or start the other."
            ) from None
