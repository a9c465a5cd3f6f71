"""The real nginx, with the configuration that is shipped."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.conftest import ROOT, free_port, wait_until

CONFIGURATION = ROOT / "docker" / "nginx.conf"


@dataclass(frozen=True)
class Nginx:
    port: int
    tls_port: int
    folder: Path
    """What it writes to."""

    def client(self, address: str = "127.0.0.1") -> httpx.Client:
        """One that comes from `address`, any of 127.0.0.0/8."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, transport=httpx.HTTPTransport(local_address=address))


@contextmanager
def running_nginx(*upstreams: str, certificates: Path = Path("/nowhere"), cache: bool = False) -> Iterator[Nginx]:
    """nginx in front of `upstreams` (host:port). Only addresses and folders differ from the configuration, and what
    Debian's nginx does not know yet: `resolve` and `http2 on`."""
    servers = "".join(f"server {upstream} max_fails=0;" for upstream in upstreams)
    with tempfile.TemporaryDirectory() as name:
        running = Nginx(free_port(), free_port(), Path(name))
        running.folder.chmod(0o755)  # where this is root, nginx's workers are not
        configuration, found = re.subn(r"server service:8000 resolve max_fails=0;", servers, CONFIGURATION.read_text())
        assert found == 1
        for old, new in {
            "listen 8080": f"listen 127.0.0.1:{running.port}",
            "listen 8443 ssl": f"listen 127.0.0.1:{running.tls_port} ssl http2",
            "http2 on;": "",
            "/tmp/nginx": f"{name}/nginx",
            "/etc/cyclegan/": f"{name}/",
        }.items():
            assert old in configuration
            configuration = configuration.replace(old, new)
        if certificates.exists():
            shutil.copytree(certificates, running.folder / "certificates")
            for file in (running.folder / "certificates").iterdir():
                file.chmod(0o644)
            (running.folder / "certificates").chmod(0o755)
        if cache:
            shutil.copy(CONFIGURATION.with_name("cache.conf"), running.folder)
        with _running(running, configuration):
            yield running


@contextmanager
def nginx_below(path: str, upstream: str) -> Iterator[Nginx]:
    """A proxy that publishes `upstream` (host:port) below `path`, which it takes away."""
    with tempfile.TemporaryDirectory() as name:
        running = Nginx(free_port(), 0, Path(name))
        running.folder.chmod(0o755)
        places = "".join(f"{place}_temp_path {name}/{place}; " for place in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi"))
        location = f"location {path}/ {{ proxy_pass http://{upstream}/; proxy_set_header Host $http_host; }}"
        server = f"server {{ listen 127.0.0.1:{running.port}; client_max_body_size 32m; {location} }}"
        with _running(running, f"pid {name}/pid; error_log stderr; events {{ }} http {{ access_log off; {places} {server} }}"):
            yield running


@contextmanager
def _running(nginx: Nginx, configuration: str) -> Iterator[None]:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")  # which Debian keeps off a user's PATH
    assert program, "nginx is not installed: apt-get install nginx-light"
    (nginx.folder / "nginx.conf").write_text(configuration)
    process = subprocess.Popen([program, "-c", nginx.folder / "nginx.conf", "-p", nginx.folder, "-g", "daemon off;"])
    try:
        with nginx.client() as client:
            wait_until(lambda: process.poll() is None and _answers(client))
        yield
    finally:
        process.terminate()
        process.wait(10)


def _answers(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/metrics").status_code)
    except httpx.TransportError:
        return False
