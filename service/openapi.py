"""What the OpenAPI page says beyond what FastAPI knows by itself."""

from typing import Any

from fastapi import FastAPI

from service.problems import PROBLEM
from service.routes.inference import ERROR


def install(app: FastAPI) -> None:
    """Describe problems, and the keys that a service may ask for (https://fastapi.tiangolo.com/how-to/extending-openapi/)."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document["components"]["schemas"] |= {schema["title"]: schema for schema in (PROBLEM, ERROR)}
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "One of CYCLEGAN_API_KEYS, where the service asks for one."},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same."},
        }
        document["security"] = [{}, {"bearer": []}, {"header": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
