"""All settings, read once from the environment and what `setting_sources` adds to it, and passed on as a value.

Names that have a convention follow it (`REDIS_URL`, `DATABASE_URL`, `PORT`, `WEB_CONCURRENCY`, …); ours begin
with `INGEST_`. An empty variable counts as not set, except `INGEST_SPOOL_DIR`, where it means "none".
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import ByteSize, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo

from ingest import setting_sources, shown
from ingest.copernica.api import API_URL, AUTH_URL
from ingest.copernica.events import DAY
from ingest.errors import SettingsError
from ingest.platforms import Platform, loses, platform_of
from ingest.privacy_settings import PrivacySettings
from ingest.redis_settings import RedisSettings, StreamServer
from ingest.setting_reader import by_name, sentence, undecodable
from ingest.setting_values import (
    Accounts,
    CommaList,
    DatabaseAddress,
    HeaderName,
    HostNames,
    ListeningHost,
    LogFormat,
    LogLevel,
    MailRoute,
    MetricsPort,
    Networks,
    Password,
    PlainPath,
    PlainURL,
    Resolvers,
    SecretURL,
    SigningSecret,
    TimeOfDay,
    Token,
    YesOrNo,
    ZoneName,
)
from ingest.sink_settings import EXPORT_AT, SinkSettings

#: In the data folder: the URL of the private server that `ingest dev` runs there.
REDIS_URL_FILE = "redis.url"
#: In the data folder: the key pair with which `ingest simulate` signs, and its public half for `INGEST_KEYS`.
SIGNER_FILE = "simulator.json"
KEYS_FILE = "keys.json"
#: In the data folder: the spool, unless another folder is named.
SPOOL_FOLDER = "spool"

#: Settings that may hold a secret, and are URLs whose host and path may be shown all the same.
SHOWN_AS_URLS = frozenset(
    {
        "REDIS_URL", "REDIS_TLS_URL", "INGEST_STREAM_URLS", "DATABASE_URL", "COPERNICA_API_URL",
        "COPERNICA_AUTH_URL", "INGEST_FORWARD_URL", "INGEST_SMTPETER_URL", "INGEST_CLICKHOUSE_URL",
        "INGEST_KAFKA_URL",
    }
)  # fmt: skip  # a list to be read across


class Settings(RedisSettings, SinkSettings, PrivacySettings):
    """The set-up of one process; frozen, so that it can be passed around.

    What each setting means is in `ingest.setting_catalogue`. Fields with `repr=False` may hold a password or a
    token: neither `repr` nor an error shows their value.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)

    database_url: DatabaseAddress | None = Field(None, alias="DATABASE_URL", repr=False)
    host: ListeningHost = Field("127.0.0.1", alias="HOST")
    port: int = Field(8000, alias="PORT", ge=1, le=65535)
    web_concurrency: int = Field(1, alias="WEB_CONCURRENCY", ge=1, le=256)
    log_level: LogLevel = Field("info", alias="LOG_LEVEL")
    log_format: LogFormat = Field("text", alias="LOG_FORMAT")
    path: PlainPath = Field("/copernica", alias="INGEST_PATH")
    verify: Literal["on", "off"] = Field("on", alias="INGEST_VERIFY")
    accounts: Accounts = Field((), alias="INGEST_ACCOUNTS")
    hosts: HostNames = Field((), alias="INGEST_HOSTS")
    keys: str = Field("dns", alias="INGEST_KEYS")
    dns_servers: Resolvers = Field((), alias="INGEST_DNS_SERVERS")
    max_age: int = Field(300, alias="INGEST_MAX_AGE", ge=1, le=DAY)
    max_body: int = Field(10 * 1024 * 1024, alias="INGEST_MAX_BODY", ge=1, le=100 * 1024 * 1024)
    allow_root: bool = Field(False, alias="INGEST_ALLOW_ROOT")
    alert_url: SecretURL | None = Field(None, alias="INGEST_ALERT_URL", repr=False)
    alert_smtp: MailRoute | None = Field(None, alias="INGEST_ALERT_SMTP", repr=False)
    sentry_dsn: SecretURL | None = Field(None, alias="SENTRY_DSN", repr=False)
    otlp_endpoint: SecretURL | None = Field(None, alias="OTEL_EXPORTER_OTLP_ENDPOINT", repr=False)
    alert_age: int = Field(300, alias="INGEST_ALERT_AGE", ge=1)
    spool: str | None = Field(None, alias="INGEST_SPOOL_DIR")
    spool_durable: YesOrNo | None = Field(None, alias="INGEST_SPOOL_DURABLE")
    spool_max: ByteSize = Field(ByteSize(1024**3), alias="INGEST_SPOOL_MAX", gt=0)
    unverified_max: ByteSize = Field(ByteSize(256 * 1024**2), alias="INGEST_UNVERIFIED_MAX", gt=0)
    buffer_max: ByteSize | None = Field(None, alias="INGEST_BUFFER_MAX", gt=0)
    timezone: ZoneName = Field("UTC", alias="INGEST_TZ")
    logfile_tz: ZoneName = Field("UTC", alias="INGEST_LOGFILE_TZ")
    reconcile_at: TimeOfDay = Field("04:00", alias="INGEST_RECONCILE_AT")
    catch_up: Literal["on", "off"] = Field("on", alias="INGEST_CATCH_UP")
    catch_up_profiles: Literal["on", "off"] = Field("off", alias="INGEST_CATCH_UP_PROFILES")
    audit_mailings: Literal["on", "off"] = Field("on", alias="INGEST_AUDIT_MAILINGS")
    validation_files: Path | None = Field(None, alias="INGEST_VALIDATION_FILES")
    metrics_port: MetricsPort = Field(None, alias="INGEST_METRICS_PORT")
    metrics_host: ListeningHost = Field("127.0.0.1", alias="INGEST_METRICS_HOST")
    metrics_token: Token = Field(None, alias="INGEST_METRICS_TOKEN", repr=False)
    console_host: ListeningHost = Field("127.0.0.1", alias="INGEST_CONSOLE_HOST")
    console_port: MetricsPort = Field(8001, alias="INGEST_CONSOLE_PORT")
    console_password: Password = Field(None, alias="INGEST_CONSOLE_PASSWORD", repr=False)
    console_read_password: Password = Field(None, alias="INGEST_CONSOLE_READ_PASSWORD", repr=False)
    console_secret: SigningSecret = Field(None, alias="INGEST_CONSOLE_SECRET", repr=False)
    console_auth_header: HeaderName = Field(None, alias="INGEST_CONSOLE_AUTH_HEADER")
    console_proxies: Networks = Field((), alias="INGEST_CONSOLE_PROXIES")
    console_operators: CommaList = Field((), alias="INGEST_CONSOLE_OPERATORS")
    copernica_token: Token = Field(None, alias="COPERNICA_TOKEN", repr=False)
    copernica_api_url: PlainURL = Field(API_URL, alias="COPERNICA_API_URL", repr=False)
    copernica_auth_url: PlainURL = Field(AUTH_URL, alias="COPERNICA_AUTH_URL", repr=False)
    smtpeter_token: Token = Field(None, alias="INGEST_SMTPETER_TOKEN", repr=False)
    smtpeter_url: PlainURL = Field("https://www.smtpeter.com/v1", alias="INGEST_SMTPETER_URL", repr=False)
    env_file: str | None = Field(None, alias="INGEST_ENV_FILE")
    data_dir: Path = Field(Path("data"), alias="INGEST_DATA_DIR")

    _withheld: frozenset[str] = PrivateAttr(frozenset())
    _platform: Platform | None = PrivateAttr(None)

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(**by_name(self.names(), environ))
        self._platform = platform_of(environ)

    @classmethod
    def names(cls) -> dict[str, FieldInfo]:
        """The variables of all settings."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    @classmethod
    def try_to_read(
        cls, environ: Mapping[str, str], withheld: frozenset[str] = frozenset()
    ) -> tuple[Self | None, list[str]]:
        """The settings, and a sentence for each variable that is no setting and each value that cannot be used."""
        names = cls.names()
        mistakes = [*setting_sources.unknown(environ, names), *undecodable(environ, names)]
        try:
            settings = cls(environ)
        except ValidationError as error:
            found = [sentence(one, secret=not names[str(one["loc"][0])].repr) for one in error.errors()]
            return None, mistakes + found
        if settings.redis_key and not settings.redis_certificate:
            mistakes.append("INGEST_REDIS_KEY is set, but INGEST_REDIS_CERT is not: a key belongs to one.")
        mistakes += settings.mistakes(withheld)
        return settings, mistakes

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ, withheld: frozenset[str] = frozenset()) -> Self:
        """Read the settings from the environment; `withheld` are secrets that only a running `ingest dev` has.

        Raises:
            SettingsError: a variable is no setting, or a value cannot be used; the message names it, and says why.
        """
        settings, mistakes = cls.try_to_read(environ, withheld)
        if mistakes or settings is None:
            raise SettingsError(mistakes[0])
        settings._withheld = withheld
        for name, field in cls.model_fields.items():
            if not field.repr and (value := getattr(settings, name)):
                shown.keep_secret(*([value] if isinstance(value, str) else value))
        if settings.alert_url:  # often secret as a whole, and libraries quote the path alone, slash included
            shown.keep_secret(urlsplit(settings.alert_url).path)
        return settings

    @property
    def token(self) -> str:
        """The account's token for Copernica's REST API.

        Raises:
            SettingsError: it is not set.
        """
        if self.copernica_token is None:
            raise SettingsError(
                "COPERNICA_TOKEN is not set: create an API token in Copernica's dashboard and set it."
            )
        return self.copernica_token

    @property
    def database(self) -> str:
        """Where events are stored, as an SQLAlchemy URL; by default a file in the data folder.

        Raises:
            SettingsError: only the `ingest dev` that runs there knows.
        """
        if self.database_url is None and "DATABASE_URL" in self._withheld:
            raise SettingsError(
                f"What runs in {self.data_dir}/ (`ingest dev` or `all`) uses a database with a password, "
                "which it tells nobody: set its DATABASE_URL here as well."
            )
        return self.database_url or f"sqlite:///{self.data_dir / 'ingest.db'}"

    @property
    def sqlite_file(self) -> Path | None:
        """The file of an SQLite database; None if the database is none, or is not known."""
        with suppress(SettingsError):
            scheme, _, place = self.database.partition(":///")
            if scheme == "sqlite":
                return Path(unquote(place.partition("?")[0]))
        return None

    @property
    def withheld(self) -> frozenset[str]:
        """Secrets that a running `ingest dev` has, and that are not set here."""
        return self._withheld

    @property
    def has_logfiles(self) -> bool:
        """Whether there is a token by which log files can be had: Copernica's or SMTPeter's."""
        return bool(self.copernica_token or self.smtpeter_token)

    def reconciles_on(self, now: datetime) -> str | None:
        """The day (in UTC) whose daily reconciliation is due by now; None if none is due yet, or ever."""
        if not self.has_logfiles or self.reconcile_at == "off" or f"{now:%H:%M}" < self.reconcile_at:
            return None
        return now.date().isoformat()

    def exports_on(self, now: datetime) -> str | None:
        """The day (in UTC) whose daily export is due by now: from when log files are compared, if they are."""
        begins = EXPORT_AT if self.reconcile_at == "off" else self.reconcile_at
        return now.date().isoformat() if self.export_to and f"{now:%H:%M}" >= begins else None

    @property
    def catches_up(self) -> bool:
        """Whether gaps are filled from Copernica's results by themselves."""
        return bool(self.copernica_token) and self.catch_up == "on"

    @property
    def spool_dir(self) -> Path | None:
        """The spool's folder, by default one in the data folder; None if the spool is off."""
        if self.spool is None:
            return self.data_dir / SPOOL_FOLDER
        name = self.spool.strip()
        return None if name.lower() in ("", "off") else Path(name)

    @property
    def spool_lasts(self) -> bool:
        """Whether the spool is still there when this process, or its container, is replaced by another."""
        if self.spool_durable is not None:
            return self.spool_durable
        return self.spool_dir is None or not loses(self._platform, self.spool_dir)

    @property
    def has_handlers(self) -> bool:
        """Whether any handler, forward target or other sink is configured."""
        return bool(self.handlers or self.forward_url or self.clickhouse_url or self.kafka_url)

    @property
    def has_alerts(self) -> bool:
        """Whether anybody is to be told what is wrong."""
        return bool(self.alert_url or self.alert_smtp)

    @property
    def shown_database(self) -> str:
        """The URL of the database without its password, for printing."""
        return shown.url(self.database)

    @property
    def redis(self) -> str:
        """Where the job queues are: the Redis that is named, or the private one of `ingest dev`.

        Raises:
            SettingsError: neither is there.
        """
        if address := self.redis_address:
            return address
        if address := private_redis(self.data_dir):
            return address
        raise SettingsError(
            f"REDIS_URL is not set and no `ingest dev` runs in {self.data_dir}/: set one or start the other."
        )

    @property
    def stream_servers(self) -> tuple[StreamServer, ...]:
        """The servers that have a partition, that of the queues always among them.

        Raises:
            SettingsError: no Redis is there, or only the `ingest all` that runs there knows them.
        """
        if not self.stream_urls and "INGEST_STREAM_URLS" in self._withheld:
            raise SettingsError(
                f"What runs in {self.data_dir}/ uses stream servers with a password, which it tells nobody: set "
                "its INGEST_STREAM_URLS here as well."
            )
        return self.servers_beside(self.redis)


def private_redis(folder: Path) -> str | None:
    """The address of the Redis that an `ingest dev` or `all` has in its data folder; None if none is told there.

    Where a machine lost its power, or had no room, a file may hold anything.
    """
    with suppress(OSError, UnicodeError):
        address = (folder / REDIS_URL_FILE).read_text().strip()
        return address if address.startswith("unix://") else None
    return None
