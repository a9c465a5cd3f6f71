"""`make licences`: docs/third_party.md, the licences of everything that is shipped, read from the packages by pip-licenses."""

import json
import subprocess
import sys
from pathlib import Path

from models.bundle import list_bundles, read_manifest

ROOT = Path(__file__).parent.parent
PACKAGING = {"pip", "setuptools", "cyclegan-service"}
HEAD = """# Third parties

Written by `make licences`; change nothing by hand.

## Packages in the images

As `docker/requirements-cpu.txt` has them. The GPU image has `onnxruntime-gpu` (MIT) in the place of `onnxruntime`, and CUDA's and cuDNN's
libraries, which NVIDIA's own terms cover ([CUDA](https://docs.nvidia.com/cuda/eula/), [cuDNN](https://docs.nvidia.com/deeplearning/cudnn/latest/reference/eula.html)).
Both images are built on Debian and Python, whose licences are in `/usr/share/doc`.

| package | version | licence |
|---|---|---|
"""
PAGE = """
## In the page

ONNX Runtime Web (MIT), which paints in the browser. The API's page, `/docs`, is Swagger UI (Apache-2.0), of fastapi-offline.

## Weights

| direction | terms |
|---|---|
"""


def main() -> None:
    python = sys.argv[1]
    command = ["pip-licenses", f"--python={python}", "--from=mixed", "--format=json"]
    told = subprocess.run([Path(sys.executable).with_name(command[0]), *command[1:]], capture_output=True, text=True, check=True)
    packages = [each for each in json.loads(told.stdout) if each["Name"].lower() not in PACKAGING]
    lines = [f"| {each['Name']} | {each['Version']} | {' '.join(each['License'].split())[:100]} |" for each in packages]
    weights = [f"| {folder.name} | {read_manifest(folder).licence} |" for folder in list_bundles(ROOT / "models")]
    print(HEAD + "\n".join(lines) + "\n" + PAGE + "\n".join(weights))


if __name__ == "__main__":
    main()
