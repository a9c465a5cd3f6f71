"""Makes files of kinds that no program at hand writes, and reads them."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pictures.decode import Picture, decode, open_picture

RAMP = np.tile(np.arange(64) * 255 // 63, (48, 1)).astype(np.uint8)
"""From black to white."""
GRADIENT = np.dstack([RAMP, np.linspace(0, 255, 48).astype(np.uint8)[:, None].repeat(64, 1), RAMP[:, ::-1]])
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def read(content: bytes, size: int | None = None) -> Picture:
    return decode(open_picture(content, 50_000_000), size)


def off(pixels: NDArray, expected: object) -> int:
    """The largest difference."""
    return int(np.abs(pixels.astype(int) - np.asarray(expected, int)).max())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: NDArray, extra: bytes = b"", depth: int = 8, after: bytes = b"") -> bytes:
    """Of (h, w, channels), or of a palette's (h, w) indices; `extra` comes before the pixels."""
    colour_type = {0: 3, 1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2] if pixels.ndim == 3 else 0]
    if depth < 8:
        bits = (pixels.reshape(len(pixels), -1)[..., None] >> np.arange(depth)[::-1] & 1).astype(np.uint8)
        rows = np.packbits(bits.reshape(len(pixels), -1), axis=1)
    else:
        rows = pixels.astype(">u2" if depth == 16 else "u1")
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + after + chunk(b"IEND", b"")


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def chromaticities(*values: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))


def tiff(data: bytes, tags: dict[int, tuple[int, int]], order: str = "<", size: tuple[int, int] = (64, 48)) -> bytes:
    """One strip, without compression; `tags` from a tag to its type and value."""
    common = {256: (4, size[0]), 257: (4, size[1]), 259: (3, 1), 273: (4, 8), 277: (3, 1), 278: (4, size[1]), 279: (4, len(data))}
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", value)
        for tag, (kind, value) in sorted((common | tags).items())
    )
    data += b"\0" * (len(data) % 2)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(entries) // 12) + entries + b"\0" * 4


def bmp(bits: int, compression: int, rows: NDArray, extra: bytes = b"", header: int = 40) -> bytes:
    """`rows` from the bottom up, each padded; `extra` is the rest of a longer header, or the masks behind a short one."""
    data = b"".join(row.tobytes() for row in rows)
    width = rows.shape[1]
    head = struct.pack("<IiiHHIIiiII", header, width, len(rows), 1, bits, compression, len(data), 0, 0, 0, 0)
    head += extra.ljust(header - 40, b"\0")
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head + data


def display_p3() -> bytes:
    """sRGB's own profile with the primaries of P3 (D50-adapted, as ICC has them)."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189), b"bXYZ": (0.15710, 0.06657, 0.78407)}
    for i in range(struct.unpack_from(">I", profile, 128)[0]):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if tag in primaries:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in primaries[tag]))
    return bytes(profile)


def with_cicp(profile: bytes, primaries: int, transfer: int) -> bytes:
    """A profile with one more tag, of H.273's numbers."""
    count = struct.unpack_from(">I", profile, 128)[0]
    tags = [struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(count)]
    body = profile[132 + 12 * count :]
    body += b"\0" * (-len(body) % 4)
    table = b"".join(struct.pack(">4sII", name, start + 12, size) for name, start, size in tags)
    table += struct.pack(">4sII", b"cicp", 144 + 12 * count + len(body), 12)
    whole = profile[:128] + struct.pack(">I", count + 1) + table + body + b"cicp\0\0\0\0" + bytes([primaries, transfer, 0, 1])
    return struct.pack(">I", len(whole)) + whole[4:]


def grey_profile(exponent: float) -> bytes:
    """Grey with a power as its curve."""

    def fixed(*numbers: float) -> bytes:
        return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))

    white = fixed(0.9642, 1, 0.8249)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + b"\0" * 78,
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + white,
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256)),
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    kinds = (b"none", 0x02400000, b"mntr", b"GRAY", b"XYZ ", 2026, 1, 1, 0, 0, 0, b"acsp")
    head = struct.pack(">I4sI4s4s4s6H4s", start + len(body), *kinds)
    return head.ljust(68, b"\0") + white + b"\0" * 48 + table + body


def with_nclx(content: bytes, primaries: int, transfer: int) -> bytes:
    """An AVIF or HEIC with other colour numbers."""
    at = content.index(b"colrnclx") + 8
    return content[:at] + struct.pack(">HH", primaries, transfer) + content[at + 4 :]


def webp_on_canvas(still: bytes, size: tuple[int, int], canvas: tuple[int, int], at: tuple[int, int]) -> bytes:
    """An animation of one frame, a WebP without metadata of that size, at a place of a larger canvas."""

    def three(*numbers: int) -> bytes:
        return b"".join(number.to_bytes(3, "little") for number in numbers)

    frame = three(at[0] // 2, at[1] // 2, size[0] - 1, size[1] - 1, 100) + b"\0" + still[12:]
    body = b"WEBPVP8X" + struct.pack("<II", 10, 2) + three(canvas[0] - 1, canvas[1] - 1)
    body += b"ANIM" + struct.pack("<IIH", 6, 0xFFFF0000, 0) + b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_on_canvas(content: bytes, canvas: tuple[int, int], at: tuple[int, int]) -> bytes:
    """A GIF of one frame, with its frame at a place of a larger canvas."""
    frame = content.index(b",\0\0\0\0")
    head = content[:6] + struct.pack("<HH", *canvas) + content[10:frame]
    return head + b"," + struct.pack("<HH", *at) + content[frame + 5 :]


def solid(colour: object, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]
