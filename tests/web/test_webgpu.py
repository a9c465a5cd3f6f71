"""Painting by a graphics processor, in the real Chromium."""

import pytest
from PIL import Image

from tests.conftest import PICTURES, Service, encoded
from tests.web.conftest import open_page, running_chromium
from tests.web.test_device import difference


@pytest.mark.slow
def test_webgpu_paints_what_the_service_paints(painting_service: Service) -> None:
    """By SwiftShader, Chromium's graphics processor in software, which takes its time."""
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    with running_chromium(*flags) as browser, open_page(browser, painting_service.url, place="server") as page:
        asked: list[str] = []
        page.context.on("request", lambda request: asked.append(request.url))
        picture = encoded(Image.open(PICTURES / "chelsea.jpg"), "PNG")
        assert difference(page, painting_service, picture, "png", 64, "webgpu") < 1
        assert any(address.endswith("jspi.wasm") for address in asked)
