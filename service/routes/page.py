"""The page: its files under addresses that hold a hash of what they contain, compressed, with headers that let nothing else in."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

WEB = Path(__file__).parent.parent / "web"
VENDOR = "vendor/"
"""The runtime's files have an address of their own, so that a new release of the page does not fetch them again."""
WORKER = "service-worker.js"
"""Lies beside the page, since a worker keeps only what lies below it."""

EARLY = "returning.js"
"""Runs before the page is seen; the others are modules, of which the browser is told at once."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self' blob:; manifest-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Embedder-Policy": "require-corp",  # this and the next let the runtime have threads
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FOR_A_YEAR = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
TEXTS = {".css", ".html", ".js", ".mjs", ".svg", ".webmanifest", ".md", ".json"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class File:
    """One of the page's files: `content` as a browser is to see it, or gzipped on disk only."""

    path: str
    """Below web/: `vendor/x.wasm`, whether or not it is stored as `x.wasm.gz`."""
    stored: Path

    @property
    def is_stored_gzipped(self) -> bool:
        return self.stored.suffix == ".gz"

    @property
    def media_type(self) -> str:
        known = {".js": "text/javascript", ".mjs": "text/javascript", ".webmanifest": "application/manifest+json", ".webp": "image/webp"}
        suffix = Path(self.path).suffix
        return known.get(suffix) or mimetypes.guess_type(self.path)[0] or "application/octet-stream"


@dataclass(frozen=True)
class Release:
    """The page as it is on disk when it is first asked for."""

    files: dict[str, File]
    page_hash: str
    vendor_hash: str

    def address(self, path: str) -> str:
        """Relative to the page: `web/<hash>/app.js`."""
        return f"web/{self.vendor_hash if path.startswith(VENDOR) else self.page_hash}/{path}"

    def index(self, server: bool) -> str:
        """index.html with these addresses; a page without a `server` paints on the device only."""
        modules = [path for path in self.files if path.endswith(".js") and "/" not in path and path not in (WORKER, EARLY)]
        modules.append("texts/en.js")
        html = (WEB / "index.html").read_text(encoding="utf-8")
        html = html.replace("</head>", "".join(f'  <link rel="modulepreload" href="web/{path}">\n' for path in modules) + "</head>")
        html = html.replace('"web/', f'"web/{self.page_hash}/')
        html = html.replace('data-vendor=""', f'data-vendor="web/{self.vendor_hash}/{VENDOR}"')
        return html if server else html.replace('data-server="yes"', 'data-server="no"')

    def worker(self) -> str:
        """The service worker, with all that it keeps from the first visit on."""
        kept = ["./", *(self.address(path) for path in sorted(self.files) if not path.endswith((".wasm", ".md", ".json", ".html", WORKER)))]
        quoted = ", ".join(f'"{address}"' for address in kept)
        return (WEB / WORKER).read_text(encoding="utf-8").replace("const PAGE = [];", f"const PAGE = [{quoted}];")


@cache
def release() -> Release:
    files = {}
    for stored in sorted(path for path in WEB.rglob("*") if path.is_file()):
        path = stored.relative_to(WEB).as_posix()
        files[path.removesuffix(".gz")] = File(path.removesuffix(".gz"), stored)
    hashes = [hashlib.sha256(), hashlib.sha256()]
    for path, file in files.items():
        hashes[path.startswith(VENDOR)].update(path.encode() + file.stored.read_bytes())
    return Release(files, *(digest.hexdigest()[:16] for digest in hashes))


@cache
def _gzipped(path: str) -> bytes:
    return gzip.compress(release().files[path].stored.read_bytes(), 9, mtime=0)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    return _text(request, release().index(server=True), "text/html")


@router.api_route(f"/{WORKER}", methods=["GET", "HEAD"])
async def service_worker(request: Request) -> Response:
    return _text(request, release().worker(), "text/javascript")


@router.api_route("/web/{path:path}", methods=["GET", "HEAD"])
async def web(request: Request, path: str) -> Response:
    """A file by its name, or at its address, and then to be kept for good. Addresses of another release are unknown here: a replica that
    has it may answer."""
    current = release()
    file = current.files.get(path.partition("/")[2])
    is_address = file is not None and current.address(file.path) == f"web/{path}"
    if not is_address:
        file = current.files.get(path)
    if file is None:
        return Response("The page has no such file.", 404, media_type="text/plain")
    headers = HEADERS | {"Cache-Control": FOR_A_YEAR if is_address else ASK_AGAIN, "Vary": "Accept-Encoding"}
    if file.is_stored_gzipped:
        if _takes_gzip(request):
            return FileResponse(file.stored, media_type=file.media_type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(gzip.decompress(file.stored.read_bytes()), media_type=file.media_type, headers=headers)
    if Path(file.path).suffix in TEXTS and _takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        return Response(_gzipped(file.path), media_type=file.media_type, headers=headers)
    return FileResponse(file.stored, media_type=file.media_type, headers=headers)


def _text(request: Request, text: str, media_type: str) -> Response:
    content = text.encode()
    headers = HEADERS | {
        "Cache-Control": ASK_AGAIN,
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"',
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if _takes_gzip(request):
        content, headers["Content-Encoding"] = gzip.compress(content, 9, mtime=0), "gzip"
    return Response(content, media_type=media_type, headers=headers)


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")
