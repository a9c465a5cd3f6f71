"""PNG: count and check the chunks, read what they say about colours, and leave out what does not concern pixels."""

import struct
import zlib
from collections.abc import Iterator

from pictures import signals, tags
from pictures.errors import BrokenPicture, NotAPicture
from pictures.parts import Parts
from pictures.signals import Signal

MAX_CHUNKS = 100_000
MAX_PROFILE = 16 * 2**20
"""In bytes; a larger profile is ignored."""
_SRGB_GAMMA, _TOLERANCE = 0.45455, 0.05
"""A gAMA within this relative tolerance of sRGB's means sRGB if there is no cHRM, as in libpng."""


def examine(content: bytes) -> Parts:
    """Return the first picture's chunks and its colour description. Raises BrokenPicture and NotAPicture."""
    kept: list[bytes] = []
    frame: list[bytes] = []
    chunks: dict[bytes, bytes] = {}
    control, animated, pixels_seen = b"", False, False
    for kind, body, whole in _chunks(content):
        match kind:
            case b"CgBI":
                raise NotAPicture("This is a PNG from an iPhone app (CgBI), which is not supported: convert it to an ordinary PNG.")
            case b"acTL" if not pixels_seen:
                animated = 0 < int.from_bytes(body[:4], "big") < 2**31  # the number of frames
            case b"fcTL" | b"fdAT" if not animated:
                pass
            case b"fcTL" if not (control or pixels_seen):
                control = body  # the first frame is the picture itself
            case b"fcTL" if not control and len(body) >= 26:
                control = body  # the first frame follows the picture, which is not part of the animation
                frame = [b""]
            case b"fcTL" if frame:
                break
            case b"fdAT" if frame:
                frame.append(body[4:])
            case b"tRNS" if pixels_seen:
                pass  # browsers ignore it after the pixels
            case b"tRNS" if chunks.get(b"IHDR", b"")[9:10] != b"\3":
                chunks[kind] = body  # the transparent colour; the decoder handles a palette's transparency
            case b"PLTE" if 3 <= len(body) < 3 * 256:  # indices beyond it have the last colour, as in browsers
                kept.append(_chunk(kind, body + body[-3:] * (256 - len(body) // 3)))
            case b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT" | b"IEND":
                pixels_seen |= kind == b"IDAT"
                kept.append(whole)
                if kind == b"IHDR":
                    chunks[kind] = body
            case b"cICP" | b"iCCP" | b"sRGB" | b"gAMA" | b"cHRM" | b"cLLI" | b"mDCV" | b"eXIf" if not pixels_seen:
                chunks.setdefault(kind, body)
            case _ if kind[:1].isupper() and kind.isalpha():
                kept.append(whole)  # a critical chunk: a decoder that does not know it must say so
    header = chunks.get(b"IHDR", b"").ljust(13, b"\0")
    width, height, depth, colour_type = struct.unpack_from(">IIBB", header)
    numbers = _read_cicp(chunks.get(b"cICP", b""))
    canvas = None
    if len(frame) > 1:
        canvas = (width, height, *struct.unpack_from(">II", control, 12))
        kept = _first_frame(kept, frame, control, header)
    return Parts(
        content[:8] + b"".join(kept),
        canvas=canvas,
        orientation=tags.orientation(chunks.get(b"eXIf", b"")),
        profile=None if numbers else _unpack_profile(chunks.get(b"iCCP", b"")),
        signal=signals.from_numbers(*numbers, _peak(chunks)) if numbers else _gamma_signal(chunks),
        key=_transparent_colour(chunks.get(b"tRNS", b""), colour_type, depth),
        depth=depth,
        grey=colour_type in (0, 4),
    )


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield each chunk's kind, its body, and all of it. Ancillary chunks with a wrong checksum are left out, as in browsers."""
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
    raise BrokenPicture(f"The PNG has more than {MAX_CHUNKS:,} chunks, made to keep decoders busy: save it again.")


def _read_cicp(cicp: bytes) -> tuple[int, int] | None:
    """Return the H.273 code points of primaries and curve. They take precedence over a profile (PNG, third edition)."""
    return (cicp[0], cicp[1]) if len(cicp) == 4 and cicp[2:] == b"\0\1" and signals.are_known(cicp[0], cicp[1]) else None


def _gamma_signal(chunks: dict[bytes, bytes]) -> Signal | None:
    """Return the signal of gAMA and cHRM. A profile and sRGB take precedence over them."""
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big") / 100_000
    if b"sRGB" in chunks or not gamma or len(chunks[b"gAMA"]) != 4:
        return None
    chromaticities = chunks.get(b"cHRM", b"")
    if len(chromaticities) == 32:
        primaries = tuple(value / 100_000 for value in struct.unpack(">8I", chromaticities))
        return Signal(primaries, 1 / gamma) if signals.are_valid(primaries) else None
    return None if abs(gamma / _SRGB_GAMMA - 1) < _TOLERANCE else Signal(transfer=1 / gamma)


def _peak(chunks: dict[bytes, bytes]) -> float | None:
    """Return the peak luminance of the picture (cLLI), or else of the display that it was made on (mDCV), in cd/m²."""
    if len(light := chunks.get(b"cLLI", b"")) == 8 and any(light[:4]):
        return int.from_bytes(light[:4], "big") / 10_000
    if len(mastering := chunks.get(b"mDCV", b"")) == 24 and any(mastering[16:20]):
        return int.from_bytes(mastering[16:20], "big") / 10_000
    return None


def _unpack_profile(body: bytes) -> bytes | None:
    try:
        unpacker = zlib.decompressobj()
        profile = unpacker.decompress(body[body.index(b"\0") + 2 :], MAX_PROFILE)
    except (ValueError, zlib.error):
        return None
    return profile if unpacker.eof else None


def _transparent_colour(body: bytes, colour_type: int, depth: int) -> tuple[int, ...] | None:
    channels = {0: 1, 2: 3}.get(colour_type)
    if channels is None or len(body) != 2 * channels:
        return None
    return tuple(value & (2 ** max(depth, 8) - 1) for value in struct.unpack(f">{channels}H", body))


def _first_frame(kept: list[bytes], frame: list[bytes], control: bytes, header: bytes) -> list[bytes]:
    """Return the chunks of a PNG of the first frame, for animations that the default picture is not part of."""
    before = [whole for whole in kept if whole[4:8] in (b"PLTE", b"tRNS")]
    return [_chunk(b"IHDR", control[4:12] + header[8:]), *before, _chunk(b"IDAT", b"".join(frame)), _chunk(b"IEND", b"")]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
