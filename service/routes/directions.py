"""GET /directions: what this service can do; and the bundles' files, for those who translate on their own device."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from models.bundle import Bundle, Precision, Purpose
from service.errors import Problem
from service.problems import PROBLEM_RESPONSES
from service.routes.dependencies import PipelineOf, check_key

router = APIRouter(tags=["directions"])

IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


class File(BaseModel):
    """One ONNX file of a bundle."""

    path: str
    """Relative to the bundle's folder: `3/model.onnx`."""
    size: int = Field(description="In bytes.")
    sha256: str
    precision: Precision
    purpose: Purpose
    url: str = Field(description="Relative to the service's root.")


class Direction(BaseModel):
    direction: str
    title: str | None = Field(description="What a person calls it.")
    years: str | None
    about: str | None
    sample: str | None = Field(description="Where a small picture that it made is, relative to the service's root …")
    sample_source: str | None = Field(description="… and what it was made from.")
    source: str
    target: str
    inverse: str
    version: int
    architecture: str
    trained_size: int
    multiple: int = Field(description="Height and width of what the graph takes are multiples of it …")
    smallest_side: int = Field(description="… and no smaller than this.")
    precision: str
    provider: str
    evaluation: dict[str, Any]
    licence: str
    files: list[File] = Field(description="What the graph can be had by; empty where the service keeps its weights.")


@router.get(
    "/directions",
    operation_id="directions",
    dependencies=[Depends(check_key)],
    responses={status: PROBLEM_RESPONSES[status] for status in (401, 503)},
)
async def directions(pipeline: PipelineOf) -> list[Direction]:
    """Every loaded direction, in its newest version."""
    pipeline.engine.check_ready()
    newest = {each.direction: each for each in sorted(pipeline.engine.generators, key=lambda generator: generator.version)}
    on_device = pipeline.settings.on_device
    return [describe(newest[name].bundle, newest[name].precision, newest[name].provider, on_device) for name in sorted(newest)]


@router.get(
    "/models/{direction}/{version}/{file}",
    operation_id="model_file",
    response_class=FileResponse,
    responses={status: PROBLEM_RESPONSES[status] for status in (401, 404, 422, 503)},
)
async def model_file(request: Request, pipeline: PipelineOf, direction: str, version: int, file: str) -> FileResponse:
    """One of the bundle's files, as GET /directions lists them. It never changes. Samples ask for no key: a page shows them as
    pictures, which send none."""
    pipeline.engine.check_ready()
    bundle = pipeline.engine.generator(direction, version).bundle
    path = f"{version}/{file}"
    if path in (bundle.manifest.sample, bundle.manifest.sample_source) and (bundle.folder / path).is_file():
        return FileResponse(bundle.folder / path, headers=IMMUTABLE)
    await check_key(request)
    listed = {each.path: each for each in bundle.version.files} if pipeline.settings.on_device else {}
    found = listed.get(path)
    if found is None:
        raise Problem(404, "Unknown file", f"There is no file {path} of {direction} to be had: GET /directions lists those that are.")
    headers = IMMUTABLE | {"ETag": f'"{found.sha256}"'}
    return FileResponse(bundle.folder / found.path, media_type="application/octet-stream", headers=headers)


def describe(bundle: Bundle, precision: Precision, provider: str, on_device: bool) -> Direction:
    """What is told of a bundle that runs in `precision` on `provider`."""
    manifest, version = bundle.manifest, bundle.version
    samples = {"sample": manifest.sample, "sample_source": manifest.sample_source}
    return Direction(
        **manifest.model_dump(include={"direction", "title", "years", "about", "source", "target", "inverse", "licence"}),
        **version.model_dump(include={"version", "architecture", "trained_size", "multiple", "smallest_side", "evaluation"}),
        **{name: f"models/{bundle.direction}/{path}" if path else None for name, path in samples.items()},
        precision=precision,
        provider=provider,
        files=[
            File(
                **file.model_dump(include={"path", "sha256", "precision", "purpose"}),
                size=(bundle.folder / file.path).stat().st_size,
                url=f"models/{bundle.direction}/{file.path}",
            )
            for file in (version.files if on_device else ())
        ],
    )
