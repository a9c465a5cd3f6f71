"""BentoML, workers with 16 threads each. Its timeout ends requests that took too long."""

import os
import sys
from pathlib import Path
from typing import Annotated

import bentoml
import common
from bentoml.validators import ContentType


@bentoml.service(threads=16, workers=common.CPUS, traffic={"timeout": common.DEADLINE}, logging={"access": {"enabled": False}})
class Translate:
    def __init__(self) -> None:
        self.session = common.new_session()

    @bentoml.api
    def translate(self, image: Path) -> Annotated[bytes, ContentType("image/jpeg")]:
        with image.open("rb") as file:
            pixels = common.decode(file)
        return common.encode(common.run(self.session, pixels[None])[0])


if __name__ == "__main__":
    here = Path(__file__)
    serve = ["serve", f"{here.stem}:Translate", "--working-dir", str(here.parent), "--host", "127.0.0.1", "--port", str(common.PORT)]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *serve])
