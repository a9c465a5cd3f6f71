"""What a request asks for: its parameters, checked, and the format that is to go back."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pictures.encode import SUFFIXES


class Parameters(BaseModel):
    """The query of /translate and /cycle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    def settled(self, default_size: int, accept: str = "") -> Self:
        """With what the service and the Accept header say in the place of what was left open."""
        return self.model_copy(update={"size": self.size or default_size, "format": self.format or accepted_format(accept)})

    @property
    def longest_side(self) -> int | None:
        """Of settled parameters: in pixels; None: the picture's own."""
        return None if self.size == "original" else self.size

    def format_for(self, uploaded: str) -> str:
        """The answer's format; where none is asked for the upload's own, else png."""
        return self.format or (uploaded if uploaded in SUFFIXES else "png")

    @property
    def needs_original(self) -> bool:
        """Whether the answer is made of the original, too."""
        return self.keep_colors or self.strength < 1


def accepted_format(accept: str) -> str | None:
    """What is named with the highest q in an Accept header."""
    preferences = []
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        kind, _, subtype = media_type.partition("/")
        if kind == "image" and subtype in SUFFIXES:
            preferences.append((_q(parameters), subtype))
    q, best = max(preferences, key=lambda preference: preference[0], default=(0.0, ""))
    return best if q > 0 else None


def _q(parameters: list[str]) -> float:
    """The q of a media range; one that is no number counts for nothing."""
    value = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    return float(value) if value.replace(".", "", 1).isdecimal() else 0.0
