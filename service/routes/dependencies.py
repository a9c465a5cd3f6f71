"""What handlers ask of a request."""

import hmac

from fastapi import Request

from service.pipeline import Pipeline
from service.problems import unauthorized


def get_pipeline(request: Request) -> Pipeline:
    return request.app.state.pipeline


def check_key(request: Request) -> None:
    """Raises the problem 401 where keys are configured and none that fits was sent."""
    keys = get_pipeline(request).settings.api_keys
    if not keys:
        return
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    sent = bearer if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    fits = [hmac.compare_digest(key.get_secret_value().encode(), sent.strip().encode()) for key in keys]
    if not any(fits):
        raise unauthorized()
