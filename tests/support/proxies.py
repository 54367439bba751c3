"""nginx, Caddy and HAProxy, run with the configurations that the documentation shows."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.running import clean_environ, free_port, running, until
from tests.support.tls import Authority

DOCS = Path(__file__).parents[2] / "docs"
#: How each is started with a configuration, and the Debian package that has it.
PROXIES = {
    "nginx": (("-c", "{file}", "-e", "stderr", "-g", "daemon off;"), "nginx-light"),
    "caddy": (("run", "--adapter", "caddyfile", "--config", "{file}"), "caddy"),
    "haproxy": (("-db", "-f", "{file}"), "haproxy"),
}
#: What stands around the part of nginx's configuration that a page shows.
_NGINX = """user root;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{shown}
}}
"""


def shown(page: str, name: str) -> str:
    """The first configuration for a proxy that a page has."""
    found = re.search(rf"```{name}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def proxy(name: str, configuration: str, folder: Path, upstream: int, path: str, *statuses: str) -> Iterator[int]:
    """The port of a proxy with this configuration, in front of a port of this machine.

    It is up when the path is answered with 200, 401 or one of the statuses. Its certificate is from the authority
    in `folder / "ca.pem"`.
    """
    program = shutil.which(name, path="/usr/sbin:/usr/local/sbin:" + clean_environ()["PATH"])
    if program is None or shutil.which("curl") is None:
        pytest.skip(
            f"there is no {name} or no curl on this machine; on Debian: apt-get install {PROXIES[name][1]} curl"
        )
    port = free_port()
    (folder / "config").write_text(_adapted(name, configuration, folder, port, upstream))
    command = [program, *(part.format(file=folder / "config") for part in PROXIES[name][0])]
    with running(command, {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}, folder / "log"):
        until(lambda: _answer(port, path) in ("200", "401", *statuses), name)
        yield port


def _adapted(name: str, text: str, folder: Path, port: int, upstream: int) -> str:
    """A configuration with ports and a certificate that can be had here."""
    identity = Authority(folder).identity("localhost")
    both = folder / "both.pem"
    both.write_bytes(Path(identity.certificate).read_bytes() + Path(identity.key).read_bytes())
    text = re.sub(r"127\.0\.0\.1:800[01]", f"127.0.0.1:{upstream}", text)
    text = re.sub(r"/etc/(?:ssl|haproxy)/\w+\.(?:pem|key)", str(both), text)
    text = text.replace("bind :443", f"bind 127.0.0.1:{port}").replace("listen 443", f"listen 127.0.0.1:{port}")
    if name == "caddy":
        text = re.sub(r"^\S+ \{", f"localhost:{port} {{\n    bind 127.0.0.1\n    tls {both} {both}", text)
        return "{\n    admin off\n    auto_https disable_redirects\n}\n" + text
    return _NGINX.format(folder=folder, shown=text) if name == "nginx" else text


def _answer(port: int, path: str) -> str:
    command = [
        "curl",
        "-sk",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-m",
        "5",
        f"https://localhost:{port}{path}",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
