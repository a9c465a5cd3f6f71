"""GET /directions: what this service can do."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from service.engine.catalog import Generator
from service.pipeline import Pipeline
from service.problems import PROBLEM_RESPONSES
from service.routes.dependencies import check_key, get_pipeline

router = APIRouter(tags=["directions"], dependencies=[Depends(check_key)])


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


@router.get("/directions", operation_id="directions", responses={401: PROBLEM_RESPONSES[401]})
async def directions(pipeline: Annotated[Pipeline, Depends(get_pipeline)]) -> list[Direction]:
    """Every loaded direction."""
    catalog = pipeline.engine.catalog
    return [_describe(catalog.generators[name]) for name in catalog.directions]


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
        precision=version.files[0].precision,
        provider=generator.provider,
        evaluation=version.evaluation,
        licence=manifest.licence,
    )
