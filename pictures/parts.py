"""What was found in a file before any decoder saw it, and what of the file the decoder is given."""

from dataclasses import dataclass

from pictures.signals import Signal


@dataclass(frozen=True)
class Parts:
    """Of one file."""

    content: bytes
    """What a decoder needs for the pixels of the first picture, without what could mislead it or keep it busy."""
    size: tuple[int, int] | None = None
    """Width and height, where a decoder would take memory for them before it tells."""
    canvas: tuple[int, int, int, int] | None = None
    """Of a frame: width and height of what is shown, left and top of the frame in it. What is around the frame is transparent."""
    orientation: int | None = None
    """1 to 8, as Exif counts; None: as the decoder finds it."""
    profile: bytes | None = None
    """ICC; None: the decoder's, if it finds one."""
    signal: Signal | None = None
    """What the colours mean where no profile tells it; None: sRGB."""
    depth: int = 8
    """Bits of a sample."""
    key: tuple[int, ...] | None = None
    """The colour that is transparent, in samples of `depth` bits: grey, or red, green and blue."""
    grey: bool = False
    """Although the decoder may make RGB of it."""
    white_is_zero: bool = False
    """Where the decoder does not turn it around."""
    unbounded: bool = False
    """The samples are signed or floating point: black and white are found in the picture."""
    misread: bool = False
    """Whether Pillow opens it, and takes the pixels for others."""
