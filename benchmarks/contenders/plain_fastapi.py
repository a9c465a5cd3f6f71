"""FastAPI as one would first write it: a `def` handler, in FastAPI's threads. It has no deadline to set."""

import common
import uvicorn
from fastapi import FastAPI, Response, UploadFile

session = common.new_session()
app = FastAPI()


@app.post("/translate")
def translate(image: UploadFile) -> Response:
    pixels = common.decode(image.file)
    return Response(common.encode(common.run(session, pixels[None])[0]), media_type="image/jpeg")


uvicorn.run(app, host="127.0.0.1", port=common.PORT, log_level="warning")
