"""Additions to the OpenAPI document that FastAPI generates."""

from typing import Any

from fastapi import FastAPI

from service.problems import PROBLEM
from service.routes.inference import ERROR


def install(app: FastAPI) -> None:
    """Describe problems and API keys (https://fastapi.tiangolo.com/how-to/extending-openapi/)."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"] |= {schema["title"]: schema for schema in (PROBLEM, ERROR)}
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "One of CYCLEGAN_API_KEYS, if the service requires a key."},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same."},
        }
        document["security"] = [{}, {"bearer": []}, {"header": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
