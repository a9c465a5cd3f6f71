"""Keys with names and rates, from a file that is read again."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.keys import Keys, read_keys
from tests.conftest import Service, assert_problem, running_service, wait_until

FILE = """
[shop]
key = "shop-key"
rate = "3/hour"

[press]
key = "press-key"
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def keyed(file: Path) -> Iterator[Service]:
    with running_service(keys_file=file, api_keys="plain-key", repository_key="operator-key") as running:
        yield running


def send(service: Service, key: str, photo: bytes) -> httpx.Response:
    return service.translate(photo, size=64, headers={"X-API-Key": key})


def test_a_key_has_its_rate_tells_what_is_left_and_others_are_not_touched(keyed: Service, photo: bytes) -> None:
    answers = [send(keyed, "shop-key", photo) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit"].split(";")[:2] for answer in answers] == [['"shop"', f"r={left}"] for left in (2, 1, 0, 0)]
    assert answers[0].headers["ratelimit-policy"] == '"shop";q=3;w=3600'
    problem = assert_problem(answers[3], 429)
    assert 1 <= int(answers[3].headers["retry-after"]) == problem["retry_after"] <= 3600
    for other in ("press-key", "plain-key"):
        assert send(keyed, other, photo).status_code == 200
    assert "ratelimit" not in send(keyed, "press-key", photo).headers
    assert_problem(send(keyed, "operator-key", photo), 401)
    metrics = keyed.client.get("/metrics").text
    assert 'cyclegan_key_requests_total{key="shop",status="429"} 1.0' in metrics
    assert "shop-key" not in metrics


def test_sighup_reads_the_file_again_unless_it_cannot_be_used(keyed: Service, file: Path) -> None:
    def status(key: str) -> int:
        return keyed.client.get("/directions", headers={"X-API-Key": key}).status_code

    file.write_text(FILE.replace("press-key", "new-key"))
    keyed.process.send_signal(signal.SIGHUP)
    wait_until(lambda: status("new-key") == 200)
    assert status("press-key") == 401
    file.write_text("[shop]\nkey = 'é'\n")
    keyed.process.send_signal(signal.SIGHUP)
    assert keyed.client.get("/health/live").status_code == 200
    assert status("new-key") == 200


def test_models_are_listed_unloaded_and_loaded_by_the_key_for_it(keyed: Service, photo: bytes) -> None:
    def ask(path: str, key: str = "operator-key") -> httpx.Response:
        return keyed.client.post(f"/v2/repository/{path}", headers={"Authorization": f"Bearer {key}"})

    assert ask("index", "plain-key").status_code == 401
    assert {(each["name"], each["state"]) for each in ask("index").json()} == {("photo2monet", "READY"), ("monet2photo", "READY")}
    assert ask("models/monet2photo/unload").status_code == 200
    assert keyed.translate(photo, "monet2photo", headers={"X-API-Key": "plain-key"}).status_code == 404
    assert {each["name"] for each in ask("index").json() if each["state"] == "READY"} == {"photo2monet"}
    assert ask("models/monet2photo/load").status_code == 200
    assert keyed.translate(photo, "monet2photo", size=64, headers={"X-API-Key": "plain-key"}).status_code == 200
    unknown = ask("models/photo2picasso/load")
    assert (unknown.status_code, list(unknown.json())) == (404, ["error"])


def test_the_repository_is_off_without_a_key_of_its_own(service: Service) -> None:
    assert service.client.post("/v2/repository/index").status_code == 404


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[shop", "TOML"),
        ("[shop]\n", r"shop\.key: Field required"),
        ("[shop]\nkey = 'a b'\n", "without spaces"),
        ("[shop]\nkey = 'a'\nrate = 'often'\n", "100/minute"),
        ("[shop]\nkey = 'a'\nlimit = 3\n", r"shop\.limit"),
        ("['my shop']\nkey = 'a'\n", "pattern"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_says_why(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(ValueError, match=why):
        read_keys(tmp_path / "keys.toml")


def test_a_missing_file_of_keys_opens_the_service_to_nobody(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Keys([], tmp_path / "none.toml")
    (tmp_path / "empty.toml").write_text("")
    assert not Keys([], tmp_path / "empty.toml").open_to_all
