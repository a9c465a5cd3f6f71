"""The service on a Ray cluster: `serve run --working-dir . docker/cluster.yaml`, or `serve run service.cluster:app` with Ray's defaults.

Each replica is the whole app of `service.app`, with sessions and a queue of its own; Ray Serve places them, scales them
on ongoing requests, and starts dead ones again. The settings are those of the environment.
"""

from fastapi import FastAPI
from ray import serve

from service.app import create_app


def _build() -> FastAPI:
    """In the replica: sessions and queues cannot be sent there."""
    return create_app()


@serve.deployment(name="cyclegan")
@serve.ingress(_build)
class Replica:
    """One app. Ray asks it for its health, and ends and replaces it where a lane has died."""

    def check_health(self) -> None:
        """Raises RuntimeError once it can do no work any more."""
        if not self.app.state.pipeline.engine.alive:  # type: ignore[attr-defined]  # `app` is serve.ingress's
            raise RuntimeError("a lane has died")


app = Replica.bind()  # type: ignore[attr-defined]  # what serve.deployment makes of it
