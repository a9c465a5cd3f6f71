"""Health and metrics: for load balancers, orchestrators and Prometheus; open even where keys are configured."""

from fastapi import APIRouter, Request, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from service.problems import PROBLEM_RESPONSES, lane_died
from service.routes.dependencies import PipelineOf, check_ready

router = APIRouter(tags=["health"])


@router.get("/health/live", operation_id="live", responses={503: PROBLEM_RESPONSES[503]})
async def live(pipeline: PipelineOf) -> dict[str, str]:
    """200 while the process can do work."""
    if not pipeline.engine.alive:
        raise lane_died()
    return {"status": "live"}


@router.get("/health/ready", operation_id="ready", responses={503: PROBLEM_RESPONSES[503]})
async def ready(request: Request) -> dict[str, str]:
    """200 once every direction is loaded and warmed up, until the service is told to stop."""
    check_ready(request)
    return {"status": "ready"}


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus; as OpenMetrics, with traces as exemplars, where Accept asks for it."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), headers={"Content-Type": content_type})
