"""LitServe, which batches: up to 16 pictures, for which it waits 5 ms. Its timeout covers the time in the queue."""

import common
import litserve
import numpy as np
from fastapi import Request, Response


class Translate(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.session = common.new_session()

    def decode_request(self, request: Request) -> np.ndarray:
        return common.decode(request["image"].file)  # LitServe has parsed the form

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        return common.run(self.session, pictures)

    def encode_response(self, pixels: np.ndarray) -> Response:
        return Response(common.encode(pixels), media_type="image/jpeg")


if __name__ == "__main__":
    api = Translate(max_batch_size=16, batch_timeout=0.005, api_path="/translate")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=common.CPUS, timeout=common.DEADLINE)
    server.run(host="127.0.0.1", port=common.PORT, generate_client_file=False, log_level="warning")
