"""The documents name what exists: files, settings, routes, parameters, problems, fields and commands."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute, APIRouter

from service import errors, problems
from service.parameters import Parameters
from service.routes import directions, health, inference, page, repository, translate
from service.settings import CLIENT_VARIABLES, PREFIX, Settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(document: str) -> Iterator[list[str]]:
    """Cells of all lines of all tables."""
    for line in document.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.split("|")[1:-1]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name} links to {path}, which is not there"
        assert not anchor or anchor in anchors(target), f"{document.name} links to {link}, which has no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}([A-Z][A-Z_]*[A-Z])\b", document.read_text("utf-8")))
    assert named <= {name.upper() for name in Settings.model_fields} | {name.removeprefix(PREFIX) for name in CLIENT_VARIABLES}


def test_serving_has_every_setting_with_its_default() -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in rows(read("docs/serving.md")) if row[0].startswith(f"`{PREFIX}")}
    assert told == {f"{PREFIX}{name.upper()}": default(name) for name in Settings.model_fields}


def default(name: str) -> str:
    """As the document writes it."""
    field = Settings.model_fields[name]
    if field.default_factory:
        return "automatic"
    match field.default:
        case None:
            return ""
        case bool():
            return str(field.default).lower()
        case tuple():
            return ",".join(map(str, field.default))
    return str(field.default)


def test_the_api_has_every_route() -> None:
    text = read("docs/api.md")
    for method, path in routes(directions, health, inference, repository, translate, page):
        if not path.startswith(("/web", "/service-worker")):
            assert f"`{method} {path}`" in text


def routes(*modules: object) -> Iterator[tuple[str, str]]:
    for module in modules:
        router: APIRouter = module.router  # type: ignore[attr-defined]
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield from ((method, route.path) for method in (route.methods or set()) - {"HEAD"})


def test_the_api_names_no_route_that_is_not_there() -> None:
    known = set(routes(directions, health, inference, repository, translate, page))
    named = set(re.findall(r"`(GET|POST) (/[^`]*)`", read("docs/api.md")))
    assert named - known <= {("GET", "/docs"), ("GET", "/openapi.json")}  # FastAPI's own


def test_the_api_has_every_parameter() -> None:
    told = {row[0].strip("`") for row in rows(read("docs/api.md").split("## POST /cycle")[0]) if row[0].startswith("`")}
    assert set(Parameters.model_fields) <= told


def test_the_api_has_every_problem() -> None:
    text, code = read("docs/api.md"), inspect.getsource(problems) + inspect.getsource(errors)
    for status, title in re.findall(r'(?:Problem|__init__)\(\s*(\d{3}), "([^"]+)"', code):
        assert re.search(rf"^\| {status} \|.*`{title.lower().replace(' ', '-')}`", text, re.MULTILINE), title


def test_training_has_every_field_and_no_other() -> None:
    config = pytest.importorskip("training.config")
    section = read("docs/training.md").split("## Every field")[1].split("\n## ")[0]
    told = {name for row in rows(section) for name in re.findall(r"`(\w+)`", row[0])}
    assert told == set(config.TrainingConfig.model_fields)


def test_training_has_every_preset() -> None:
    told = {row[0].strip("`") for row in rows(read("docs/training.md").split("## Presets")[1].split("## ")[0])}
    assert {path.stem for path in (ROOT / "training/presets").glob("*.yaml")} <= told


def test_architecture_names_files_that_exist() -> None:
    for path in re.findall(r"`((?:service|training|pictures|models|docker|tests|benchmarks)/[\w./-]*)`", read("docs/architecture.md")):
        assert (ROOT / path).exists(), path
