"""The page in the real Chromium, with the service painting. Screenshots of what was tested are kept in runs/screenshots."""

import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, expect

from tests.conftest import PHOTO, PICTURES, Service, decoded, encoded, running_service, wait_until
from tests.deployment.conftest import nginx_below
from tests.web.conftest import DESKTOP, PHONE, Opened, choose, example, kept, painted, ready


def test_pictures_are_painted_by_the_server_if_a_person_says_so(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url, place="server", size=256, color_scheme="dark") as page:
        kept(page, "phone-dark-start")
        example(page)
        painted(page)
        expect(page.locator("#painting-state")).to_have_text("Painted on the server")
        kept(page, "phone-dark-painted")
        slider = page.get_by_label("How much of the original to show")
        slider.focus()
        slider.press("ArrowRight")
        expect(slider).to_have_value("1")


def test_strength_and_colours_act_at_once_and_are_saved(opened: Opened, painting_service: Service, tmp_path: Path) -> None:
    photo = tmp_path / "china.png"
    photo.write_bytes(encoded(Image.open(PHOTO), "PNG"))
    with opened(painting_service.url, place="server", size=256, **DESKTOP) as page:
        choose(page, photo)
        painted(page)
        asked: list[str] = []
        page.on("request", lambda request: None if request.url.startswith("blob:") else asked.append(request.url))
        page.get_by_role("slider", name="Strength").fill("0.5")
        page.get_by_label("Keep the photo’s colours").check()
        page.get_by_label("Save at the photo’s own size").uncheck()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save", exact=True).click()
        ours = decoded(Path(download.value.path()).read_bytes()).astype(int)
        assert asked == []
        expected = painting_service.translate(photo.read_bytes(), size=256, strength=0.5, keep_colors=True).content
        assert abs(ours - decoded(expected)).mean() < 1
        kept(page, "desktop-light-painted")


def test_several_pictures_come_as_one_zip_and_a_broken_one_spoils_none(opened: Opened, painting_service: Service, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    with opened(painting_service.url, place="server", color_scheme="dark", **DESKTOP) as page:
        choose(page, PHOTO, broken, PICTURES / "chelsea.jpg")
        expect(page.locator("#tally")).to_have_text("2 of 3 painted", timeout=90_000)
        page.get_by_role("button", name="broken.jpg, ").click()
        expect(page.get_by_role("alert")).to_contain_text("picture")
        kept(page, "desktop-dark-several")
        page.get_by_role("button", name="Remove this photo").click()
        expect(page.locator("#tally")).to_have_text("2 of 2 painted")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save all as ZIP").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert archive.namelist() == ["01-china.photo2monet.jpg", "02-chelsea.photo2monet.jpg"]
            assert archive.testzip() is None
            assert decoded(archive.read("01-china.photo2monet.jpg")).shape == (427, 640, 3)


def test_paintings_survive_a_reload_and_can_be_removed(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url, place="server") as page:
        example(page, "A cat")
        painted(page)
        asked: list[str] = []
        page.on("dialog", lambda dialog: asked.append(dialog.type))
        page.reload()
        ready(page)
        assert asked == ["beforeunload"]  # since it is not saved yet
        painted(page)
        page.locator("#place").click()
        page.get_by_role("button", name="Remove all photos").click()
        page.get_by_role("button", name="Close").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.reload()
        ready(page)
        expect(page.get_by_role("heading", name="Your photo, as a master would paint it")).to_be_visible()


def test_nothing_moves_when_photos_are_chosen_and_when_they_come_back(opened: Opened, painting_service: Service, tmp_path: Path) -> None:
    portrait = tmp_path / "portrait.jpg"
    portrait.write_bytes(encoded(Image.open(PHOTO).rotate(90, expand=True), "JPEG"))
    for options in (PHONE, DESKTOP):
        with opened(painting_service.url, place="server", **options) as page:
            painters = page.locator("#painters").bounding_box()
            choose(page, portrait)
            painted(page)
            page.evaluate("scrollTo(0, 0)")
            assert page.locator("#painters").bounding_box() == painters
            assert page.evaluate("window.shifts") < 0.05  # the picture itself, which has another shape
            choose(page, PHOTO)
            expect(page.locator("#tally")).to_have_text("2 of 2 painted")
            page.reload()
            ready(page)
            painted(page)
            expect(page.locator("#pictures li")).to_have_count(2)
            assert page.evaluate("window.shifts") < 0.01


def test_what_people_post_is_made_on_the_page(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url, place="server") as page:
        example(page, "A cat")
        painted(page)
        with page.expect_download() as pair:
            page.get_by_role("button", name="Before and after").click()
        assert Image.open(pair.value.path()).height > Image.open(pair.value.path()).width  # one above the other, since each is wide
        with page.expect_download() as clip:
            page.get_by_role("button", name="Video").click()
        assert clip.value.suggested_filename.startswith("cat.photo2monet.video.")
        assert Path(clip.value.path()).stat().st_size > 10_000


def test_a_photo_that_the_browser_cannot_read_is_painted_by_the_server(opened: Opened, painting_service: Service, tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    photo = tmp_path / "IMG_0001.HEIC"
    photo.write_bytes(encoded(Image.open(PHOTO), "HEIF"))
    with opened(painting_service.url, place="auto") as page:
        choose(page, photo)
        painted(page)
        expect(page.locator("#painting-state")).to_contain_text("This browser cannot read the photo, so the server painted it.")
        kept(page, "phone-heic")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save", exact=True).click()
        assert download.value.suggested_filename == "IMG_0001.photo2monet.jpg"
        assert decoded(Path(download.value.path()).read_bytes()).shape == (43, 64, 3)


def test_paintings_are_shared_through_the_systems_menu_and_saved_where_it_refuses(opened: Opened, painting_service: Service) -> None:
    """Headless Chromium has no such menu: what it would be handed is noted."""
    menu = """
        navigator.canShare = () => true;
        navigator.share = async ({ files: [{ name, type }] }) => {
            if (window.refuses) throw new DOMException("", window.refuses);
            window.shared = [name, type];
        };
    """
    with opened(painting_service.url, place="server", before=lambda context: context.add_init_script(menu)) as page:
        example(page, "A cat")
        painted(page)
        page.get_by_role("button", name="Share").click()
        wait_until(lambda: page.evaluate("window.shared"))
        assert page.evaluate("window.shared") == ["cat.photo2monet.jpg", "image/jpeg"]
        kept(page, "phone-share")
        page.evaluate("window.refuses = 'NotAllowedError'")
        with page.expect_download() as download:
            page.get_by_role("button", name="Before and after").click()
        assert download.value.suggested_filename == "cat.photo2monet.before-and-after.jpg"


def test_everything_is_reached_by_the_keyboard(opened: Opened, painting_service: Service) -> None:
    def focused() -> str:
        name = page.evaluate("""() => {
            const { activeElement: element } = document;
            return (element.ariaLabel || element.labels?.[0]?.innerText || element.querySelector("img")?.alt || element.innerText);
        }""")
        return " ".join(name.split())

    def passed_until(last: str, key: str) -> list[str]:
        names: list[str] = []
        while last not in names:
            page.keyboard.press(key)
            names.append(focused())
            assert len(names) < 20
        return names

    with opened(painting_service.url, place="server", **DESKTOP) as page:
        reached = passed_until("A cat", "Tab")
        for name in ("On the server", "How much of the original to show", "Claude Monet 1840–1926", "Choose photos", "Live camera"):
            assert name in reached
        page.keyboard.press("Enter")
        painted(page)
        passed = passed_until("Save", "Shift+Tab")
        for name in ("Remove this photo", "Save at the photo’s own size", "Keep the photo’s colours", "Strength 100 %", "Before and after"):
            assert name in passed
        with page.expect_download():
            page.keyboard.press("Enter")


@pytest.mark.parametrize(("seconds", "where"), [(0.5, "On this device"), (9, "On the server")])
def test_the_device_paints_where_a_trial_shows_that_it_is_quick(
    opened: Opened, painting_service: Service, seconds: float, where: str
) -> None:
    worker = """addEventListener("message", ({ data: { id, name } }) =>
        postMessage({ id, result: name === "trial" ? { seconds: %s, device: "wasm", threads: 1 } : undefined }));"""

    headers = {"Content-Type": "text/javascript", "Cross-Origin-Embedder-Policy": "require-corp"}

    def before(context: BrowserContext) -> None:
        context.route("**/worker/painting.js", lambda route: route.fulfill(body=worker % seconds, headers=headers))

    with opened(painting_service.url, place="auto", before=before, service_workers="block") as page:
        page.locator("#place").click()
        page.get_by_label("Automatic").wait_for()
        expect(page.locator("#place")).to_have_text(where)


@pytest.fixture(scope="module")
def restricted(models: Path) -> Iterator[Service]:
    """A service below a path, whose owner keeps the weights, and with little room."""
    with running_service(models=models, on_device="off", root_path="/paint", max_uploads_bytes=300_000) as running:
        yield running


def test_an_owner_can_keep_the_weights_and_publish_the_page_below_a_path(opened: Opened, restricted: Service) -> None:
    with (
        nginx_below("/paint", restricted.address) as nginx,
        opened(f"http://127.0.0.1:{nginx.port}/paint/", place="auto") as page,
    ):
        expect(page.locator("#place")).to_have_text("On the server")
        example(page, "A cat")
        painted(page)
        expect(page.locator("#painting-state")).to_have_text("Painted on the server")
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        assert page.get_by_role("link", name="For programs: the API").evaluate("link => new URL(link.href).pathname") == "/paint/docs"


def test_an_overloaded_service_is_told_in_plain_words_and_tried_again(opened: Opened, restricted: Service) -> None:
    with opened(restricted.url, place="server") as page:
        choose(page, PHOTO)
        painted(page)
        address = restricted.address.split(":")
        with socket.create_connection((address[0], int(address[1]))) as half:
            half.sendall(
                b"POST /translate?direction=photo2monet HTTP/1.1\r\nHost: service\r\nContent-Length: 290000\r\n\r\n" + bytes(250_000)
            )
            wait_until(lambda: "cyclegan_upload_bytes 250000.0" in restricted.client.get("/metrics").text)
            page.locator("#strokes").get_by_text("Bold", exact=True).click()
            expect(page.get_by_role("alert")).to_contain_text(
                "No room for uploads. The service has no room for more uploads: send the request again in"
            )
            kept(page, "phone-overloaded")
        wait_until(lambda: "cyclegan_upload_bytes 0.0" in restricted.client.get("/metrics").text)
        page.get_by_role("button", name="Try again").click()
        painted(page)


def test_pictures_can_be_dropped_and_pasted(opened: Opened, painting_service: Service) -> None:
    make = """([content, name]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(content)], name, { type: "image/png" }));
        return transfer;
    }"""
    content = list(encoded(Image.open(PHOTO).resize((96, 64)), "PNG"))
    with opened(painting_service.url, place="server", **DESKTOP) as page:
        dropped, pasted = (page.evaluate_handle(make, [content, f"{name}.png"]) for name in ("dropped", "עברית"))
        page.dispatch_event("body", "dragover", {"dataTransfer": dropped})
        expect(page.get_by_text("Drop your photos")).to_be_visible()
        page.dispatch_event("body", "drop", {"dataTransfer": dropped})
        painted(page)
        page.evaluate("(transfer) => dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer }))", pasted)
        expect(page.locator("#tally")).to_have_text("2 of 2 painted")
        names = [button.get_attribute("aria-label") for button in page.locator("#pictures button").all()]
        assert names == ["dropped.png, painted", "עברית.png, painted"]


def test_a_service_that_asks_for_a_key_is_given_one(chromium: Browser, models: Path) -> None:
    with running_service(models=models, api_keys="secret") as locked, chromium.new_context(**PHONE) as context:
        context.add_init_script("localStorage.setItem('place', 'device'); localStorage.setItem('size', 64)")
        page = context.new_page()
        page.goto(locked.url)
        expect(page.get_by_role("alert")).to_have_text("This service asks for a key.")
        kept(page, "phone-key")
        page.get_by_label("Key of this service").fill("secret")
        page.get_by_label("Key of this service").press("Tab")
        ready(page)
        example(page, "A cat")
        painted(page)


def test_the_page_fits_any_screen(opened: Opened, painting_service: Service) -> None:
    with opened(painting_service.url, place="server") as page:
        for width, height in ((320, 568), (820, 1180), (3840, 2160)):
            page.set_viewport_size({"width": width, "height": height})
            kept(page, f"width-{width}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("locale", "title"), [("de-AT", "Dein Foto, wie ein Meister es malen würde"), ("fr", "Votre photo"), ("ru-RU", "Ваше фото")]
)
def test_the_page_speaks_the_browsers_language(opened: Opened, painting_service: Service, locale: str, title: str) -> None:
    with opened(painting_service.url, place="server", locale=locale) as page:
        expect(page.get_by_role("heading", level=1)).to_contain_text(title)
        assert page.evaluate("document.documentElement.lang") == locale[:2]
        kept(page, f"phone-{locale[:2]}")
        missing = page.evaluate(
            """async (language) => {
            const load = (name) => import(new URL(`texts/${name}.js`, document.querySelector("script[type=module]").src).href);
            const marked = [...document.querySelectorAll("[data-text], [data-label]")].map(({ dataset }) => dataset.text ?? dataset.label);
            const [english, texts] = await Promise.all(["en", language].map(async (name) => (await load(name)).default));
            return [...Object.keys(english), ...marked].filter((key) => !texts[key]);
        }""",
            locale[:2],
        )
        assert missing == []
