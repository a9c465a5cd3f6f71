"""The service on a Ray cluster: `serve run --working-dir . docker/cluster.yaml`, or `serve run service.cluster:app` with Ray's defaults.

Each replica is a complete `service.app` with its own sessions and queue. Ray Serve places the replicas, scales them by their number of
requests, and restarts dead ones. Settings come from the environment.
"""

from fastapi import FastAPI
from ray import serve

from service.app import create_app


def build() -> FastAPI:
    """Create the app inside the replica, since sessions and queues cannot be pickled."""
    return create_app()


@serve.deployment(name="cyclegan")
@serve.ingress(build)
class Replica:
    def check_health(self) -> None:
        """Ray replaces the replica if this raises RuntimeError."""
        if not self.app.state.pipeline.engine.alive:  # type: ignore[attr-defined]  # serve.ingress adds `app`
            raise RuntimeError("a lane has died")


app = Replica.bind()  # type: ignore[attr-defined]  # serve.deployment adds `bind`
