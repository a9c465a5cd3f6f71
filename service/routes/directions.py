"""GET /directions lists what the service offers; /models serves the bundles' files to pages that translate on the user's device."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from models.bundle import Bundle, Precision, Purpose
from service.errors import Problem
from service.problems import PROBLEM_RESPONSES
from service.routes.dependencies import PipelineDep, check_key

router = APIRouter(tags=["directions"])

RESPONSES: dict[int | str, dict[str, Any]] = {status: PROBLEM_RESPONSES[status] for status in (401, 503)}
FILE_RESPONSES: dict[int | str, dict[str, Any]] = {status: PROBLEM_RESPONSES[status] for status in (401, 404, 422, 503)}
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


class File(BaseModel):
    """One ONNX file of a bundle."""

    path: str  # relative to the bundle's folder: `3/model.onnx`
    size: int = Field(description="In bytes.")
    sha256: str
    precision: Precision
    purpose: Purpose
    url: str = Field(description="Relative to the service's root.")


class Direction(BaseModel):
    direction: str
    title: str | None = Field(description="The direction's name for people.")
    years: str | None
    about: str | None
    sample: str | None = Field(description="URL of a small picture that it made, relative to the service's root.")
    sample_source: str | None = Field(description="URL of the picture that the sample was made from.")
    source: str
    target: str
    inverse: str
    version: int
    architecture: str
    trained_size: int
    multiple: int = Field(description="The height and width of the graph's input must be multiples of this …")
    smallest_side: int = Field(description="… and at least this.")
    precision: str
    provider: str
    evaluation: dict[str, Any]
    licence: str
    files: list[File] = Field(description="The graph's files; empty if the service does not publish its weights.")


@router.get("/directions", operation_id="directions", dependencies=[Depends(check_key)], responses=RESPONSES)
async def directions(pipeline: PipelineDep) -> list[Direction]:
    """List every loaded direction with its newest version."""
    pipeline.engine.check_ready()
    newest = {each.direction: each for each in reversed(pipeline.engine.catalog.generators)}
    on_device = pipeline.settings.on_device
    return [describe(each.bundle, each.precision, each.provider, on_device) for _, each in sorted(newest.items())]


@router.get("/models/{direction}/{version}/{file}", operation_id="model_file", response_class=FileResponse, responses=FILE_RESPONSES)
async def model_file(request: Request, pipeline: PipelineDep, direction: str, version: int, file: str) -> FileResponse:
    """Serve one of the files that GET /directions lists. A file never changes. Samples need no key, since browsers send none for images."""
    bundle = pipeline.engine.generator(direction, version).bundle
    path = f"{version}/{file}"
    if path in (bundle.manifest.sample, bundle.manifest.sample_source) and (bundle.folder / path).is_file():
        return FileResponse(bundle.folder / path, headers=IMMUTABLE)
    await check_key(request)
    for listed in bundle.version.files if pipeline.settings.on_device else ():
        if listed.path == path:
            headers = IMMUTABLE | {"ETag": f'"{listed.sha256}"'}
            return FileResponse(bundle.folder / path, media_type="application/octet-stream", headers=headers)
    raise Problem(404, "Unknown file", f"{direction} has no file {path} to download: GET /directions lists the files.")


def describe(bundle: Bundle, precision: Precision, provider: str, on_device: bool) -> Direction:
    """Describe a bundle that runs in `precision` on `provider`; its files are listed if they are published (`on_device`)."""
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
