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
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")  # which Debian keeps off a user's PATH
    assert program, "nginx is not installed: apt-get install nginx-light"
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
        (running.folder / "nginx.conf").write_text(configuration)
        process = subprocess.Popen([program, "-c", f"{name}/nginx.conf", "-p", name, "-g", "daemon off;"])
        try:
            with running.client() as client:
                wait_until(lambda: process.poll() is None and _answers(client))
            yield running
        finally:
            process.terminate()
            process.wait(10)


def _answers(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/metrics").status_code)
    except httpx.TransportError:
        return False
