"""What a request asks for: its parameters, checked, and the format that is to go back."""

from functools import partial
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from pictures.encode import SUFFIXES
from service.pipeline import Order
from service.settings import Settings


class Parameters(BaseModel):
    """The query of /translate and /cycle."""

    direction: str = Field(description="A loaded direction; GET /directions lists them.", json_schema_extra={"example": "photo2monet"})
    size: Annotated[int, Field(ge=64, le=4096)] | Literal["original"] | None = Field(
        None, description="Longest side in pixels that the picture is translated at, or `original`; empty: the service's default."
    )
    format: Literal["jpeg", "png", "webp", "avif"] | None = Field(
        None, description="Of the answer; empty: what Accept asks for, else the upload's own format where it can be, else png."
    )
    quality: int = Field(90, ge=1, le=100, description="Of JPEG, WebP and AVIF.")
    output: Literal["size", "input"] = Field("size", description="`size`: as translated; `input`: enlarged to the upload's own size.")
    strength: float = Field(1.0, ge=0, le=1, description="How much of the translation against the original.")
    keep_colors: bool = Field(False, description="The translation's lightness with the original's colours.")
    version: int | None = Field(None, ge=1, description="A loaded version of the direction; empty: the newest.")

    @classmethod
    def of(cls, request: Request) -> Self:
        """Raises RequestValidationError."""
        try:
            return cls.model_validate(dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)))
        except ValidationError as error:
            raise RequestValidationError([{**wrong, "loc": ("query", *wrong["loc"])} for wrong in error.errors()]) from None

    @classmethod
    def openapi(cls) -> list[dict[str, Any]]:
        """As the OpenAPI page describes parameters."""
        schema = cls.model_json_schema()
        return [
            {"name": name, "in": "query", "required": name in schema["required"], "schema": field}
            | {part: field.pop(part) for part in ("description", "example") if part in field}
            for name, field in schema["properties"].items()
        ]

    def order(self, settings: Settings, accept: str, request_id: str) -> Order:
        return Order(
            direction=self.direction,
            size=None if self.size == "original" else self.size or settings.default_size,
            choose_format=partial(choose_format, self.format, accept),
            quality=self.quality,
            output=self.output,
            strength=self.strength,
            keep_colors=self.keep_colors,
            version=self.version,
            request_id=request_id,
        )


def choose_format(wanted: str | None, accept: str, uploaded: str) -> str:
    """`wanted`; else what `accept` names with the highest q; else the upload's own format; else png."""
    if wanted:
        return wanted
    preferences = []
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        kind, _, subtype = media_type.partition("/")
        if kind == "image" and subtype in SUFFIXES:
            preferences.append((_q(parameters), subtype))
    q, best = max(preferences, key=lambda preference: preference[0], default=(0.0, ""))
    if q > 0:
        return best
    return uploaded if uploaded in SUFFIXES else "png"


def _q(parameters: list[str]) -> float:
    """The q of a media range; one that is no number counts for nothing."""
    value = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    return float(value) if value.replace(".", "", 1).isdecimal() else 0.0
