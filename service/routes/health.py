"""Health and metrics: for load balancers, orchestrators and Prometheus; open even where keys are configured."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.problems import PROBLEM_RESPONSES, lane_died
from service.routes.dependencies import get_pipeline
from service.telemetry import exposition

router = APIRouter(tags=["health"])


@router.get("/health/live", operation_id="live", responses={503: PROBLEM_RESPONSES[503]})
async def live(request: Request) -> dict[str, str]:
    """200 while the process can do work."""
    if not get_pipeline(request).engine.alive:
        raise lane_died()
    return {"status": "live"}


@router.get("/health/ready", operation_id="ready", responses={503: PROBLEM_RESPONSES[503]})
async def ready(request: Request) -> dict[str, str]:
    """200 once every direction is loaded and warmed up."""
    get_pipeline(request).engine.check_ready()
    return {"status": "ready"}


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics() -> Response:
    """Prometheus."""
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)
