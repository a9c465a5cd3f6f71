"""Identify a file's format by its first bytes. For unsupported files, the error names the kind of file and says what to do."""

import base64
import re
from contextlib import suppress
from itertools import product

from pictures.errors import NotAPicture

SUPPORTED = "JPEG, PNG, WebP, AVIF, HEIC, JPEG XL, GIF, BMP and TIFF"
_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .png .apng .webp .avif .avifs .heic .heif .hif .jxl .gif .bmp .dib .tif .tiff "  # supported
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .orf .rw2 .raf .pef .srw .jp2 .j2k .jxr .psd .xcf .exr .hdr .ico .dds .tga .ppm .pgm"
)
SUFFIXES = frozenset(_SUFFIXES.split())
"""Suffixes of files that people regard as pictures. Formats that are not supported are rejected by name."""
_EXPORT = "export it as JPEG, PNG or TIFF and send that"
_FRAME = "send a picture of it, as JPEG or PNG"
_UNPACK = "unpack it and send the pictures in it"
_UNCOMPRESSED = "send the picture itself, without compressing it or the body"
_RENDER = "export it as PNG and send that"
_PAGE = "send the picture itself, not the page that shows it"
_TARGA = "a Targa picture (TGA)"
_CURL = "send the picture's bytes (with curl: -F image=@photo.jpg, with the @)"
_PDF = ("a PDF document", "export its page as JPEG or PNG and send that")
_AS_FILE = "send the picture's bytes as a file of multipart/form-data, or as the body itself"

_MANGLED = ("\ufffd".encode(), "\x89PNG".encode(), "\xff\xd8\xff".encode(), b"\x89PNG\n", b"\x89PNG\r\r\n")
"""The start of pictures that were transferred as text: decoded and encoded again, or with changed line ends."""
_SIGNATURES: list[tuple[bytes, str]] = [
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    *((mark, "tiff") for mark in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
]
_UNSUPPORTED: list[tuple[bytes, str, str]] = [
    (b"IIRO", "an Olympus raw file (ORF)", _EXPORT),
    (b"IIRS", "an Olympus raw file (ORF)", _EXPORT),
    (b"MMOR", "an Olympus raw file (ORF)", _EXPORT),
    (b"IIU\0", "a Panasonic raw file (RW2)", _EXPORT),
    (b"FUJIFILMCCD-RAW", "a Fujifilm raw file (RAF)", _EXPORT),
    (b"FOVb", "a Sigma raw file (X3F)", _EXPORT),
    (b"\0MRM", "a Minolta raw file (MRW)", _EXPORT),
    (b"IIII", "a Phase One raw file (IIQ)", _EXPORT),
    (b"MMMM", "a Phase One raw file (IIQ)", _EXPORT),
    (b"II\xbc", "a JPEG XR", _EXPORT),
    (b"II\x1a\0\0\0HEAPCCDR", "a Canon raw file (CRW)", _EXPORT),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000", _EXPORT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000", _EXPORT),
    (b"8BPS", "a Photoshop document (PSD)", _EXPORT),
    (b"gimp xcf", "a GIMP document (XCF)", _EXPORT),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture", _EXPORT),
    (b"#?RADIANCE", "a Radiance HDR picture", _EXPORT),
    (b"#?RGBE", "a Radiance HDR picture", _EXPORT),
    (b"SIMPLE  =", "a FITS picture", _EXPORT),
    (b"DDS ", "a DirectDraw texture (DDS)", _EXPORT),
    (b"qoif", "a QOI picture", _EXPORT),
    (b"BPG\xfb", "a BPG picture", _EXPORT),
    (b"FLIF", "a FLIF picture", _EXPORT),
    (b"icns", "an Apple icon (ICNS)", _EXPORT),
    (b"\0\0\1\0", "a Windows icon (ICO)", _EXPORT),
    (b"\0\0\2\0\0\0", _TARGA, _EXPORT),
    (b"\0\0\2\0", "a Windows cursor (CUR)", _EXPORT),
    *((b"\x0a%c\1" % version, "a PCX picture", _EXPORT) for version in (0, 2, 3, 4, 5)),
    (b"\xb1\x68\xde\x3a", "a PCX fax (DCX)", _EXPORT),
    (b"\x28\0\0\0", "a bitmap without its file header (DIB)", _EXPORT),
    *((mark, "a Microsoft Paint picture (MSP)", _EXPORT) for mark in (b"DanM", b"LinS")),
    *((mark, "a game's texture (BLP)", _EXPORT) for mark in (b"BLP1", b"BLP2")),
    (b"\x01\xda", "an SGI picture", _EXPORT),
    (b"\x59\xa6\x6a\x95", "a Sun raster picture", _EXPORT),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)", _RENDER),
    (b"\x8aMNG\r\n\x1a\n", "an MNG animation", _FRAME),
    (b"%PDF", *_PDF),
    (b"%!PS", "a PostScript program", _RENDER),
    (b"\xc5\xd0\xd3\xc6", "PostScript (EPS)", _RENDER),
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)", _FRAME),
    (b"\0\0\1\xba", "a video (MPEG)", _FRAME),
    (b"\0\0\1\xb3", "a video (MPEG)", _FRAME),
    (b"FLV\1", "a video (FLV)", _FRAME),
    (b"OggS", "an Ogg stream", _FRAME),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (WMV)", _FRAME),
    (b"ID3", "music (MP3)", "send a picture"),
    (b"fLaC", "music (FLAC)", "send a picture"),
    (b"\x1f\x8b", "a file compressed with gzip", _UNCOMPRESSED),
    *((b"x" + level, "a file compressed with zlib", _UNCOMPRESSED) for level in (b"\x01", b"\x9c", b"\xda")),
    (b"BZh", "a file compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "a file compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd", _UNCOMPRESSED),
    (b"PK\3\4", "a ZIP archive (or an office document, or a Krita or OpenRaster one)", _UNPACK),
    (b"PK\5\6", "an empty ZIP archive", "send a picture"),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document", "send the pictures in it"),
    (b"SQLite format 3\0", "an SQLite database", "send a picture"),
    (b"\x7fELF", "a program", "send a picture"),
    (b"MZ", "a program", "send a picture"),
    *((b"P%c%c" % pair, "a Netpbm picture (PBM, PGM, PPM or PAM)", _EXPORT) for pair in product(b"1234567Ff", b" \t\r\n")),
    *((mark, "a picture that was converted to text on the way", "read and send it in binary mode") for mark in _MANGLED),
]
_BRANDS = {
    "avif": "avif avis",
    "heif": "heic heix heim heis hevc hevx hevm hevs mif1 msf1 mif2 miaf",
}
_HEIF_UNSUPPORTED = {
    b"crx ": ("a Canon raw file (CR3)", _EXPORT),
    b"qt  ": ("a video (QuickTime)", _FRAME),
    b"j2ki": ("a JPEG 2000 in HEIF", _EXPORT),
    b"avci": ("an AVC picture in HEIF", _EXPORT),
}
_RIFF_UNSUPPORTED = {
    b"WAVE": ("a sound (WAV)", "send a picture"),
    b"AVI ": ("a video (AVI)", _FRAME),
    b"ACON": ("a Windows cursor (ANI)", _EXPORT),
}
_TARGA_HEADER = re.compile(
    rb"(?s).(?:\x00[\x02\x03\x0a\x0b]\x00{5}.{8}[\x08\x0f\x10\x18\x20]|\x01[\x01\x09]\x00\x00..[\x0f\x10\x18\x20].{8}\x08)"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]+=*")
_NAMES = "|".join(map(re.escape, sorted(SUFFIXES)))
_TEXTS: list[tuple[str, str, str]] = [
    (r"data:", "a data URI", "decode the base64 text after the comma and send the bytes"),
    (r"((https?|ftp|file|s3|gs)://|blob:|www\.)\S*\s*$", "an address", "fetch the picture and send its bytes"),
    (rf"[^\n]{{1,255}}({_NAMES})\s*$", "a file name", _CURL),
    (r"\w{1,40}=\S*\s*$", "URL-encoded form fields", _AS_FILE),
    (r"/\* XPM \*/", "an XPM picture", _EXPORT),
    (r"(/\*.*?\*/\s*)?#define\s+\w*width", "an XBM picture", _EXPORT),
    (r"\{\\rtf", "an RTF document", "send the pictures in it"),
    (r"%pdf", *_PDF),
    (r"[\[{]", "JSON", _AS_FILE),
    (r".{0,40}\\x[0-9a-f]{2}", "Python's text for bytes", "send the bytes themselves"),
    (r"(<\?xml[^>]*>\s*)?(?><!--.*?-->\s*|<!doctype svg[^>\[]*(\[.*?\]\s*)?>\s*)*+<svg\b", "an SVG drawing", _RENDER),
    (r"(<\?xml[^>]*>\s*)?(?><!--.*?-->\s*)*+<(!doctype html|html|head|body|script|meta|title|div|p|a|img)\b", "an HTML page", _PAGE),
    (r"<", "XML", "send a picture"),
    (r"version https://git-lfs", "a Git LFS pointer", "fetch the real file with git lfs pull and send that"),
]


def identify(content: bytes) -> str:
    """Return the format: jpeg, png, webp, avif, heif, jxl, gif, bmp or tiff. Raises NotAPicture."""
    for start, file_format in _SIGNATURES:
        if content.startswith(start):
            return file_format
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    if content[:2] == b"BM" and content[15:18] == b"\0\0\0":  # the upper bytes of the header's size
        return "bmp"
    if content[4:8] == b"ftyp":
        return _identify_brand(content)
    name, advice = describe_unsupported(content)
    raise _unsupported(name, advice)


def _unsupported(name: str, advice: str) -> NotAPicture:
    return NotAPicture(f"This is {name}, which is not a supported format ({SUPPORTED}): {advice}.")


def _identify_brand(content: bytes) -> str:
    length = min(int.from_bytes(content[:4], "big"), 1024)
    major, compatible = content[8:12], [content[at : at + 4] for at in range(16, length, 4)]
    for brand in (major, *compatible):
        if brand in _HEIF_UNSUPPORTED:
            raise _unsupported(*_HEIF_UNSUPPORTED[brand])
        for file_format, brands in _BRANDS.items():
            if brand.decode("latin-1") in brands.split() and not (brand in (b"mif1", b"msf1", b"miaf") and brand == major):
                return file_format
    if major in (b"mif1", b"msf1"):
        return "heif"
    raise _unsupported("a video (MP4 or similar)", _FRAME)


def describe_unsupported(content: bytes) -> tuple[str, str]:
    """Return a description of a file that is not a supported picture, and advice on what to do with it."""
    if not content:
        return "an empty file", _CURL
    for start, name, advice in _UNSUPPORTED:
        if content.startswith(start):
            return name, advice
    if content[:4] == b"RIFF" and content[8:12] in _RIFF_UNSUPPORTED:
        return _RIFF_UNSUPPORTED[content[8:12]]
    if content[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if content[:4] == b"\1\0\0\0" and content[40:44] == b" EMF":
        return "a Windows metafile (EMF)", _RENDER
    if content[4:6] in (b"\x11\xaf", b"\x12\xaf"):
        return "an FLI or FLC animation", _FRAME
    if content[128:132] == b"DICM":
        return "a DICOM picture", _EXPORT
    if content[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return "a video (QuickTime)", _FRAME
    if re.match(rb"--\S{1,70}\r?\ncontent-", content[:100], re.IGNORECASE):
        return "a form", "send it as Content-Type: multipart/form-data; boundary=…"
    if _TARGA_HEADER.match(content) or content[-18:-2] == b"TRUEVISION-XFILE":
        return _TARGA, _EXPORT
    if content[:2] == b"BM":
        return "a BMP with an unknown header", _EXPORT
    if not content.strip(b"\0"):
        return "a file that contains only zeros", "copy or download it again and send that"
    text = _decode_text(content[:2048])
    return _describe_text(text) if text is not None else ("a file of unknown type", _EXPORT)


def _decode_text(start: bytes) -> str | None:
    """Return the first bytes as text, or None if they are not text."""
    for encoding in ("utf-16",) if start[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "latin-1"):
        try:
            text = start[: len(start) // 2 * 2].decode(encoding) if encoding == "utf-16" else start.decode(encoding)
        except UnicodeDecodeError as error:
            if encoding != "utf-8-sig" or error.start < len(start) - 4:  # a character may have been cut
                continue
            text = start[: error.start].decode(encoding)
        if encoding == "latin-1" and 2 * sum(map(str.isascii, text)) < len(text):
            return None
        if not re.search(r"[\0-\x08\x0e-\x1a\x7f-\x9f]", text):
            return re.sub(r"""^\s*b?["']""", "", text).strip("\"' \r\n\t")
    return None


def _describe_text(text: str) -> tuple[str, str]:
    for pattern, name, advice in _TEXTS:
        if re.match(pattern, text, re.IGNORECASE | re.DOTALL):
            return name, advice
    whole = re.sub(r"\s", "", text).removeprefix("\\x")
    if len(whole) >= 16 and _BASE64.fullmatch(whole):
        for spelling, decoder in (("hexadecimal", bytes.fromhex), ("base64", _from_base64)):
            with suppress(NotAPicture, ValueError):
                kind = identify(decoder(whole[: len(whole) // 4 * 4]))
                return f"{spelling} text of a {kind.upper()}", "decode it and send the bytes"
    return "text", "send the picture's bytes"


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")))
