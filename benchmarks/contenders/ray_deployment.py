"""Ray Serve, replicas with FastAPI as their ingress. Its timeout ends requests that took too long."""

import signal

import common
import ray
from fastapi import FastAPI, Response, UploadFile
from ray import serve

app = FastAPI()


@serve.deployment(num_replicas=common.CPUS, max_ongoing_requests=16, ray_actor_options={"num_cpus": 0})
@serve.ingress(app)
class Translate:
    def __init__(self) -> None:
        self.session = common.new_session()

    @app.post("/translate")
    def translate(self, image: UploadFile) -> Response:
        pixels = common.decode(image.file)
        return Response(common.encode(common.run(self.session, pixels[None])[0]), media_type="image/jpeg")


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning")
    serve.start(http_options={"host": "127.0.0.1", "port": common.PORT, "request_timeout_s": common.DEADLINE})
    serve.run(Translate.bind())
    signal.pause()
