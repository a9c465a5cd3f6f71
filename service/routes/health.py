"""Health and metrics for load balancers, orchestrators and Prometheus. These routes never require a key."""

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from service.problems import PROBLEM_RESPONSES
from service.routes.dependencies import check_alive, check_ready

router = APIRouter(tags=["health"])


@router.get("/health/live", operation_id="live", dependencies=[Depends(check_alive)], responses={503: PROBLEM_RESPONSES[503]})
async def live() -> dict[str, str]:
    """Return 200 while the process can work."""
    return {"status": "live"}


@router.get("/health/ready", operation_id="ready", dependencies=[Depends(check_ready)], responses={503: PROBLEM_RESPONSES[503]})
async def ready() -> dict[str, str]:
    """Return 200 from the moment that every direction is loaded and warmed up until the service is told to stop."""
    return {"status": "ready"}


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus; in the OpenMetrics format, with trace ids as exemplars, if the Accept header asks for it."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), headers={"Content-Type": content_type})
