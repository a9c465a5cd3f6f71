"""FastAPI with a `def` handler, in FastAPI's threads, and uvicorn's workers. It has no deadline to set."""

import common
import uvicorn
from fastapi import FastAPI, Response, UploadFile

session = common.new_session()
app = FastAPI()


@app.post("/translate")
def translate(image: UploadFile) -> Response:
    pixels = common.decode(image.file)
    return Response(common.encode(common.run(session, pixels[None])[0]), media_type="image/jpeg")


if __name__ == "__main__":
    uvicorn.run("plain_fastapi:app", host="127.0.0.1", port=common.PORT, log_level="warning", workers=common.CPUS)
