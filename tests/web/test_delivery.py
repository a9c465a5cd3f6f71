"""What the service delivers of the page, and how: policies, compression, caching, weight, and the API's page beside it."""

import gzip

import httpx
from playwright.sync_api import Browser

from tests.conftest import PHOTO, Service
from tests.web.conftest import PHONE, ready


def test_the_page_is_strict_about_what_it_loads_and_lets_no_one_in(painting_service: Service) -> None:
    for path in ("/", "/service-worker.js", "/web/app.js"):
        headers = painting_service.client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self';")
        assert "'unsafe" not in policy
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-embedder-policy"] == "require-corp"


def test_files_come_compressed_and_are_kept_for_good_by_their_hash(painting_service: Service) -> None:
    client = painting_service.client
    html = client.get("/").text
    vendor = html.split('data-vendor="')[1].split('"')[0]
    wasm = f"/{vendor}ort-wasm-simd-threaded.wasm"
    with httpx.stream("GET", painting_service.url + wasm, headers={"Accept-Encoding": "gzip"}) as response:
        packed = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["content-type"] == "application/wasm"
    assert "immutable" in response.headers["cache-control"]
    plain = client.get(wasm, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == gzip.decompress(packed)
    assert len(packed) < 4_000_000
    first = client.get("/")
    assert client.get("/", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert client.get("/web/none.js").status_code == 404
    other = html.split(' src="')[1].split('"')[0].replace("/", "/0", 1)
    assert client.get(f"/{other}").status_code == 404  # of another release: what is here is not that


def test_the_page_is_small_and_quick(chromium: Browser, painting_service: Service) -> None:
    with chromium.new_context(**PHONE, locale="en-GB", service_workers="block") as context:
        context.add_init_script("localStorage.setItem('place', 'server')")
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        sizes: dict[str, float] = {}
        kinds: dict[str, str] = {}
        session.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["response"]["url"]}))
        session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
        page.goto(painting_service.url)
        ready(page)
        code = sum(sizes[request] for request, url in kinds.items() if request in sizes and not url.endswith((".jpg", ".webp")))
        assert code < 150_000


def test_the_api_can_be_tried_out_with_nobody_else_asked(chromium: Browser, painting_service: Service) -> None:
    with chromium.new_context() as context:
        page, asked = context.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{painting_service.url}/docs")
        page.locator("#operations-pictures-translate .opblock-summary-control").click()
        page.get_by_role("button", name="Try it out").click()
        page.locator("input[type=file]").set_input_files(PHOTO)
        with page.expect_response("**/translate?*") as response:
            page.get_by_role("button", name="Execute").click()
        assert (response.value.status, response.value.headers["content-type"]) == (200, "image/jpeg")
        assert all(address.startswith((painting_service.url, f"blob:{painting_service.url}", "data:")) for address in asked)
