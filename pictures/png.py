"""PNG: its chunks are counted and checked, the colours that they tell are read, and what is not about pixels is left out."""

import struct
import zlib
from collections.abc import Iterator

from pictures import signals, tags
from pictures.errors import BrokenPicture, NotAPicture
from pictures.parts import Parts
from pictures.signals import Signal

MAX_CHUNKS = 100_000
MAX_PROFILE = 16 * 2**20
"""Bytes; a larger profile is ignored."""
_SRGB_GAMMA, _ABOUT = 0.45455, 0.05
"""gAMA's value that stands for sRGB where no cHRM is with it, and how far from it others do too, as in libpng."""


def parts(content: bytes) -> Parts:
    """Raises BrokenPicture, NotAPicture."""
    kept: list[bytes] = []
    frame: list[bytes] = []
    told: dict[bytes, bytes] = {}
    control, animated, pixels_seen = b"", False, False
    for kind, body, whole in _chunks(content):
        match kind:
            case b"CgBI":
                raise NotAPicture("This is a PNG of an iPhone app (CgBI), which is not taken: take it out of the app as an ordinary PNG.")
            case b"acTL" if not pixels_seen:
                animated = 0 < int.from_bytes(body[:4], "big") < 2**31  # its number of frames
            case b"fcTL" | b"fdAT" if not animated:
                pass
            case b"fcTL" if not (control or pixels_seen):
                control = body  # of the first frame, which is the picture itself
            case b"fcTL" if not control and len(body) >= 26:
                control = body  # of the first frame, which the picture itself is not part of
                frame = [b""]
            case b"fcTL" if frame:
                break
            case b"fdAT" if frame:
                frame.append(body[4:])
            case b"tRNS" if pixels_seen:
                pass  # too late, as for browsers
            case b"tRNS" if told.get(b"IHDR", b"")[9:10] != b"\3":
                told[kind] = body  # the colour that is transparent; a palette's transparency is its decoder's business
            case b"PLTE" if 3 <= len(body) < 3 * 256:  # beyond which all is of the last colour, as in browsers
                kept.append(_chunk(kind, body + body[-3:] * (256 - len(body) // 3)))
            case b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT" | b"IEND":
                pixels_seen |= kind == b"IDAT"
                kept.append(whole)
                if kind == b"IHDR":
                    told[kind] = body
            case b"cICP" | b"iCCP" | b"sRGB" | b"gAMA" | b"cHRM" | b"cLLI" | b"mDCV" | b"eXIf" if not pixels_seen:
                told.setdefault(kind, body)
            case _ if kind[:1].isupper() and kind.isalpha():
                kept.append(whole)  # which a decoder must know, and will say that it does not
    header = told.get(b"IHDR", b"").ljust(13, b"\0")
    width, height, depth, colour_type = struct.unpack_from(">IIBB", header)
    numbers = _numbers(told.get(b"cICP", b""))
    canvas = None
    if len(frame) > 1:
        canvas = (width, height, *struct.unpack_from(">II", control, 12))
        kept = _first_frame(kept, frame, control, header)
    return Parts(
        content[:8] + b"".join(kept),
        canvas=canvas,
        orientation=tags.orientation(told.get(b"eXIf", b"")),
        profile=None if numbers else _profile(told.get(b"iCCP", b"")),
        signal=signals.from_numbers(*numbers, _peak(told)) if numbers else _gamma(told),
        key=_key(told.get(b"tRNS", b""), colour_type, depth),
        depth=depth,
        grey=colour_type in (0, 4),
    )


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, body, and all of it with length and checksum. One that has no pixels and a wrong checksum is left out, as in browsers."""
    at = 8
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(content):
            return
        length, kind = struct.unpack_from(">I4s", content, at)
        whole = content[at : at + 12 + length]
        body = whole[8 : 8 + length]
        at += len(whole)
        optional = kind[:1].islower() and kind not in (b"tRNS", b"fdAT", b"fcTL")
        if not (optional and len(body) < 2**16 and zlib.crc32(whole[4 : 8 + length]).to_bytes(4, "big") != whole[8 + length :]):
            yield kind, body, whole
        if kind == b"IEND":
            return
    raise BrokenPicture(f"The PNG has more than {MAX_CHUNKS:,} chunks, made to keep decoders busy: save it anew.")


def _numbers(cicp: bytes) -> tuple[int, int] | None:
    """Of primaries and curve, which count before a profile, as PNG's third edition has it."""
    return (cicp[0], cicp[1]) if len(cicp) == 4 and cicp[2:] == b"\0\1" and signals.are_known(cicp[0], cicp[1]) else None


def _gamma(told: dict[bytes, bytes]) -> Signal | None:
    """gAMA with cHRM, which count behind a profile and sRGB."""
    gamma = int.from_bytes(told.get(b"gAMA", b""), "big") / 100_000
    if b"sRGB" in told or not gamma or len(told[b"gAMA"]) != 4:
        return None
    chromaticities = told.get(b"cHRM", b"")
    if len(chromaticities) == 32:
        primaries = tuple(value / 100_000 for value in struct.unpack(">8I", chromaticities))
        return Signal(primaries, 1 / gamma) if signals.are_sound(primaries) else None
    return None if abs(gamma / _SRGB_GAMMA - 1) < _ABOUT else Signal(transfer=1 / gamma)


def _peak(told: dict[bytes, bytes]) -> float | None:
    """Luminance in cd/m² of the brightest in the picture, or else of the screen that it was made on."""
    if len(light := told.get(b"cLLI", b"")) == 8 and any(light[:4]):
        return int.from_bytes(light[:4], "big") / 10_000
    if len(mastering := told.get(b"mDCV", b"")) == 24 and any(mastering[16:20]):
        return int.from_bytes(mastering[16:20], "big") / 10_000
    return None


def _profile(body: bytes) -> bytes | None:
    try:
        unpacker = zlib.decompressobj()
        profile = unpacker.decompress(body[body.index(b"\0") + 2 :], MAX_PROFILE)
    except (ValueError, zlib.error):
        return None
    return profile if unpacker.eof else None


def _key(body: bytes, colour_type: int, depth: int) -> tuple[int, ...] | None:
    channels = {0: 1, 2: 3}.get(colour_type)
    if channels is None or len(body) != 2 * channels:
        return None
    return tuple(value & (2 ** max(depth, 8) - 1) for value in struct.unpack(f">{channels}H", body))


def _first_frame(kept: list[bytes], frame: list[bytes], control: bytes, header: bytes) -> list[bytes]:
    """Where the picture itself is only for programs that know no animations: the chunks of a PNG of the first frame."""
    before = [whole for whole in kept if whole[4:8] in (b"PLTE", b"tRNS")]
    return [_chunk(b"IHDR", control[4:12] + header[8:]), *before, _chunk(b"IDAT", b"".join(frame)), _chunk(b"IEND", b"")]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
