"""Connections to MariaDB or MySQL: each the same, whatever the server, the role or a proxy has set."""

import socket
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pymysql
from pymysql.constants import CLIENT, CR
from sqlalchemy import URL, Connection

from ingest.errors import Unavailable
from workers.store import keepalive

#: The oldest releases with all that we use: locked rows can be skipped, and texts compared by their characters.
OLDEST, OLDEST_MYSQL = (10, 6), (8, 0, 17)
#: Seconds to wait for a server that does not answer.
CONNECT_TIMEOUT = 5
#: Our name in the server's lists of connections.
NAME = "copernica-ingest"
#: Seconds to wait for a row that another transaction has locked, and for a table that one of them uses.
ROW_PATIENCE, TABLE_PATIENCE = 50, 60
#: What a row must keep: what does not fit is an error, never cut off; and a table is of the engine that we name.
SQL_MODE = "STRICT_ALL_TABLES,STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
#: Texts are equal if their characters are: trailing blanks, case and accents count. MySQL has another name for it.
COLLATION, MYSQL_COLLATION = "utf8mb4_nopad_bin", "utf8mb4_0900_bin"
#: The settings of each session. A limit that is meant for queries of people must not keep a drain from ending.
SESSION = (
    f"SET SESSION sql_mode = '{SQL_MODE}', time_zone = '+00:00', innodb_lock_wait_timeout = {ROW_PATIENCE}, "
    f"lock_wait_timeout = {TABLE_PATIENCE}, net_write_timeout = 600"
)
#: What only MariaDB knows: no limit, and a list of keys is looked up as one, however long.
ONLY_MARIADB = ", max_statement_time = 0, in_predicate_conversion_threshold = 0"
#: And only MySQL: no limit, and room to plan for a list of a thousand keys.
ONLY_MYSQL = ", max_execution_time = 0, range_optimizer_max_mem_size = 0"


if TYPE_CHECKING:
    _Connection = pymysql.connections.Connection[pymysql.cursors.Cursor]
else:
    _Connection = pymysql.connections.Connection


class Driver(_Connection):
    """The driver's connection; remembers whether the answer to a statement was read to its end."""

    #: Whether somebody gave up in the middle of a statement: what comes next would be the answer to that one.
    under_way = False
    #: Most bytes of one statement, as the server has it.
    packet = 0
    #: As the server says it in its greeting.
    server_version: str

    def connect(self, sock: socket.socket | None = None) -> None:
        """Connect and log in; a Unix socket at which nobody listens is closed, which the library leaves to chance.

        Raises:
            pymysql.OperationalError: nobody listens, or the server refuses.
        """
        if sock is None and self.unix_socket:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(CONNECT_TIMEOUT)
            try:
                sock.connect(self.unix_socket)
            except OSError as error:
                sock.close()
                text = f"Can't connect to MySQL server on {self.host!r} ({error})"
                raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, text) from error
            self._secure = True  # a password may be sent as it is
        super().connect(sock)
        keepalive.watch(cast("socket.socket", vars(self)["_sock"]))  # as of PyMySQL 1.2: it gives it to no one

    def query(self, sql: Any, unbuffered: bool = False) -> int:
        """Send a statement and read what comes of it; returns how many rows it changed."""
        self.under_way = True
        try:
            affected = super().query(sql, unbuffered)
        except pymysql.MySQLError:  # the server's own, read to its end; or the connection is closed
            self.under_way = False
            raise
        self.under_way = False
        return affected

    def commit(self) -> None:
        """As it is, and noted while it is under way."""
        self.under_way = True
        super().commit()
        self.under_way = False

    @property
    def is_mariadb(self) -> bool:
        """Whether the server is MariaDB, not MySQL."""
        return "mariadb" in self.server_version.lower()

    @property
    def release(self) -> tuple[int, ...]:
        """The server's, in numbers."""
        said = self.server_version.removeprefix("5.5.5-").partition("-")[
            0
        ]  # which MariaDB says first, to old clients
        return tuple(int(number) for number in said.split(".") if number.isdigit())

    def set_up(self) -> None:
        """Settings of the session; SQLAlchemy has left it to the server how characters are compared.

        Raises:
            Unavailable: the server is too old.
        """
        name, oldest = ("MariaDB", OLDEST) if self.is_mariadb else ("MySQL", OLDEST_MYSQL)
        if self.release < oldest:
            given, needed = (".".join(map(str, release)) for release in (self.release, oldest))
            raise Unavailable(
                f"The database server is {name} {given}, and {needed} or newer is needed: upgrade it, or use "
                "another."
            )
        collation = COLLATION if self.is_mariadb else MYSQL_COLLATION
        self.query(f"SET NAMES utf8mb4 COLLATE {collation}")
        self.query(SESSION + (ONLY_MARIADB if self.is_mariadb else ONLY_MYSQL))
        with self.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            row = cursor.fetchone()
        assert row is not None
        self.packet = int(row[0])
        self.commit()


def arguments(url: URL) -> dict[str, Any]:
    """What the driver is told of a URL.

    Raises:
        Unavailable: a file that they name cannot be read.
    """
    options = {name: value for name, value in url.query.items() if isinstance(value, str)}
    told: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT, "program_name": NAME, "charset": "utf8mb4"}
    # Rows that an UPDATE finds are counted whether or not it changes them, as SQLAlchemy has it.
    told["client_flag"] = CLIENT.FOUND_ROWS
    named = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
    told |= {name: value for name, value in {**named, "database": url.database}.items() if value is not None}
    if "unix_socket" in options:
        told["unix_socket"] = options["unix_socket"]
    mode = options.get("ssl_mode", "PREFERRED")
    if mode == "PREFERRED" and "ssl_ca" in options:  # as MySQL's own programs take it
        mode = "VERIFY_CA"
    if mode == "DISABLED":
        told["ssl_disabled"] = True
    elif mode != "PREFERRED" or "ssl_cert" in options:
        told["ssl"] = _tls(options, mode)
    return told


def _tls(options: Mapping[str, str], mode: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca"))
        context.check_hostname = mode == "VERIFY_IDENTITY"
        if mode not in ("VERIFY_CA", "VERIFY_IDENTITY"):
            context.verify_mode = ssl.CERT_NONE
        if "ssl_cert" in options:
            context.load_cert_chain(options["ssl_cert"], options.get("ssl_key"))
    except OSError as error:  # ssl.SSLError is one
        raise Unavailable(
            f"What DATABASE_URL names in ssl_ca, ssl_cert or ssl_key cannot be used: {error.strerror or error}; "
            "name files in PEM that this user may read."
        ) from None
    return context


def driver_of(connection: Connection) -> Driver:
    """The driver's own connection: what is long is sent past SQLAlchemy."""
    return cast("Driver", connection.connection.driver_connection)


def code_of(error: BaseException) -> int:
    """The server's number of an error; 0 if it has none."""
    cause = getattr(error, "orig", error)
    code = cause.args[0] if isinstance(cause, pymysql.MySQLError) and cause.args else 0
    return code if isinstance(code, int) else 0


def said_by(error: BaseException) -> str:
    """The server's own words, in one line."""
    cause = getattr(error, "orig", None) or error
    words = cause.args[1] if isinstance(cause, pymysql.MySQLError) and len(cause.args) > 1 else cause
    lines = str(words).strip().splitlines() or [type(cause).__name__]
    return lines[0].rstrip(". ")
