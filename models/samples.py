"""Make the samples that the page shows: `python -m models.samples --models models --photograph photo.jpg`.

Each bundle's newest version translates the photograph. A direction to photographs translates the painting that its inverse made.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from models.bundle import MANIFEST, Bundle, list_bundles, load_bundle
from models.padding import Pixels, crop, pad

SIZE = 448
"""Longest side in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of bundles")
    parser.add_argument("--photograph", type=Path, required=True, help="a freely licensed photograph, because the samples are published")
    arguments = parser.parse_args()
    bundles = {bundle.direction: bundle for bundle in map(load_bundle, list_bundles(arguments.models))}
    image = Image.open(arguments.photograph).convert("RGB")
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    photograph = np.asarray(image)
    for bundle in bundles.values():
        inverse = bundles.get(bundle.manifest.inverse)
        source = photograph if bundle.manifest.source == "photo" or inverse is None else _translate(inverse, photograph)
        _save(bundle, source, _translate(bundle, source))


def _translate(bundle: Bundle, pixels: Pixels) -> Pixels:
    session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    padded = pad(pixels, bundle.version.multiple, bundle.version.smallest_side)
    (translations,) = session.run(None, {"pictures": padded[None]})
    return crop(np.asarray(translations)[0], *pixels.shape[:2])


def _save(bundle: Bundle, source: Pixels, sample: Pixels) -> None:
    names = {"sample_source": f"{bundle.version.version}/sample-source.webp", "sample": f"{bundle.version.version}/sample.webp"}
    for name, pixels in zip(names.values(), (source, sample), strict=True):
        Image.fromarray(pixels).save(bundle.folder / name, quality=72, method=6)
    manifest = bundle.manifest.model_copy(update=names)
    (bundle.folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


if __name__ == "__main__":
    main()
