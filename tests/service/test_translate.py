"""POST /translate and /cycle, on a running service with bundles of the repository."""

import hashlib
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from models.bundle import list_bundles
from tests.conftest import PHOTO, PICTURES, ROOT, Service, assert_problem, decoded, encoded, running_service, wait_until


@pytest.mark.parametrize("direction", ["photo2monet", "monet2photo"])
def test_a_photograph_comes_back_translated_in_either_direction(service: Service, photo: bytes, direction: str) -> None:
    response = service.translate(photo, direction, name="holiday.jpg")
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["content-disposition"] == f'inline; filename="holiday.{direction}.jpg"'
    assert response.headers["vary"] == "Accept"
    assert [stage.split(";")[0] for stage in response.headers["server-timing"].split(", ")] == ["decode", "queue", "infer", "encode"]
    translation = decoded(response.content)
    assert translation.shape == (342, 512, 3)
    original = np.asarray(Image.open(PHOTO).resize((512, 342)))
    assert 5 < np.abs(translation.astype(int) - original).mean() < 100


def test_painting_keeps_what_is_in_the_photograph(service: Service, photo: bytes) -> None:
    painting = decoded(service.translate(photo, size=256).content).mean(axis=2)
    original = np.asarray(Image.open(PHOTO).resize(painting.shape[::-1]).convert("L"))
    assert np.corrcoef(painting.ravel(), original.ravel())[0, 1] > 0.5


@pytest.mark.parametrize(
    ("sent", "returned"),
    [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp"), ("AVIF", "avif"), ("GIF", "png"), ("BMP", "png"), ("TIFF", "png")],
)
def test_answer_has_the_uploads_own_format_where_it_can(service: Service, sent: str, returned: str) -> None:
    content = encoded(Image.open(PHOTO).resize((96, 64)), sent)
    response = service.translate(content)
    assert response.headers["content-type"] == f"image/{returned}"
    assert Image.open(io.BytesIO(response.content)).format == returned.upper()
    assert decoded(response.content).shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("accept", "returned"),
    [
        ("image/webp", "webp"),
        ("text/html, image/avif;q=0.5, image/webp;q=0.9, */*;q=0.1", "webp"),
        ("image/png;q=0, */*", "jpeg"),
        ("*/*", "jpeg"),
    ],
)
def test_accept_chooses_the_format(service: Service, photo: bytes, accept: str, returned: str) -> None:
    assert service.translate(photo, size=64, headers={"Accept": accept}).headers["content-type"] == f"image/{returned}"


def test_format_parameter_wins_over_accept(service: Service, photo: bytes) -> None:
    response = service.translate(photo, size=64, format="png", headers={"Accept": "image/webp"})
    assert response.headers["content-type"] == "image/png"


def test_quality_makes_smaller_files(service: Service, photo: bytes) -> None:
    assert len(service.translate(photo, size=256, quality=20).content) < len(service.translate(photo, size=256, quality=95).content) / 2


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (640, 427, 256, (256, 171)),
        (427, 640, 100, (67, 100)),
        (97, 61, 512, (97, 61)),
        (640, 427, "original", (640, 427)),
        (1, 1, 512, (1, 1)),
        (3, 300, 64, (1, 64)),
    ],
)
def test_size_is_the_longest_side_and_nothing_is_enlarged(
    service: Service, width: int, height: int, size: int | str, expected: tuple[int, int]
) -> None:
    content = encoded(Image.open(PHOTO).resize((width, height)), "PNG")
    assert decoded(service.translate(content, size=size).content).shape[1::-1] == expected


def test_output_input_returns_the_uploads_own_size(service: Service, photo: bytes) -> None:
    assert decoded(service.translate(photo, size=128, output="input").content).shape == (427, 640, 3)


def test_strength_leads_from_the_original_to_the_translation(service: Service) -> None:
    original = Image.open(PHOTO).resize((96, 64))
    none, half, full = (
        decoded(service.translate(encoded(original, "PNG"), strength=strength).content).astype(int) for strength in (0, 0.5, 1)
    )
    assert (none == np.asarray(original)).all()
    assert np.abs(half - (none + full) / 2).max() <= 1


def test_output_input_blends_with_the_upload_in_all_its_detail(service: Service) -> None:
    original = Image.open(PHOTO)
    asked = {"size": 64, "output": "input", "format": "png"}
    none, half, full = (
        decoded(service.translate(encoded(original, "PNG"), strength=strength, **asked).content).astype(int) for strength in (0, 0.5, 1)
    )
    assert (none == np.asarray(original)).all()
    assert np.abs(half - (none + full) / 2).max() <= 1


def test_keep_colors_takes_the_lightness_alone(service: Service) -> None:
    original = Image.open(PHOTO).resize((96, 64))
    plain = service.translate(encoded(original, "PNG")).content
    kept = service.translate(encoded(original, "PNG"), keep_colors=True).content
    ycbcr = [np.asarray(Image.fromarray(decoded(content)).convert("YCbCr")).astype(int) for content in (plain, kept)]
    assert np.abs(ycbcr[0][..., 0] - ycbcr[1][..., 0]).mean() < 5
    assert np.abs(np.asarray(original.convert("YCbCr")).astype(int)[..., 1:] - ycbcr[1][..., 1:]).mean() < 5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_of_the_upload_is_applied(service: Service, orientation: int, file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.open(PHOTO).resize((96, 64))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(turned, "PNG", exif=exif))))
    response = service.translate(encoded(turned, file_format, exif=exif, quality=95), strength=0, format="png", output="input")
    returned = decoded(response.content)
    assert returned.shape[1::-1] == upright.size
    assert np.abs(returned.astype(int) - np.asarray(upright)).mean() < 5


def test_metadata_of_the_upload_stays_home(service: Service) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    response = service.translate(encoded(Image.open(PHOTO), "JPEG", exif=exif, comment="secret"), size=64)
    returned = Image.open(io.BytesIO(response.content))
    assert not returned.getexif()
    assert "comment" not in returned.info


@pytest.mark.parametrize("mode", ["CMYK", "L", "1"])
def test_other_colour_modes_are_taken(service: Service, mode: str) -> None:
    content = encoded(Image.open(PHOTO).resize((96, 64)).convert(mode), "TIFF")
    assert decoded(service.translate(content).content).shape == (64, 96, 3)


def test_sixteen_bit_grey_is_scaled_not_clipped(service: Service) -> None:
    grey = Image.open(PHOTO).resize((96, 64)).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert service.translate(encoded(deep, "PNG"), strength=0).content == service.translate(encoded(grey, "PNG"), strength=0).content


def test_transparency_is_put_on_white(service: Service) -> None:
    clear = encoded(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "PNG")
    assert (decoded(service.translate(clear, strength=0).content) == 255).all()


def test_one_picture_can_be_the_body_itself(service: Service, photo: bytes) -> None:
    response = service.client.post("/translate?direction=photo2monet", content=photo, headers={"Content-Type": "image/jpeg"})
    assert response.headers["content-type"] == "image/jpeg"
    assert response.content == service.translate(photo).content


def test_several_pictures_come_back_in_order_and_a_broken_one_spoils_no_other(service: Service, photo: bytes) -> None:
    files = [
        ("a", ("same.jpg", photo)),
        ("b", ("broken.jpg", photo[:5000])),
        ("a", ("same.jpg", (PICTURES / "coffee.jpg").read_bytes())),
    ]
    response = service.client.post("/translate?direction=photo2monet&size=128", files=files)
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        told = json.loads(archive.read("translations.json"))
        assert [(entry["name"], entry["status"]) for entry in told] == [("same", 200), ("broken", 422), ("same", 200)]
        assert "damaged" in told[1]["problem"]["detail"]
        assert archive.namelist() == [told[0]["file"], told[2]["file"], "translations.json"]
        assert archive.read(told[0]["file"]) == service.translate(photo, size=128).content


def test_file_name_beyond_ascii_comes_back(service: Service, photo: bytes) -> None:
    disposition = service.translate(photo, size=64, name="../Frühling.jpg").headers["content-disposition"]
    assert disposition.endswith("filename*=UTF-8''Fr%C3%BChling.photo2monet.jpg")


def test_a_sane_request_id_comes_back_and_another_is_replaced(service: Service) -> None:
    assert service.client.get("/directions", headers={"X-Request-ID": "trace-42"}).headers["x-request-id"] == "trace-42"
    assert service.client.get("/directions", headers={"X-Request-ID": "a b<script>"}).headers["x-request-id"] not in ("a b<script>", "")


def test_eight_clients_at_once_each_get_their_own_picture(service: Service) -> None:
    crops = [encoded(Image.open(PHOTO).crop((40 * i, 0, 40 * i + 128, 128)), "PNG") for i in range(8)]
    alone = [service.translate(crop).content for crop in crops]
    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(lambda crop: service.translate(crop).content, crops * 3))
    assert together == alone * 3


def test_cycle_returns_the_picture_there_and_back_and_how_far_it_is(service: Service) -> None:
    content = encoded(Image.open(PHOTO).resize((256, 171)), "PNG")
    response = service.client.post("/cycle?direction=photo2monet", files={"image": ("photo.png", content)})
    difference = np.abs(decoded(response.content).astype(int) - decoded(content).astype(int)).mean()
    assert float(response.headers["x-cycle-error"]) == pytest.approx(difference, abs=0.01)


def test_directions_tell_all_that_the_contract_names(service: Service) -> None:
    directions = {entry["direction"]: entry for entry in service.client.get("/directions").json()}
    assert directions["photo2monet"]["inverse"] == "monet2photo"
    assert directions["monet2photo"]["source"] == "monet"
    named = {"source", "target", "version", "architecture", "trained_size", "precision", "provider", "evaluation"}
    assert all(named <= entry.keys() for entry in directions.values())


def test_directions_tell_their_files_which_can_be_had_and_kept(service: Service) -> None:
    files = {entry["direction"]: entry["files"] for entry in service.client.get("/directions").json()}["photo2monet"]
    assert {"fp32", "fp16"} <= {file["precision"] for file in files}
    for file in files:
        had = service.client.get(f"/{file['url']}")
        assert (len(had.content), hashlib.sha256(had.content).hexdigest()) == (file["size"], file["sha256"])
        assert "immutable" in had.headers["cache-control"]
        again = service.client.get(f"/{file['url']}", headers={"If-None-Match": had.headers["etag"]})
        assert again.status_code in (200, 304)
    assert_problem(service.client.get("/models/photo2monet/2/../model.json"), 404)
    assert_problem(service.client.get("/models/photo2monet/2/model.json"), 404)


def test_page_documentation_health_and_metrics_are_there(service: Service, photo: bytes) -> None:
    service.translate(photo, size=64)
    assert "<form" in service.client.get("/").text
    assert service.client.get("/docs").status_code == 200
    assert "/translate" in service.client.get("/openapi.json").json()["paths"]
    assert service.client.get("/health/live").json() == {"status": "live"}
    metrics = service.client.get("/metrics").text
    assert 'cyclegan_inference_seconds_count{direction="photo2monet",version="4"}' in metrics
    assert 'cyclegan_requests_total{path="/translate",status="200"}' in metrics


def test_a_client_that_hangs_up_while_it_waits_costs_no_inference() -> None:
    large = encoded(Image.open(PHOTO).resize((2400, 1602)), "JPEG")
    small = encoded(Image.open(PHOTO).resize((96, 64)), "JPEG")
    with (
        running_service(max_batch_pixels=2400 * 1604, intra_op_threads=1, deadline_seconds=200) as running,
        ThreadPoolExecutor(1) as other,
    ):  # it runs whole
        busy = other.submit(lambda: running.translate(large, size="original"))
        wait_until(lambda: "\ncyclegan_queue_pixels 0.0" not in running.client.get("/metrics").text)
        tensor = {"name": "pictures", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [7] * 192}
        for path, body in (
            ("/translate?direction=monet2photo", {"files": {"image": small}}),
            ("/v2/models/monet2photo/infer", {"json": {"inputs": [tensor]}}),
        ):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(running.url + path, **body, timeout=httpx.Timeout(5, read=0.02))
        assert busy.result().status_code == 200
        for path in ("/translate", "/v2/models/{name}/infer"):
            wait_until(lambda: f'path="{path}",status="499"' in running.client.get("/metrics").text)  # noqa: B023
        assert 'cyclegan_inference_seconds_count{direction="monet2photo"' not in running.client.get("/metrics").text


def test_the_repositorys_directions_are_all_served_each_with_its_own_generator(photo: bytes) -> None:
    with running_service(models=ROOT / "models") as running:
        directions = [entry["direction"] for entry in running.client.get("/directions").json()]
        answers = [running.translate(photo, direction, size=64) for direction in directions]
    assert directions == sorted(folder.name for folder in list_bundles(ROOT / "models"))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == len(directions)
