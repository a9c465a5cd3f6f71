"""`make screenshots`: the page as README shows it, on a phone and on a desktop, into docs/."""

from tests.conftest import ROOT, running_service
from tests.web.conftest import DESKTOP, PHONE, example, open_page, painted, running_chromium

SHOWN = {
    "desktop": DESKTOP,
    "phone": PHONE | {"device_scale_factor": 2, "color_scheme": "dark"},
}


def main() -> None:
    with running_service(models=ROOT / "models", deadline_seconds=300) as service, running_chromium() as browser:
        for name, options in SHOWN.items():
            with open_page(browser, service.url, place="server", size=512, **options) as page:
                example(page)
                painted(page)
                page.get_by_label("How much of the original to show").fill("45")
                page.evaluate("scrollTo(0, 0)")
                page.screenshot(path=ROOT / "docs" / f"page-{name}.jpg", type="jpeg", quality=80)


if __name__ == "__main__":
    main()
