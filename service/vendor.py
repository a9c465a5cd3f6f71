"""`python -m service.vendor` downloads the page's runtime from npm and verifies the checksums in web/vendor/onnxruntime.json.

WebAssembly files are stored gzipped, as they are served, which makes the repository smaller.
"""

import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from base64 import b64encode
from pathlib import Path

VENDOR = Path(__file__).parent / "web" / "vendor"


def main() -> None:
    pinned = json.loads((VENDOR / "onnxruntime.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        package = f"{pinned['package']}@{pinned['version']}"
        name = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
        archive = Path(folder) / name
        _check(package, "sha512-" + b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode(), pinned["integrity"])
        with tarfile.open(archive) as files:
            for name, sha256 in pinned["files"].items():
                member = files.extractfile(f"package/dist/{name}")
                content = member.read() if member else b""
                _check(name, hashlib.sha256(content).hexdigest(), sha256)
                if name.endswith(".wasm"):
                    name, content = f"{name}.gz", gzip.compress(content, 9, mtime=0)
                (VENDOR / name).write_bytes(content)


def _check(name: str, checksum: str, pinned: str) -> None:
    if checksum != pinned:
        sys.exit(f"{name} has the checksum {checksum}, but {VENDOR / 'onnxruntime.json'} says {pinned}: it was not saved")


if __name__ == "__main__":
    main()
