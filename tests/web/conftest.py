"""A real Chromium, and the service with photo2monet and monet2photo in fp32, which is what browsers compute in."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import ROOT, Service, pair, running_service

expect.set_options(timeout=120_000)  # a generator takes its time where others use the machine

SCREENSHOTS = ROOT / "runs" / "screenshots"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
SHIFTS = """
    window.shifts = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => { if (!entry.hadRecentInput) window.shifts += entry.value; }))
        .observe({ type: "layout-shift", buffered: true });
"""

Opened = Callable[..., AbstractContextManager[Page]]


@contextmanager
def running_chromium(*graphics: str) -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "Chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", *(graphics or ["--disable-gpu"])]
        yield playwright.chromium.launch(executable_path=program, args=flags)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Until a file's end: while it runs, its event loop is in the way of tests that have their own."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "pair"
    shutil.copytree(pair(), folder)
    for manifest in folder.glob("*/model.json"):
        told = json.loads(manifest.read_text())
        for version in told["versions"]:
            version["files"] = [file for file in version["files"] if file["precision"] != "int8"]
        manifest.write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="session")
def painting_service(models: Path) -> Iterator[Service]:
    with running_service(models=models, deadline_seconds=120) as running:
        yield running


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def plain_web_server(folder: Path) -> Iterator[str]:
    """The address of `folder`'s files; it may be a link that is changed meanwhile."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def opened(chromium: Browser) -> Opened:
    return lambda url, **options: open_page(chromium, url, **options)


@contextmanager
def open_page(
    chromium: Browser, url: str, place: str = "device", size: int = 64, before: Callable[[BrowserContext], Any] = bool, **options: Any
) -> Iterator[Page]:
    """The page, with the painter chosen: it must ask nobody else for anything, and have nothing to complain about. `place` is what
    a person would have chosen before; `before` is done with the context first. `size` is of strokes bolder than the page offers, so
    that painting is quick, and motion is off, unless a test is about them."""
    defaults = {"locale": "en-GB", "reduced_motion": "reduce", **({} if "viewport" in options else PHONE)}
    with chromium.new_context(**{**defaults, **options}) as context:
        context.add_init_script(f"localStorage.getItem('place') ?? localStorage.setItem('place', '{place}')")
        context.add_init_script(f"localStorage.getItem('size') ?? localStorage.setItem('size', {size})")
        context.add_init_script(SHIFTS)
        before(context)
        page, asked, complaints = context.new_page(), [], []
        page.set_default_timeout(120_000)
        context.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(url)
        ready(page)
        expect(page.locator("#stage .after")).to_be_visible()  # the painter's sample
        yield page
        origin = page.evaluate("location.origin")
        assert all(address.startswith((origin, f"blob:{origin}")) for address in asked)
        assert [text for text in complaints if "Failed to load resource" not in text] == []
        assert page.evaluate("window.shifts") < 0.1  # what web.dev calls good


def ready(page: Page) -> None:
    page.locator("html[data-ready]").wait_for()


def choose(page: Page, *files: Path | dict) -> None:
    page.get_by_label("Choose photos").set_input_files(files)


def example(page: Page, name: str = "A temple above a lake") -> None:
    page.get_by_role("button", name=name).click()


def painted(page: Page) -> None:
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_enabled(timeout=240_000)


def kept(page: Page, name: str) -> None:
    """A screenshot, of a page in which axe-core finds nothing."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
