"""What the page keeps on the device, in the real Chromium: damaged, without room, and of a service that is updated."""

import shutil
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import expect

from tests.conftest import ROOT, Service, free_port, running_service
from tests.web.conftest import Opened, example, painted, ready

DAMAGE = """async () => {
    const cache = await caches.open("painting");
    const addresses = (await cache.keys()).map(({ url }) => url).filter((url) => url.endsWith(".onnx") || url.includes("/vendor/"));
    for (const address of addresses) {
        const content = new Uint8Array(await (await cache.match(address)).arrayBuffer());
        await cache.put(address, new Response(address.endsWith(".onnx") ? content.fill(0, 1000, 2000) : content.slice(1000)));
    }
    return addresses.length;
}"""


def test_a_damaged_painter_is_fetched_again(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url) as page:
        example(page, "A cat")
        painted(page)
        assert page.evaluate(DAMAGE) == 2
        fetched: list[str] = []
        page.context.on("request", lambda request: fetched.append(request.url.rpartition("/")[2]))
        page.reload()
        ready(page)
        example(page, "A cat")
        expect(page.locator("#tally")).to_have_text("2 of 2 painted")
        assert {"model.onnx", "ort-wasm-simd-threaded.wasm"} <= set(fetched)


def test_without_room_it_paints_and_says_that_nothing_is_kept(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url, place="server") as page:
        session = page.context.new_cdp_session(page)
        session.send("Storage.overrideQuotaForOrigin", {"origin": painting_service.url, "quotaSize": 1000})
        example(page, "A cat")
        painted(page)
        expect(page.locator("#painting-state")).to_contain_text("The browser has no more room: paintings will not survive a reload.")


def test_an_update_of_the_service_is_seen_and_spoils_no_page_that_is_open(opened: Opened, models: Path, tmp_path: Path) -> None:
    newer, port = tmp_path / "newer", free_port()
    for package in ("service", "pictures", "models"):
        shutil.copytree(ROOT / package, newer / package, ignore=shutil.ignore_patterns("__pycache__", "*2*"))
    for path, old, new in (("index.html", "Your photo, as a master", "Your picture, as a master"), ("picture.js", '"preview"', '"small"'),
                           ("worker/pictures.js", "async preview(", "async small(")):  # fmt: skip
        file = newer / "service" / "web" / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    with ExitStack() as stack:
        running = stack.enter_context(ExitStack())
        service = running.enter_context(running_service(models=models, port=port))
        page = stack.enter_context(opened(service.url, place="server"))
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        running.close()
        stack.enter_context(running_service(models=models, port=port, project=newer))
        page.evaluate("navigator.serviceWorker.ready.then((registration) => registration.update())")
        page.wait_for_function("navigator.serviceWorker.ready.then(({ waiting }) => Boolean(waiting))")
        example(page, "A cat")  # which begins a worker of the release that the page has
        painted(page)
        page.get_by_role("button", name="Remove this photo").click()
        page.reload()
        ready(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("Your picture, as a master would paint it")
        example(page, "A cat")
        painted(page)
