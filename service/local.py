"""Run the service's pipeline without the service, for `cyclegan translate`."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from models.bundle import BundleError, list_bundles
from pictures.encode import SUFFIXES
from service.client import Options, TranslatedPicture
from service.engine.engine import Engine
from service.parameters import Parameters
from service.pipeline import Pipeline, Upload
from service.settings import Settings
from service.telemetry import configure_logging

DEADLINE_SECONDS = 3600.0  # a picture may take long, since no other client waits


class LocalTranslator:
    """Translates in one direction of the bundles in `settings.models`; an async context manager. Raises BundleError for a direction that is
    missing or cannot be used."""

    def __init__(self, settings: Settings, direction: str) -> None:
        directions = [folder.name for folder in list_bundles(settings.models)]
        if direction not in directions:
            known = ", ".join(directions) or "none"
            raise BundleError(f"there is no direction {direction} in {settings.models}; there are: {known}")
        configure_logging("human", logging.ERROR)  # lower levels are for operators of a service
        self.settings = settings.model_copy(update={"deadline_seconds": DEADLINE_SECONDS})
        self.in_flight = 2 * settings.codecs  # pictures that keep all CPUs busy
        self._direction = direction
        self._pipeline = Pipeline(self.settings, Engine(self.settings))

    async def __aenter__(self) -> Self:
        await self._pipeline.start(self._direction)
        if not await self._pipeline.engine.started():
            raise BundleError(f"{self.settings.models / self._direction} cannot be used: the log says why")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._pipeline.stop()

    async def translate(self, source: Path, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """Translate one picture, like AsyncClient.translate. Raises PictureError, Problem and OSError."""
        parameters = Parameters(direction=direction, **options).resolve(self.settings.default_size)
        generators = [self._pipeline.engine.generator(direction, parameters.version)]
        uploads = [Upload(source.stem, source.read_bytes(), sha256=b"")]
        (answer,) = await self._pipeline.translate(uploads, parameters, generators, self._pipeline.deadline())
        if isinstance(answer, Exception):
            raise answer
        return TranslatedPicture(answer.content, answer.format, f"{source.stem}.{direction}.{SUFFIXES[answer.format]}", answer.model)
