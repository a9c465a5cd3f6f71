"""The service's own pipeline without the service: what `cyclegan translate` runs on."""

import logging
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from models.bundle import MANIFEST, BundleError, list_bundles
from pictures.encode import SUFFIXES
from service.client import Options, TranslatedPicture
from service.engine.engine import Engine
from service.parameters import Parameters
from service.pipeline import Pipeline, Upload
from service.settings import Settings
from service.telemetry import configure_logging

PATIENCE_SECONDS = 3600.0
"""That a picture may take, since nobody else waits."""


class LocalTranslator:
    """One direction of the bundles in `settings.models`, loaded while it is entered. Raises BundleError where there is no such."""

    def __init__(self, settings: Settings, direction: str) -> None:
        folder = settings.models / direction
        if not (folder / MANIFEST).is_file():
            known = ", ".join(path.name for path in list_bundles(settings.models)) or "none"
            raise BundleError(f"there is no direction {direction} in {settings.models}; there are: {known}")
        configure_logging("human", logging.ERROR)  # what is less is for people who run a service
        self._only = tempfile.TemporaryDirectory(prefix="cyclegan-")  # a folder of that one bundle: to load all takes much longer
        (Path(self._only.name) / direction).symlink_to(folder.resolve(), target_is_directory=True)
        self.settings = settings.model_copy(update={"models": Path(self._only.name), "deadline_seconds": PATIENCE_SECONDS})
        self._folder = folder
        self._pipeline = Pipeline(self.settings, Engine(self.settings))

    @property
    def in_flight(self) -> int:
        """Pictures that keep all CPUs busy."""
        return 2 * self.settings.codecs

    async def __aenter__(self) -> Self:
        await self._pipeline.start()
        if not await self._pipeline.engine.started():
            raise BundleError(f"{self._folder} cannot be used: the log says why")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._pipeline.stop()
        self._only.cleanup()

    async def translate(self, source: Path, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """As AsyncClient.translate. Raises PictureError, Problem and OSError."""
        parameters = Parameters(direction=direction, **options).settled(self.settings.default_size)
        generators = [self._pipeline.engine.generator(direction, parameters.version)]
        uploads = [Upload(source.stem, source.read_bytes(), sha256=b"")]
        (answer,) = await self._pipeline.translate(uploads, parameters, generators, self._pipeline.deadline())
        if isinstance(answer, Exception):
            raise answer
        return TranslatedPicture(answer.content, answer.format, f"{source.stem}.{direction}.{SUFFIXES[answer.format]}", answer.model)
