"""The pictures that the benchmarks send."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from models.padding import Pixels

PHOTOGRAPHS = sorted((Path(__file__).parent.parent / "tests" / "photographs").glob("*.jpg"))


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def phone_photograph() -> bytes:
    """Return a photograph like a phone's: a JPEG of 12 megapixels and 3 MB."""
    image = mosaic(4000, 3000)
    return next(content for quality in range(95, 10, -5) if len(content := jpeg(image, quality)) < 3_200_000)


def pixels(content: bytes) -> Pixels:
    """Decode a picture to (h, w, 3)."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def squares(side: int, count: int) -> list[bytes]:
    """Return `count` different JPEGs of `side`×`side` pixels."""
    rotated = [Image.open(path).rotate(90 * turn, expand=True) for turn in range(-(-count // len(PHOTOGRAPHS))) for path in PHOTOGRAPHS]
    return [jpeg(image.convert("RGB").resize((side, side))) for image in rotated[:count]]


def mosaic(width: int, height: int) -> Image.Image:
    """Make a large picture of photographs side by side, which has more detail than an enlarged one."""
    image = Image.new("RGB", (width, height))
    tile = 500
    for number, (x, y) in enumerate((x, y) for y in range(0, height, tile) for x in range(0, width, tile)):
        image.paste(Image.open(PHOTOGRAPHS[number % len(PHOTOGRAPHS)]).convert("RGB").resize((tile, tile)), (x, y))
    return image
