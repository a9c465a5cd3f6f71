"""GET /directions: what this service can do."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from service.engine.generator import Generator
from service.problems import PROBLEM_RESPONSES
from service.routes.dependencies import check_key, get_pipeline

router = APIRouter(tags=["directions"])


class Direction(BaseModel):
    direction: str
    source: str
    target: str
    inverse: str
    version: int
    architecture: str
    trained_size: int
    precision: str
    provider: str
    evaluation: dict[str, Any]
    licence: str


@router.get("/directions", operation_id="directions", responses={status: PROBLEM_RESPONSES[status] for status in (401, 503)})
async def directions(request: Request) -> list[Direction]:
    """Every loaded direction."""
    check_key(request)
    engine = get_pipeline(request).engine
    engine.check_ready()
    newest = {generator.direction: generator for generator in reversed(engine.generators)}
    return [_describe(newest[direction]) for direction in sorted(newest)]


def _describe(generator: Generator) -> Direction:
    manifest, version = generator.bundle.manifest, generator.bundle.version
    return Direction(
        direction=manifest.direction,
        source=manifest.source,
        target=manifest.target,
        inverse=manifest.inverse,
        version=version.version,
        architecture=version.architecture,
        trained_size=version.trained_size,
        precision=generator.precision,
        provider=generator.provider,
        evaluation=version.evaluation,
        licence=manifest.licence,
    )
