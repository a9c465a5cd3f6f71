"""TIFF: reject cameras' raw files, read what the samples mean, and describe unusual kinds."""

import struct

from pictures.errors import BrokenPicture, NotAPicture
from pictures.parts import Parts
from pictures.tags import Directory, directories

MAX_STRIPS = 2**20
_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _MAKE, _STRIPS, _ORIENTATION, _PER_PIXEL = 254, 258, 259, 262, 271, 273, 274, 277
_PLANAR, _PALETTE, _TILES, _EXTRA, _SAMPLE_FORMAT, _DNG_VERSION = 284, 320, 324, 338, 339, 50706
_PREMULTIPLIED, _STRAIGHT = 1, 2
_CMYK, _YCBCR = 5, 6
_UNKNOWN_TO_PILLOW = (50001,)
"""Compressions that Pillow does not know: WebP."""
_MOSAICS, _RAW_COMPRESSIONS = (32803, 34892), (32767, 32770, 34713, 65535)
_MAKERS = {
    "NIKON": "NEF", "SONY": "ARW", "CANON": "CR2", "PENTAX": "PEF", "RICOH": "PEF", "SAMSUNG": "SRW", "HASSELBLAD": "3FR",
    "PHASE ONE": "IIQ", "LEAF": "MOS", "MAMIYA": "MEF", "SEIKO EPSON": "ERF", "KODAK": "DCR", "EASTMAN": "DCR", "OLYMPUS": "ORF",
    "PANASONIC": "RW2", "LEICA": "DNG",
}  # fmt: skip
_PHOTOMETRICS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB",
    32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
_FORMATS = {1: "", 2: "signed ", 3: "floating-point ", 4: "undefined ", 5: "complex ", 6: "complex "}


def examine(content: bytes) -> Parts:
    """Return the file and what its samples mean. Raises BrokenPicture and NotAPicture."""
    if content[4:12] == b"\x10\0\0\0CR\2\0":
        raise _raw_file_error("CR2")
    all_directories = list(directories(content))
    first = all_directories[0]
    _reject_raw(all_directories)
    if first.claimed_size() > len(content) or max(first.entries.get(tag, (0, 0, 0))[1] for tag in (_STRIPS, _TILES)) > MAX_STRIPS:
        raise BrokenPicture("The TIFF's directory refers to more data than the file has: save it again.")
    if first.number(_PHOTOMETRIC) == _CMYK and first.number(_EXTRA) in (_PREMULTIPLIED, _STRAIGHT):
        raise NotAPicture("This TIFF is CMYK with transparency, which is not supported: flatten it, or export it as PNG.")
    orientation = first.number(_ORIENTATION, 1)
    return Parts(
        size=(first.number(256), first.number(257)),
        content=_prepare_for_decoder(content, first),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        depth=first.number(_BITS, 1),
        white_is_zero=first.number(_PHOTOMETRIC) == 0,
        unbounded=first.number(_SAMPLE_FORMAT, 1) in (2, 3),
        misread=_is_misread(first),
    )


def describe(content: bytes) -> str:
    """Describe the first picture, for an error message."""
    first = next(directories(content))
    bits = "/".join(str(bits) for bits in dict.fromkeys(first.numbers(_BITS) or (1,)))
    colours = _PHOTOMETRICS.get(first.number(_PHOTOMETRIC), f"photometric interpretation {first.number(_PHOTOMETRIC)}")
    sample_format = _FORMATS.get(first.number(_SAMPLE_FORMAT, 1), "unknown ")
    planes = ", in planes" if first.number(_PLANAR, 1) == 2 else ""
    white = ", white is zero" if first.number(_PHOTOMETRIC, 1) == 0 else ""
    return (
        f"{colours}, {first.number(_PER_PIXEL, 1)} × {bits} {sample_format}bits a pixel{planes}{white}, "
        f"compression {first.number(_COMPRESSION, 1)}"
    )


def _reject_raw(all_directories: list[Directory]) -> None:
    first = all_directories[0]
    dng = any(_DNG_VERSION in directory.entries for directory in all_directories)
    mosaic = any(directory.number(_PHOTOMETRIC) in _MOSAICS for directory in all_directories)
    packed = any(directory.number(_COMPRESSION) in _RAW_COMPRESSIONS for directory in all_directories)
    thumbnail = first.number(_SUBFILE) & 1
    if dng or mosaic or packed or thumbnail:
        maker = first.text(_MAKE)
        suffix = "DNG" if dng else next((_MAKERS[m] for m in _MAKERS if maker.upper().startswith(m)), None)
        raise _raw_file_error(suffix or maker or "its first picture is a thumbnail")


def _raw_file_error(name: str) -> NotAPicture:
    return NotAPicture(
        f"This is a camera's raw file ({name}). Raw files (DNG, CR2, NEF, ARW and others) are not supported: export it as JPEG or TIFF."
    )


def _is_misread(first: Directory) -> bool:
    """Return whether Pillow reads the file wrongly or fails after opening it.

    These are planes of 16 bits or with extra channels, signed bytes, WebP compression, compressed samples of 32 bits or with signs in big
    endian order, and uncompressed YCbCr.
    """
    bits, signed = first.number(_BITS, 1), first.number(_SAMPLE_FORMAT, 1) == 2
    planes = first.number(_PLANAR, 1) == 2 and (bits > 8 or _EXTRA in first.entries)
    swapped = first.order == ">" and (bits == 32 or signed) and first.number(_COMPRESSION, 1) != 1
    loose = first.number(_PHOTOMETRIC) == _YCBCR and first.number(_COMPRESSION, 1) == 1
    return planes or swapped or loose or (signed and bits == 8) or first.number(_COMPRESSION) in _UNKNOWN_TO_PILLOW


def _prepare_for_decoder(content: bytes, first: Directory) -> bytes:
    """Set the orientation to 1, because the decoder would apply it, and scale a palette to 16 bits if a program wrote it with 8."""
    patched = bytearray(content)
    kind, _, at = first.entries.get(_ORIENTATION, (0, 0, 0))
    code = {1: "B", 3: "H", 4: "I"}.get(kind)
    if code and first.number(_ORIENTATION) > 1:
        struct.pack_into(first.order + code, patched, at, 1)
    palette = first.numbers(_PALETTE, 3 * 256)
    if palette and max(palette) < 256 and first.entries[_PALETTE][0] == 3:
        struct.pack_into(f"{first.order}{len(palette)}H", patched, first.entries[_PALETTE][2], *(257 * value for value in palette))
    return content if patched == content else bytes(patched)
