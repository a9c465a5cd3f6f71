"""What is no picture of a format that is taken is called by its name, with what to do."""

import base64
import gzip
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from pictures.decode import open_picture
from pictures.errors import BrokenPicture, NotAPicture, PictureError
from tests.conftest import PHOTO, encoded
from tests.pictures.files import png, read, solid, tiff

JPEG = encoded(solid((200, 80, 80)), "JPEG")
RED = bytes([200, 80, 80])


def camera(*, dng: bool = False, make: str = "", mosaic: bool = False, thumbnail: bool = False) -> bytes:
    """A TIFF of a small picture as cameras write it."""
    tags = {258: (3, 8), 262: (3, 32803 if mosaic else 1), 254: (4, int(thumbnail))} | ({50706: (4, 1025)} if dng else {})
    content = tiff(bytes(64 * 48), tags)
    return _with_make(content, make) if make else content


def _with_make(content: bytes, make: str) -> bytes:
    """With the maker's name in place of StripByteCounts, which sound readers do without."""
    at = content.index(struct.pack("<HHI", 279, 4, 1))
    name = make.encode() + b"\0"
    patched = content[:at] + struct.pack("<HHII", 271, 2, len(name), len(content)) + content[at + 12 :]
    return patched + name


def iso(brand: bytes) -> bytes:
    return struct.pack(">I4s4sI", 16, b"ftyp", brand, 0) + bytes(64)


NAMED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "an empty file"),
    "zeros": (bytes(1000), "contains only zeros"),
    "base64": (base64.b64encode(JPEG), "base64 text of a JPEG.*decode it"),
    "base64 as JSON": (json.dumps(base64.b64encode(JPEG).decode()).encode(), "base64 text of a JPEG"),
    "base64 behind a byte order mark": (b"\xef\xbb\xbf" + base64.b64encode(JPEG), "base64 text of a JPEG"),
    "a file's name": (b"/home/me/photo.jpg\n", "a file name.*@"),
    "a quoted address": (b'"https://example.com/photo.jpg"', "an address"),
    "a form's fields": (b"direction=photo2monet&size=512", "URL-encoded form fields"),
    "decoded as text": (JPEG.decode("utf-8", "replace").encode(), "converted to text.*binary"),
    "ends of lines changed": (png(np.zeros((4, 4, 3), np.uint8)).replace(b"\r\n", b"\n"), "converted to text"),
    "tar": (b"photo.jpg".ljust(257, b"\0") + b"ustar\0" + bytes(250), "a tar archive"),
    "Targa of runs": (b"\0\0\x0a" + bytes(9) + b"\4\0\4\0\x18\0" + (b"\x83" + RED) * 4, "a Targa picture"),
    "Targa with a name in it": (b"\5\0\2" + bytes(9) + b"\4\0\4\0\x18\0name." + RED * 16, "a Targa picture"),
    "Targa of a palette": (b"\0\1\1\0\0\4\0\x18" + bytes(4) + b"\4\0\4\0\x08\0" + RED * 4 + bytes(16), "a Targa picture"),
    "DIB": (encoded(solid((200, 80, 80)), "BMP")[14:], "without its file header"),
    "DCX": (b"\xb1\x68\xde\x3a" + bytes(60), "DCX"),
    "BLP": (b"BLP2\1\0\0\0" + bytes(140), "BLP"),
    "PCX": (b"\x0a\5\1\x08" + bytes(124), "a PCX picture"),
    "SGI": (b"\x01\xda\0\1" + bytes(508), "an SGI picture"),
    "Sun raster": (b"\x59\xa6\x6a\x95" + bytes(28), "a Sun raster picture"),
    "XBM": (b"/* drawn */\n#define im_width 8\n#define im_height 1\nstatic char im_bits[] = { 1 };", "an XBM picture"),
    "XPM": (b'/* XPM */\nstatic char *im[] = {"1 1 1 1", "a c red", "a"};', "an XPM picture"),
    "EMF": (b"\1\0\0\0\x6c" + bytes(35) + b" EMF" + bytes(64), "metafile .EMF"),
    "FLC": (bytes(4) + b"\x12\xaf" + bytes(122), "an FLI or FLC animation"),
    "Targa": (b"\0\0\2" + bytes(9) + b"\4\0\4\0\x18\0" + RED * 16, "a Targa picture"),
    "SVG with entities": (b"<!DOCTYPE svg [<!ENTITY a 'b'>]><svg/>", "an SVG drawing"),
    "comments without end": (b"<!---->" * 290 + b"<", "XML"),
    "base64 in lines": (base64.encodebytes(png(np.zeros((4, 4, 3), np.uint8))), "base64 text of a PNG"),
    "a data URI": (b"data:image/jpeg;base64," + base64.b64encode(JPEG), "a data URI.*decode the base64 text"),
    "JSON": (json.dumps({"image": base64.b64encode(JPEG).decode()}).encode(), "JSON.*multipart/form-data"),
    "an address": (b"https://example.com/photo.jpg\n", "an address.*fetch"),
    "gzip": (gzip.compress(JPEG), "compressed with gzip"),
    "zlib": (zlib.compress(JPEG), "compressed with zlib"),
    "a page": (b"<!DOCTYPE html><html><img src=photo.jpg>", "an HTML page"),
    "SVG": (b'<?xml version="1.0"?>\n<!-- drawn --><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing.*PNG"),
    "PDF": (b"%PDF-1.7\n", "a PDF document"),
    "ZIP": (b"PK\3\4" + bytes(30), "a ZIP archive"),
    "MP4": (iso(b"isom"), "a video"),
    "QuickTime": (iso(b"qt  "), "a video"),
    "WebM": (b"\x1a\x45\xdf\xa3" + bytes(30), "a video"),
    "an icon": (b"\0\0\1\0\1\0" + bytes(30), "a Windows icon"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(30), "a JPEG 2000"),
    "Photoshop": (b"8BPS\0\1" + bytes(30), "a Photoshop document"),
    "text": ("schöne Grüße".encode(), "text"),
    "UTF-16": ("hello there".encode("utf-16"), "text"),
    "Netpbm": (b"P6\n4 4\n255\n" + bytes(48), "Netpbm"),
    "hexadecimal": (JPEG.hex().encode(), "hexadecimal text of a JPEG"),
    "bytes as Python spells them": (repr(JPEG).encode(), "Python's text for bytes"),
    "nothing but ones": (b"\xff" * 1000, "unknown type"),
    "PDF behind a line": (b"\r\n%PDF-1.7\n", "a PDF document"),
    "XHTML": (b'<?xml version="1.0"?>\n<!DOCTYPE html><html>', "an HTML page"),
    "a form": (b"--frontier\r\nContent-Disposition: form-data; name=image; filename=a.jpg\r\n\r\n" + JPEG, "a form.*multipart/form-data"),
    "RTF": (b"{\\rtf1 hello}", "an RTF document"),
    "IIQ": (b"IIIITwar" + bytes(30), r"raw file \(IIQ\)"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
    "DNG": (camera(dng=True), r"raw file \(DNG\).*export it"),
    "a mosaic": (camera(mosaic=True), "raw file"),
    "NEF": (camera(thumbnail=True, make="NIKON CORPORATION"), r"raw file \(NEF\)"),
    "ARW": (camera(thumbnail=True, make="SONY"), r"raw file \(ARW\)"),
    "ERF": (camera(thumbnail=True, make="SEIKO EPSON CORP."), r"raw file \(ERF\)"),
    "CR2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + tiff(b"", {262: (3, 1)})[8:], r"raw file \(CR2\)"),
    "CR2, cut off": (b"II*\0\x10\0\0\0CR\2\0", r"raw file \(CR2\)"),
    "CR3": (iso(b"crx "), r"raw file \(CR3\)"),
    "RAF": (b"FUJIFILMCCD-RAW 0201" + bytes(30), r"raw file \(RAF\)"),
    "ORF": (b"IIRO\x08\0\0\0" + bytes(30), r"raw file \(ORF\)"),
    "RW2": (b"IIU\0\x18\0\0\0" + bytes(30), r"raw file \(RW2\)"),
    "12-bit JPEG": (JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "a 12-bit JPEG"),
    "lossless JPEG": (JPEG.replace(b"\xff\xc0", b"\xff\xc3"), "a lossless JPEG"),
    "an app's PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI" + bytes(8), "iPhone app"),
}


@pytest.mark.parametrize("name", NAMED)
def test_it_is_called_by_its_name(name: str) -> None:
    content, words = NAMED[name]
    with pytest.raises(NotAPicture, match=words):
        open_picture(content, 10**6)


@pytest.mark.parametrize(("file_format", "name"), [("HEIF", "HEIC"), ("JXL", "JPEG XL")])
def test_without_the_extra_its_formats_are_refused_with_what_to_install(
    file_format: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = iso(b"heic") if file_format == "HEIF" else b"\xff\x0a" + bytes(30)
    monkeypatch.setitem(sys.modules, {"HEIF": "pillow_heif", "JXL": "pillow_jxl"}[file_format], None)
    with pytest.raises(NotAPicture, match=rf"{name}.*pip install 'cyclegan-service\[formats\]'"):
        open_picture(content, 10**6)


def test_errors_name_the_file(tmp_path: Path) -> None:
    for name, content in {"holiday.jpg": b"%PDF-1.7", "cut.jpg": PHOTO.read_bytes()[:200]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PictureError, match=name):
            open_picture(tmp_path / name, None)


def test_a_picture_that_is_cut_off_is_called_damaged() -> None:
    with pytest.raises(BrokenPicture, match="send it whole"):
        open_picture(JPEG[:100], 10**6)
    pytest.importorskip("pillow_jxl")
    with pytest.raises(BrokenPicture, match="JXL is damaged and cannot be opened: send it whole"):
        read(encoded(solid((200, 80, 80), (320, 200)), "JXL")[:40])
