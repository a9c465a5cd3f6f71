"""The Open Inference Protocol, spoken by Triton's own client."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from models.bundle import load_bundle
from tests.conftest import PHOTO, ROOT, Service, decoded, encoded, running_service

PICTURE = np.asarray(Image.open(PHOTO).resize((96, 64)))
INFER = "/v2/models/photo2monet/infer"
VERSION = {direction: str(load_bundle(ROOT / "models" / direction).version.version) for direction in ("photo2monet", "monet2photo")}


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(service.address, concurrency=4) as client:
        yield client


def pictures(batch: np.ndarray, binary: bool = True) -> list[triton.InferInput]:
    tensor = triton.InferInput("pictures", list(batch.shape), "UINT8")
    return [tensor.set_data_from_numpy(batch, binary_data=binary)]


def document(**changes: object) -> dict:
    tensor = {"name": "pictures", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [7] * 192}
    return {"inputs": [tensor | changes]}


def test_a_client_finds_out_what_there_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("photo2monet", VERSION["photo2monet"])
    assert metadata["inputs"] == [{"name": "pictures", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert metadata["outputs"] == [{"name": "translations", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert client.is_model_ready("photo2monet", metadata["versions"][0])
    assert not client.is_model_ready("photo2picasso")


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("returned", [True, False])
def test_tensors_in_binary_and_in_json_are_translated_as_pictures_are(
    client: triton.InferenceServerClient, service: Service, sent: bool, returned: bool
) -> None:
    batch = np.stack([PICTURE, PICTURE[::-1]])
    outputs = [triton.InferRequestedOutput("translations", binary_data=returned)]
    result = client.infer("photo2monet", pictures(batch, sent), outputs=outputs, request_id="mine")
    assert result.get_response()["id"] == "mine"
    translations = result.as_numpy("translations")
    assert (translations.shape, translations.dtype) == (batch.shape, np.uint8)
    for picture, translation in zip(batch, translations, strict=True):
        alone = decoded(service.translate(encoded(Image.fromarray(picture), "PNG"), size="original").content)
        assert np.abs(translation.astype(int) - alone).max() <= 1  # a batch may round otherwise


def test_several_are_under_way_at_once(client: triton.InferenceServerClient) -> None:
    waiting = [
        client.async_infer("monet2photo", pictures(PICTURE[None, :, : 96 - n]), model_version=VERSION["monet2photo"]) for n in range(6)
    ]
    assert [answer.get_result().as_numpy("translations").shape[2] for answer in waiting] == [96, 95, 94, 93, 92, 91]


def test_a_picture_above_the_batch_budget_goes_in_tiles_like_an_upload(client: triton.InferenceServerClient) -> None:
    large = np.asarray(Image.open(PHOTO).resize((1100, 1000)))[None]
    assert client.infer("photo2monet", pictures(large)).as_numpy("translations").shape == large.shape


@pytest.mark.parametrize(("model", "version"), [("photo2picasso", ""), ("photo2monet", "99")])
def test_unknown_models_and_versions_are_404_with_those_there_are(client: triton.InferenceServerClient, model: str, version: str) -> None:
    with pytest.raises(InferenceServerException, match=rf"There are: monet2photo|there are {VERSION['photo2monet']}") as caught:
        client.infer(model, pictures(PICTURE[None]), model_version=version)
    assert caught.value.status() == "404"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "JSON"),
        (b"[" * 100_000, "JSON"),
        (json.dumps({"inputs": []}).encode(), "inputs"),
        (json.dumps(document(name="images")).encode(), "pictures"),
        (json.dumps(document(datatype="FP32")).encode(), "UINT8"),
        (json.dumps(document(shape=[1, 8, 8, 4])).encode(), "shape"),
        (json.dumps(document(shape=[1, 10**9, 10**9, 3])).encode(), "192"),
        (json.dumps(document(data=[256] * 192)).encode(), "255"),
        (json.dumps(document(data=[0.5] * 192)).encode(), "255"),
        (json.dumps(document(data=[[1], [1, 2]])).encode(), "row"),
        (json.dumps(document(data=None)).encode(), "data"),
        (json.dumps(document(parameters={"shared_memory_region": "x"}, data=None)).encode(), "shared_memory_region"),
        (json.dumps(document(parameters={"binary_data_size": 192}, data=None)).encode(), "binary_data_size"),
    ],
)
def test_what_is_not_of_the_protocol_is_400_and_says_why(service: Service, body: bytes, says: str) -> None:
    response = service.client.post(INFER, content=body)
    assert response.status_code == 400
    assert says in response.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "9999", "²"])
def test_wrong_length_of_the_json_is_400(service: Service, length: str) -> None:
    headers = {b"Inference-Header-Content-Length": length.encode("latin-1")}
    response = service.client.post(INFER, content=json.dumps(document()), headers=headers)
    assert (response.status_code, list(response.json())) == (400, ["error"])


def test_limits_and_keys_are_those_of_uploads() -> None:
    settings = {"max_upload_bytes": 50_000, "max_files": 3, "api_keys": "key", "max_queue_pixels": 64 * 96}
    with running_service(**settings) as strict, triton.InferenceServerClient(strict.address) as client:
        with pytest.raises(InferenceServerException, match="key") as caught:
            client.infer("photo2monet", pictures(PICTURE[None]))
        assert caught.value.status() == "401"
        key = {"X-API-Key": "key"}
        assert client.infer("photo2monet", pictures(PICTURE[None]), headers=key).as_numpy("translations") is not None
        for batch in (np.zeros((4, 8, 8, 3), np.uint8), np.zeros((1, 200, 200, 3), np.uint8), np.zeros((1, 100, 100, 3), np.uint8)):
            with pytest.raises(InferenceServerException) as caught:
                client.infer("photo2monet", pictures(batch), headers=key)
            assert caught.value.status() == "413"


def test_what_cannot_be_done_by_the_deadline_is_413() -> None:
    with running_service(deadline_seconds=1e-6) as hasty:
        assert hasty.client.post(INFER, json=document()).status_code == 413
