"""The settings that say where Redis is: the server of the job queues, and those that have a partition."""

from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from ingest.redis_url import is_without_tls, place, secured
from ingest.setting_values import RedisAddress, RedisAddresses, RedisTLS


@dataclass(frozen=True, slots=True)
class StreamServer:
    """A server that has a partition."""

    #: Where it is, by which it is known: see `ingest.redis_url.place`.
    name: str
    url: str = field(repr=False)
    #: Whether rq's queues are there, and all that processes agree upon.
    has_queues: bool = False
    #: Whether endpoints write to it; one that has only queues is drained all the same.
    takes: bool = True

    @property
    def setting(self) -> str:
        """The variable that names it, for people."""
        return "REDIS_URL" if self.has_queues else "INGEST_STREAM_URLS"


class RedisSettings(BaseModel):
    """What of the settings is about Redis; see `ingest.settings.Settings`, which has these too."""

    redis_url: RedisAddress | None = Field(None, alias="REDIS_URL", repr=False)
    redis_tls_url: RedisAddress | None = Field(None, alias="REDIS_TLS_URL", repr=False)
    stream_urls: RedisAddresses = Field((), alias="INGEST_STREAM_URLS", repr=False)
    redis_tls: RedisTLS | None = Field(None, alias="INGEST_REDIS_TLS")
    redis_certificate: str | None = Field(None, alias="INGEST_REDIS_CERT")
    redis_key: str | None = Field(None, alias="INGEST_REDIS_KEY")

    @property
    def redis_address(self) -> str | None:
        """The Redis that the settings name, with what they say of TLS; None if they name none.

        Without `REDIS_URL`, it is the first of those that calls are written to.
        """
        url = self.redis_url
        if self.redis_tls_url and (url is None or is_without_tls(url, self.redis_tls_url)):
            url = self.redis_tls_url
        if url is None and self.stream_urls:
            url = self.stream_urls[0]
        return url and self._secured(url)

    def servers_beside(self, queues: str) -> tuple[StreamServer, ...]:
        """All that have a partition, in the order of the setting; `queues` is the server of the queues.

        That one is among them whether it is named or not, since it may have a backlog from before it was not.
        """
        own = place(queues)
        if not self.stream_urls:
            return (StreamServer(own, queues, has_queues=True),)
        named = {place(url): url for url in self.stream_urls}
        others = tuple(
            # The same server is spoken to in one way: it may be named once with TLS and once without.
            StreamServer(name, queues if name == own else self._secured(url), has_queues=name == own)
            for name, url in named.items()
        )
        return others if own in named else (StreamServer(own, queues, has_queues=True, takes=False), *others)

    def _secured(self, url: str) -> str:
        return secured(url, self.redis_tls, self.redis_certificate, self.redis_key)
