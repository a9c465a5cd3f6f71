"""The OpenAPI page, as those use it who generate a client from it."""

import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import PHOTO, Service, decoded

FILES = ("image/*", "image/jpeg", "image/png", "image/webp", "image/avif", "application/zip")


@pytest.fixture(scope="module")
def document(service: Service) -> dict:
    return service.client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def generated(document: dict, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """A client that openapi-python-client made, with no warning; it needs to be told which media types are files."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(document))
    overrides = dict.fromkeys(FILES, "application/octet-stream")
    (folder / "config.json").write_text(json.dumps({"content_type_overrides": overrides, "post_hooks": []}))
    program = Path(sys.executable).with_name("openapi-python-client")
    options = ["--path", "openapi.json", "--config", "config.json", "--meta", "none", "--output-path", "generated_client"]
    made = subprocess.run([program, "generate", "--fail-on-warning", *options], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    return importlib.import_module("generated_client")


def test_a_generated_client_translates_and_understands_problems(generated: ModuleType, service: Service) -> None:
    directions = importlib.import_module("generated_client.api.directions.directions")
    translate = importlib.import_module("generated_client.api.pictures.translate")
    models, types = (importlib.import_module(f"generated_client.{name}") for name in ("models", "types"))

    with generated.Client(service.url) as client:
        listed = directions.sync(client=client)
        assert {"photo2monet", "monet2photo"} <= {direction.direction for direction in listed}

        def send(direction: str, content: bytes) -> object:
            body = models.TranslateFilesBody(image=types.File(io.BytesIO(content), "photo.jpg", "image/jpeg"))
            return translate.sync(client=client, direction=direction, size=64, body=body)

        assert decoded(send("photo2monet", PHOTO.read_bytes()).payload.read()).shape == (43, 64, 3)
        for problem, status in ((send("photo2picasso", PHOTO.read_bytes()), 404), (send("photo2monet", b"no picture"), 415)):
            assert isinstance(problem, models.Problem)
            assert (problem.status, bool(problem.detail)) == (status, True)


def test_examples_work_when_pasted(document: dict, service: Service) -> None:
    body = document["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]["schema"]["example"]
    direction = document["paths"]["/translate"]["post"]["parameters"][0]["schema"]["example"]
    assert service.client.post(f"/v2/models/{direction}/infer", json=body).status_code == 200
    assert service.translate(PHOTO.read_bytes(), direction).status_code == 200


def test_every_problem_of_an_operation_is_described(document: dict) -> None:
    for path in ("/translate", "/cycle"):
        responses = document["paths"][path]["post"]["responses"]
        assert set(responses) == {"200", "304", "400", "401", "404", "408", "413", "415", "422", "429", "503", "504"}
        assert all(list(responses[status]["content"]) == ["application/problem+json"] for status in responses if status >= "400")
