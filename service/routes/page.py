"""The page. Its files have URLs that contain a hash of their content, are compressed, and carry strict security headers."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

WEB = Path(__file__).parent.parent / "web"
VENDOR = "vendor/"  # the runtime's files have a hash of their own, so browsers do not download them again for each release of the page
WORKER = "service-worker.js"  # served beside the page, since a worker only controls what is below its own URL
EARLY = "returning.js"  # runs before the page is shown; all other scripts are modules, which the browser preloads

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self' blob:; manifest-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Embedder-Policy": "require-corp",  # with the next one, it lets the runtime use threads
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FOR_A_YEAR = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
COMPRESSIBLE = {".css", ".html", ".js", ".mjs", ".svg", ".webmanifest", ".md", ".json"}
MEDIA_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".webmanifest": "application/manifest+json", ".webp": "image/webp"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class File:
    """One of the page's files."""

    path: str  # relative to web/, without the .gz of a file that is stored gzipped: `vendor/x.wasm`
    stored: Path

    @property
    def is_stored_gzipped(self) -> bool:
        return self.stored.suffix == ".gz"

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES.get(Path(self.path).suffix) or mimetypes.guess_type(self.path)[0] or "application/octet-stream"


@dataclass(frozen=True)
class Release:
    """The page as it was on disk at the first request for it."""

    files: dict[str, File]
    page_hash: str
    vendor_hash: str

    def address(self, path: str) -> str:
        """Return a file's URL, relative to the page: `web/<hash>/app.js`."""
        return f"web/{self.vendor_hash if path.startswith(VENDOR) else self.page_hash}/{path}"

    def index(self, server: bool) -> str:
        """Return index.html with the URLs of this release. A page without a `server` translates on the device only."""
        modules = [path for path in self.files if path.endswith(".js") and "/" not in path and path not in (WORKER, EARLY)]
        modules.append("texts/en.js")
        html = (WEB / "index.html").read_text(encoding="utf-8")
        html = html.replace("</head>", "".join(f'  <link rel="modulepreload" href="web/{path}">\n' for path in modules) + "</head>")
        html = html.replace('"web/', f'"web/{self.page_hash}/')
        html = html.replace('data-vendor=""', f'data-vendor="web/{self.vendor_hash}/{VENDOR}"')
        return html if server else html.replace('data-server="yes"', 'data-server="no"')

    def worker(self) -> str:
        """Return the service worker with the list of files that it caches on the first visit."""
        paths = [path for path in sorted(self.files) if not path.endswith((".wasm", ".md", ".json", ".html", WORKER))]
        quoted = ", ".join(f'"{url}"' for url in ["./", *map(self.address, paths)])
        return (WEB / WORKER).read_text(encoding="utf-8").replace("const PAGE = [];", f"const PAGE = [{quoted}];")


@cache
def release() -> Release:
    files = {}
    for stored in sorted(path for path in WEB.rglob("*") if path.is_file()):
        path = stored.relative_to(WEB).as_posix().removesuffix(".gz")
        files[path] = File(path, stored)
    hashes = [hashlib.sha256(), hashlib.sha256()]
    for path, file in files.items():
        hashes[path.startswith(VENDOR)].update(path.encode() + file.stored.read_bytes())
    return Release(files, *(digest.hexdigest()[:16] for digest in hashes))


@cache
def _gzipped(path: str) -> bytes:
    return gzip.compress(release().files[path].stored.read_bytes(), 9, mtime=0)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    return _text_response(request, release().index(server=True), "text/html")


@router.api_route(f"/{WORKER}", methods=["GET", "HEAD"])
async def service_worker(request: Request) -> Response:
    return _text_response(request, release().worker(), "text/javascript")


@router.api_route("/web/{path:path}", methods=["GET", "HEAD"])
async def web(request: Request, path: str) -> Response:
    """Serve a file by its plain name, or by its URL with the hash, which clients may cache forever. The hash of another release gives 404:
    a replica that has that release may answer."""
    current = release()
    file = current.files.get(path.partition("/")[2])
    has_hash = file is not None and current.address(file.path) == f"web/{path}"
    if not has_hash:
        file = current.files.get(path)
    if file is None:
        return Response("The page has no such file.", 404, media_type="text/plain")
    headers = HEADERS | {"Cache-Control": FOR_A_YEAR if has_hash else REVALIDATE, "Vary": "Accept-Encoding"}
    gzipped = headers | {"Content-Encoding": "gzip"}
    if file.is_stored_gzipped:
        if _accepts_gzip(request):
            return FileResponse(file.stored, media_type=file.media_type, headers=gzipped)
        return Response(gzip.decompress(file.stored.read_bytes()), media_type=file.media_type, headers=headers)
    if Path(file.path).suffix in COMPRESSIBLE and _accepts_gzip(request):
        return Response(_gzipped(file.path), media_type=file.media_type, headers=gzipped)
    return FileResponse(file.stored, media_type=file.media_type, headers=headers)


def _text_response(request: Request, text: str, media_type: str) -> Response:
    content = text.encode()
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = HEADERS | {"Cache-Control": REVALIDATE, "ETag": etag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if _accepts_gzip(request):
        content, headers["Content-Encoding"] = gzip.compress(content, 9, mtime=0), "gzip"
    return Response(content, media_type=media_type, headers=headers)


def _accepts_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")
