"""Painting on the device itself, in the real Chromium."""

import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.conftest import PHOTO, PICTURES, Service, decoded, encoded, wait_until
from tests.web.conftest import DESKTOP, Opened, choose, example, kept, painted, ready

MAKE = """async ([content, type, size, device]) => {
    const module = document.querySelector("script[type=module]").src;
    const { Place } = await import(new URL("place.js", module).href);
    const { listPainters } = await import(new URL("painters.js", module).href);
    const painter = (await listPainters({})).find(({ direction }) => direction === "photo2monet");
    const file = new File([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))], "photo", { type });
    const place = new Place(() => {});
    place.trial = device && { device };
    const made = await place.paintHere(file, painter, size, () => {});
    return new Promise((resolve) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result.split(",")[1]);
        reader.readAsDataURL(made.file);
    });
}"""


def difference(page: Page, service: Service, content: bytes, kind: str, size: int | None, device: str | None = None) -> float:
    """The mean absolute difference between what the page and what the service make of a picture, of 255."""
    ours = decoded(b64decode(page.evaluate(MAKE, [b64encode(content).decode(), f"image/{kind}", size, device])))
    response = service.translate(content, size=size or "original", format="png")
    assert response.status_code == 200, response.text
    theirs = decoded(response.content)
    assert ours.shape == theirs.shape
    return float(np.abs(ours.astype(int) - theirs).mean())


def test_the_page_paints_what_the_service_paints(opened: Opened, painting_service: Service) -> None:
    large = Image.open(PHOTO).resize((1800, 1202), Image.Resampling.LANCZOS)
    turned = Image.open(PICTURES / "flower.jpg")
    turned.getexif()[274] = 6
    with opened(painting_service.url) as page:
        assert page.evaluate("crossOriginIsolated")
        for name in ("chelsea", "coffee"):
            picture = encoded(Image.open(PICTURES / f"{name}.jpg"), "PNG")
            assert difference(page, painting_service, picture, "png", 256) < 1
        assert difference(page, painting_service, PHOTO.read_bytes(), "jpeg", 256) < 2
        assert difference(page, painting_service, encoded(large, "PNG"), "png", 200) < 1  # shrunk by much
        assert difference(page, painting_service, encoded(large, "JPEG", quality=95), "jpeg", 200) < 2  # which the service decodes smaller
        assert difference(page, painting_service, encoded(turned, "JPEG", exif=turned.getexif()), "jpeg", 203) < 2


@pytest.mark.slow
def test_tiles_are_cut_and_blended_as_the_service_does(opened: Opened, painting_service: Service) -> None:
    large = encoded(Image.open(PHOTO).resize((1302, 870), Image.Resampling.LANCZOS), "PNG")
    with opened(painting_service.url) as page:
        assert difference(page, painting_service, large, "png", None) < 1


def test_a_photo_is_painted_on_the_device_and_nothing_is_sent(opened: Opened, painting_service: Service) -> None:
    sent: list[str] = []
    with opened(painting_service.url, size=256, reduced_motion="no-preference", color_scheme="light") as page:
        page.context.on("request", lambda request: sent.append(request.url) if request.method != "GET" else None)
        kept(page, "phone-light-start")
        example(page)
        expect(page.locator(".working")).to_be_visible()
        page.screenshot(path="runs/screenshots/phone-light-painting.png")
        painted(page)
        expect(page.locator("#painting-state")).to_contain_text("Painted on this device in")
        expect(page.locator("#place")).to_have_text("On this device")
        wait_until(lambda: page.evaluate("document.getAnimations().length === 0"))  # the slider has passed over it
        kept(page, "phone-light-painted")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save", exact=True).click()
        assert download.value.suggested_filename == "temple.photo2monet.jpg"
        assert Image.open(download.value.path()).size == Image.open(PHOTO).size
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert sent == []


def test_after_one_visit_it_paints_without_a_connection(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url) as page:
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.get_by_role("button", name="On this device").click()
        expect(page.locator("#trial")).to_contain_text("A photo takes about")  # so all that it needs has come
        expect(page.locator("#kept")).to_contain_text("Claude Monet")
        expect(page.locator("#kept")).to_contain_text("Brushes (painting software)14 MB")
        kept(page, "phone-where")
        page.context.set_offline(True)
        page.reload()
        ready(page)
        example(page, "A cat")
        painted(page)
        page.get_by_role("button", name="On this device").click()
        page.get_by_role("button", name="Remove: Claude Monet").click()
        expect(page.locator("#kept")).not_to_contain_text("Claude Monet")
        page.context.set_offline(False)


def breaking(statement: str, times: int = 10**6) -> Any:
    """Makes `statement` run in the painting worker instead of the first runs of the generator."""

    def fulfil(route: Route) -> None:
        text = route.fetch().text()
        broken = f"if ((await count()) <= {times}) {{ {statement} }}\n"
        counting = """
            const count = async () => {
                const cache = await caches.open("count");
                const runs = Number((await cache.match("/count"))?.headers.get("x-count") ?? 0) + 1;
                await cache.put("/count", new Response("", { headers: { "x-count": runs } }));
                return runs;
            };
        """
        where = "const { width, height } = picture;\n    const inputs"
        assert where in text
        route.fulfill(body=counting + text.replace(where, broken + where), content_type="text/javascript")

    def before(context: BrowserContext) -> None:
        context.route(re.compile(r"worker/runtime\.js"), fulfil)

    return before


def test_painting_is_cancelled_and_tried_again(opened: Opened, painting_service: Service) -> None:
    without_end = "if (picture.width > 300 && !(await caches.has('cancelled'))) while (true);"
    with opened(painting_service.url, before=breaking(without_end), size=320, service_workers="block") as page:
        example(page)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#painting-state")).to_have_text("Cancelled")
        kept(page, "phone-cancelled")
        page.evaluate("caches.open('cancelled')")
        page.get_by_role("button", name="Try again").click()
        painted(page)


@pytest.mark.slow
def test_a_worker_that_crashes_is_replaced(opened: Opened, painting_service: Service) -> None:
    crash = "setTimeout(() => { throw new Error('crash'); }); await new Promise(() => {});"
    with opened(painting_service.url, before=breaking(crash, 1), service_workers="block") as page:
        example(page)
        painted(page)
        expect(page.locator("#problem")).to_be_empty()


@pytest.mark.slow
def test_too_little_memory_paints_bolder_strokes_and_says_so(opened: Opened, painting_service: Service) -> None:
    memory = "if (picture.width > 300) throw new RangeError('WebAssembly.Memory: could not allocate memory');"
    with opened(painting_service.url, before=breaking(memory), size=512, service_workers="block") as page:
        example(page)
        painted(page)
        expect(page.locator("#painting-state")).to_contain_text("This device ran out of memory at these strokes")
        expect(page.get_by_label("Bold", exact=True)).to_be_checked()
        kept(page, "phone-memory")


@pytest.mark.slow
def test_the_live_camera_is_painted_and_its_shutter_takes_a_picture(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url, permissions=["camera"], **DESKTOP) as page:
        page.get_by_role("button", name="Live camera").click()
        expect(page.locator("#rate")).to_contain_text("pictures a second")
        assert page.evaluate("document.querySelector('#camera canvas').width") == 256
        kept(page, "desktop-camera")
        page.get_by_role("button", name="Take this picture").click()
        painted(page)
        expect(page.locator("#pictures li")).to_have_count(1)


@pytest.mark.slow
def test_fifty_photographs_of_12_megapixels_are_painted(opened: Opened, painting_service: Service, tmp_path: Path) -> None:
    photo = Image.open(PHOTO).resize((4000, 3000))
    files = []
    for number in range(50):
        files.append(tmp_path / f"photo-{number}.jpg")
        photo.save(files[-1], quality=85)
    with opened(painting_service.url, **DESKTOP) as page:
        page.set_default_timeout(600_000)
        choose(page, *files)
        expect(page.locator("#tally")).to_contain_text("of 50 painted", timeout=600_000)
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#tally")).to_have_text("50 of 50 painted", timeout=900_000)
        kept(page, "desktop-fifty")
