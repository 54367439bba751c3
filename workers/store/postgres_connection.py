"""Connections to PostgreSQL: each the same, whatever the environment and the URL say."""

from sqlalchemy import URL

from workers.store import keepalive

#: Seconds to wait for a server that does not answer.
CONNECT_TIMEOUT = 5
#: Our name in the server's lists of connections.
NAME = "copernica-ingest"


def arguments(url: URL) -> dict[str, object]:
    """What the driver is told, which goes before what the URL says; of keepalive, only what that does not."""
    watched = {
        "keepalives_idle": keepalive.IDLE,
        "keepalives_interval": keepalive.EVERY,
        "keepalives_count": keepalive.TIMES,
        "tcp_user_timeout": keepalive.UNCONFIRMED * 1000,
    }
    return {
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": NAME,
        "prepare_threshold": None,
        "client_encoding": "utf8",
        "autocommit": False,
        **{name: value for name, value in watched.items() if name not in url.query},
    }
