"""Run by another Python, one that has chdb: ClickHouse's own engine behind the part of its HTTP that we use.

    python clickhouse_server.py PORT USER:PASSWORD

The engine reads the very bytes that it would get; only headers, sign-in and what gathers small inserts are ours.
"""

import base64
import re
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from chdb.session import Session  # type: ignore[import-not-found]  # not installed where this is checked

PORT, USER = int(sys.argv[1]), sys.argv[2]
#: Settings that this engine knows as well.
SETTINGS = ("date_time_input_format", "input_format_skip_unknown_fields")
session = Session("data")


class Handler(BaseHTTPRequestHandler):
    """Answers one question."""

    def do_GET(self) -> None:
        self.answer(200, b"Ok.\n")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        given = base64.b64encode(USER.encode()).decode()
        if self.headers["Authorization"] != f"Basic {given}":
            self.answer(403, b"Code: 516. DB::Exception: Authentication failed: geheim", 516)
            return
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        query = asked["query"].encode() + b"\n" + body
        try:
            for name in SETTINGS:
                if name in asked:
                    session.query(f"SET {name} = '{asked[name]}'")
            if not (asked["query"].startswith("INSERT") and not body):
                self.answer(200, session.query(query.decode(), "TSV").bytes() or b"")
                return
            self.answer(200, b"")
        except Exception as error:
            code = re.search(r"Code: (\d+)", str(error))
            self.answer(500, str(error).encode(), int(code[1]) if code else 1)

    def answer(self, status: int, text: bytes, code: int = 0) -> None:
        self.send_response(status)
        self.send_header("X-ClickHouse-Server-Display-Name", "here")
        if code:
            self.send_header("X-ClickHouse-Exception-Code", f"{code}")
        self.send_header("Content-Length", f"{len(text)}")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing."""


HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
