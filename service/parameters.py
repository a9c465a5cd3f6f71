"""The parameters of /translate and /cycle."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pictures.encode import SUFFIXES


class Parameters(BaseModel):
    """The query of /translate and /cycle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    direction: str = Field(description="A loaded direction; GET /directions lists them.", json_schema_extra={"example": "photo2monet"})
    size: Annotated[int, Field(ge=64, le=4096)] | Literal["original"] | None = Field(
        None, description="Longest side in pixels to translate at, or `original`. Default: the service's own."
    )
    format: Literal["jpeg", "png", "webp", "avif"] | None = Field(
        None, description="Format of the answer. Default: the Accept header's choice, else the upload's format if possible, else png."
    )
    quality: int = Field(90, ge=1, le=100, description="Quality of JPEG, WebP and AVIF.")
    output: Literal["size", "input"] = Field("size", description="`size`: as translated; `input`: enlarged to the upload's own size.")
    strength: float = Field(1.0, ge=0, le=1, description="Weight of the translation against the original.")
    keep_colors: bool = Field(False, description="Combine the translation's lightness with the original's colors.")
    version: int | None = Field(None, ge=1, description="A loaded version of the direction. Default: the newest.")

    def resolve(self, default_size: int, accept: str = "") -> Self:
        """Fill in the missing size and format from the service's default and the Accept header."""
        return self.model_copy(update={"size": self.size or default_size, "format": self.format or accepted_format(accept)})

    @property
    def longest_side(self) -> int | None:
        """Longest side in pixels after `resolve`; None keeps the picture's size."""
        return None if self.size == "original" else self.size

    def format_for(self, uploaded: str) -> str:
        """Return the answer's format for an upload in the format `uploaded`."""
        return self.format or (uploaded if uploaded in SUFFIXES else "png")


def accepted_format(accept: str) -> str | None:
    """Return the format with the highest q in an Accept header, or None."""
    best: str | None = None
    best_weight = 0.0
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        kind, _, subtype = media_type.partition("/")
        q = next((parameter.removeprefix("q=") for parameter in parameters if parameter.startswith("q=")), "1")
        weight = float(q) if q.replace(".", "", 1).isdecimal() else 0.0
        if kind == "image" and subtype in SUFFIXES and weight > best_weight:
            best, best_weight = subtype, weight
    return best
