"""The plain example in PHP as a shop's server has it: nginx, PHP-FPM, MariaDB."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from tests.support.mariadb import USER, Server
from tests.support.php_sites import EXAMPLES, signed
from tests.support.proxies import proxy
from tests.support.running import clean_environ, free_port, running

SECRET, STRANGER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c29tZWJvZHkgZWxzZSdzIGtleQ=="
#: As careless hosts have it: warnings are shown, and bodies may have 8 MB.
FPM = """[global]
error_log = {folder}/fpm.log
daemonize = no
[www]
listen = 127.0.0.1:{port}
pm = static
pm.max_children = 3
clear_env = no
php_value[display_errors] = On
php_value[display_startup_errors] = On
php_value[output_buffering] = 0
"""
NGINX = """server {{
    listen 443 ssl;
    ssl_certificate /etc/ssl/shop.pem;
    ssl_certificate_key /etc/ssl/shop.key;
    client_max_body_size 11m;
    root {public};
    location = /copernica.php {{
        fastcgi_pass 127.0.0.1:8000;
        fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
        fastcgi_param REQUEST_METHOD $request_method;
        fastcgi_param CONTENT_TYPE $content_type;
        fastcgi_param CONTENT_LENGTH $content_length;
        fastcgi_param PHP_VALUE "enable_post_data_reading=Off";
    }}
}}
"""


@pytest.fixture
def shop(maria_server: Server, tmp_path: Path) -> Iterator[tuple[int, Server, dict[str, str]]]:
    """The port of a shop that takes calls, its database, and the environment of its scripts."""
    path = "/usr/sbin:" + clean_environ()["PATH"]
    found = (shutil.which(f"php-fpm8.{number}", path=path) for number in range(9, 0, -1))
    fpm = next(filter(None, found), None)
    modules = subprocess.run(["php", "-m"], capture_output=True, text=True, check=False) if fpm else None
    if fpm is None or modules is None or "pdo_mysql" not in modules.stdout:
        pytest.skip("there is no PHP-FPM or no MySQL for PHP; on Debian: apt-get install php-fpm php-mysql")
    shutil.copytree(EXAMPLES / "php", tmp_path / "app")
    maria_server.new_database("shop")
    maria_server.execute(*filter(str.strip, _statements()), database="shop")
    port = free_port()
    environ = {
        "INGEST_FORWARD_SECRET": SECRET,
        "CALLS_DSN": f"mysql:unix_socket={maria_server.socket};dbname=shop;charset=utf8mb4",
        "CALLS_USER": USER,
        "EVENTS_FILE": str(tmp_path / "events.jsonl"),
    }
    (tmp_path / "fpm.conf").write_text(FPM.format(folder=tmp_path, port=port))
    command = [fpm, "-R", "-F", "-y", str(tmp_path / "fpm.conf")]
    configuration = NGINX.format(public=tmp_path / "app" / "public")
    with (
        running(command, environ, tmp_path / "fpm.out"),
        proxy("nginx", configuration, tmp_path, port, "/copernica.php", "405") as front,
    ):
        yield front, maria_server, environ


def _statements() -> list[str]:
    lines = (EXAMPLES / "php" / "tables.sql").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("--")).split(";")


def post(port: int, body: bytes, headers: dict[str, str]) -> int:
    context = ssl._create_unverified_context()
    with closing(HTTPSConnection("localhost", port, timeout=30, context=context)) as connection:
        connection.request("POST", "/copernica.php", body, headers)
        return connection.getresponse().status


def test_calls_are_taken_whatever_their_size_and_handled_once(
    shop: tuple[int, Server, dict[str, str]], tmp_path: Path
) -> None:
    port, server, environ = shop
    bodies = [
        b"type=bounce&mime=\xff%00" + b"x" * 9_000_000,
        b"type=open&name=%F0%9F%98%80",
        b"type=open&name=Andr\xe9",
    ]
    for number, body in enumerate(bodies):
        assert post(port, body, signed(body, STRANGER, delivery_id="0" * 24)) == 401
        headers = signed(body, SECRET, delivery_id=f"{number:024x}")
        with ThreadPoolExecutor(3) as threads:
            assert list(threads.map(lambda _, b=body, h=headers: post(port, b, h), range(3))) == [204] * 3
    kept = server.execute("SELECT body FROM copernica_calls ORDER BY id", database="shop")
    assert [bytes(row[0]) for row in kept] == bodies
    subprocess.run(["php", tmp_path / "app" / "work.php"], env={**clean_environ(), **environ}, check=True)
    assert (tmp_path / "events.jsonl").read_text().count("\n") == len(bodies)
    server.execute("DROP TABLE copernica_calls", database="shop")
    assert post(port, bodies[1], signed(bodies[1], SECRET, delivery_id="f" * 24)) == 503
