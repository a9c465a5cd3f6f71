"""What the page keeps on the device, in the real Chromium: damaged, without room, and of a service that is updated."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from service.routes import page as page_files
from service.site import write_site
from tests.conftest import Service, wait_until
from tests.web.conftest import Opened, example, painted, plain_web_server, ready

KEPT = """async () => {
    const cache = await caches.open("painting");
    const addresses = (await cache.keys()).map(({ url }) => url).filter((url) => url.endsWith(".onnx") || url.includes("/vendor/"));
    const digest = async (url) => new Uint8Array(await crypto.subtle.digest("SHA-256", await (await cache.match(url)).arrayBuffer()));
    return Promise.all(addresses.sort().map(async (url) => [url, (await digest(url)).join()]));
}"""
DAMAGE = """async (addresses) => {
    const cache = await caches.open("painting");
    for (const address of addresses) {
        const content = new Uint8Array(await (await cache.match(address)).arrayBuffer());
        await cache.put(address, new Response(address.endsWith(".onnx") ? content.fill(0, 1000, 2000) : content.slice(1000)));
    }
}"""


@pytest.mark.slow
def test_a_damaged_painter_is_fetched_again(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url) as page:
        example(page, "A cat")
        painted(page)
        kept = page.evaluate(KEPT)
        page.evaluate(DAMAGE, [address for address, _ in kept])
        damaged = page.evaluate(KEPT)
        assert [before != after for before, after in zip(kept, damaged, strict=True)] == [True, True]  # the runtime and the painter
        page.get_by_role("button", name="Remove this photo").click()
        page.reload()
        ready(page)
        example(page, "A cat")
        painted(page)
        assert page.evaluate(KEPT) == kept


def test_without_room_it_paints_and_says_that_nothing_is_kept(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url, place="server") as page:
        session = page.context.new_cdp_session(page)
        session.send("Storage.overrideQuotaForOrigin", {"origin": painting_service.url, "quotaSize": 1000})
        example(page, "A cat")
        painted(page)
        expect(page.locator("#painting-state")).to_contain_text("The browser has no more room: paintings will not survive a reload.")


def test_an_update_is_seen_and_spoils_no_page_that_is_open(
    opened: Opened, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a site whose files are replaced, so that those of the release before are gone."""
    write_site(models, tmp_path / "older")
    for file in (tmp_path / "older").rglob("*"):
        os.utime(file, (0, 0))  # web servers tell the versions of a file apart by the second
    newer = tmp_path / "web"
    shutil.copytree(page_files.WEB, newer)
    changes = {"index.html": ("Your photo, as a master", "Your picture, as a master"), "picture.js": ('"preview"', '"small"')}
    for path, (old, new) in (changes | {"worker/pictures.js": ("async preview(", "async small(")}).items():
        assert old in (newer / path).read_text()
        (newer / path).write_text((newer / path).read_text().replace(old, new))
    with monkeypatch.context() as patched:
        patched.setattr(page_files, "WEB", newer)
        page_files.release.cache_clear()
        write_site(models, tmp_path / "newer")
    page_files.release.cache_clear()
    (tmp_path / "site").symlink_to(tmp_path / "older")
    with plain_web_server(tmp_path / "site") as address, opened(address) as page:
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        (tmp_path / "site").unlink()
        (tmp_path / "site").symlink_to(tmp_path / "newer")
        page.evaluate("navigator.serviceWorker.ready.then((registration) => registration.update())")
        wait_until(lambda: page.evaluate("navigator.serviceWorker.ready.then(({ waiting }) => Boolean(waiting))"))
        example(page, "A cat")  # which begins a worker of the release that the page has
        painted(page)
        page.get_by_role("button", name="Remove this photo").click()
        page.reload()
        ready(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("Your picture, as a master would paint it")
        example(page, "A cat")
        painted(page)
