"""Which kind of database a URL names."""

from sqlalchemy import URL, make_url

from ingest.errors import SettingsError
from workers.store.backend import Backend


def backend_for(url: str) -> Backend:
    """The backend for a URL, as `DATABASE_URL` has it.

    Raises:
        SettingsError: its driver is not installed.
    """
    parsed = make_url(url)
    # Each backend is imported only where it is used: PostgreSQL's driver need not be installed.
    if parsed.get_backend_name() == "sqlite":
        from workers.store.sqlite import SQLite  # noqa: PLC0415

        return SQLite(parsed)
    if parsed.get_backend_name() in ("mysql", "mariadb"):
        try:
            from workers.store.mariadb import MariaDB  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if error.name != "pymysql":
                raise
            raise SettingsError("MariaDB needs its driver: pip install 'copernica-ingest[mariadb]'.") from None

        return MariaDB(URL.create(**parsed._asdict() | {"drivername": "mysql+pymysql"}))
    try:
        from workers.store.postgres import PostgreSQL  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise SettingsError("PostgreSQL needs its driver: pip install 'copernica-ingest[postgres]'.") from None

    return PostgreSQL(URL.create(**parsed._asdict() | {"drivername": "postgresql+psycopg"}))
