"""The result of examining a file before a decoder sees it."""

from dataclasses import dataclass

from pictures.signals import Signal


@dataclass(frozen=True)
class Parts:
    """What was found in a file, and the bytes that its decoder gets."""

    content: bytes
    """The bytes for the decoder: the first picture, without anything that could mislead the decoder or keep it busy."""
    size: tuple[int, int] | None = None
    """Width and height, if a decoder would allocate memory before it reports them."""
    canvas: tuple[int, int, int, int] | None = None
    """The canvas of a frame: width and height of the canvas, left and top of the frame. The rest of the canvas is transparent."""
    orientation: int | None = None
    """Exif orientation, 1 to 8; None if the decoder reports it."""
    profile: bytes | None = None
    """The ICC profile; None if the decoder reports it."""
    signal: Signal | None = None
    """What the samples mean if there is no profile; None means sRGB."""
    depth: int = 8
    """Bits per sample."""
    key: tuple[int, ...] | None = None
    """The transparent colour, in samples of `depth` bits: grey, or red, green and blue."""
    grey: bool = False
    """Whether the picture is grey, even if the decoder returns RGB."""
    white_is_zero: bool = False
    """Whether 0 is white and the decoder does not invert it."""
    unbounded: bool = False
    """Whether samples are signed or floating point, so that black and white must be found in the picture."""
    misread: bool = False
    """Whether Pillow opens the file but reads wrong pixels."""
