"""Tensors of the Open Inference Protocol: in the JSON, or as bytes after it (the binary tensor data extension)."""

import json
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveInt, ValidationError

from service.errors import Problem

HEADER = "Inference-Header-Content-Length"  # the size of the JSON in bytes, if binary data follows it
EXTENSIONS = ["binary_tensor_data"]

Tensor = NDArray[np.uint8]  # (n, h, w, 3)


class Parameters(BaseModel):
    """The parameters that change how tensors are read or written. Others are ignored, as the protocol allows."""

    binary_data_size: int | None = None
    binary_data: bool | None = None
    binary_data_output: bool = False
    classification: None = None
    shared_memory_region: None = None


class Input(BaseModel):
    name: Literal["pictures"]
    datatype: Literal["UINT8"]
    shape: tuple[PositiveInt, PositiveInt, PositiveInt, Literal[3]]
    parameters: Parameters = Parameters()
    data: Any = None  # nested like `shape`, or flat


class Output(BaseModel):
    name: Literal["translations"]
    parameters: Parameters = Parameters()


class Inference(BaseModel):
    """The JSON of a request."""

    id: str | None = None
    inputs: tuple[Input]
    outputs: Annotated[list[Output], Field(max_length=1)] = []
    parameters: Parameters = Parameters()

    @property
    def binary_output(self) -> bool:
        requested = self.outputs[0].parameters.binary_data if self.outputs else None
        return self.parameters.binary_data_output if requested is None else requested


def read_tensor(body: bytes, header: str | None) -> tuple[Inference, Tensor]:
    """Return the request's JSON and its pictures. `header` is the value of HEADER. Raises the problem 400."""
    if header is not None and not (header.isascii() and header.isdigit() and int(header) <= len(body)):
        raise malformed(f"{HEADER} must be the size of the JSON in bytes, at most the size of the body")
    end = len(body) if header is None else int(header)
    try:
        inference = Inference.model_validate_json(body[:end])
    except ValidationError as error:
        reasons = error.errors(include_url=False, include_input=False, include_context=False)
        raise malformed("; ".join(f"{'.'.join(map(str, reason['loc'])) or 'JSON'}: {reason['msg']}" for reason in reasons)) from None
    pictures, rest = inference.inputs[0], memoryview(body)[end:]
    size = pictures.parameters.binary_data_size
    if (size or 0) != len(rest) or (size is None) == (pictures.data is None):
        raise malformed("pictures must have either `data`, or `binary_data_size` bytes after the JSON")
    flat = _read_numbers(pictures.data) if size is None else np.frombuffer(rest, np.uint8)
    n, h, w, channels = pictures.shape
    if flat.size != n * h * w * channels:
        raise malformed(f"the shape {list(pictures.shape)} needs {n * h * w * channels:,} values, but there are {flat.size:,}")
    return inference, flat.reshape(pictures.shape)


def write_tensor(response: dict[str, Any], tensor: Tensor, binary: bool) -> tuple[bytes, bytes]:
    """Return the JSON of `response` with the output `translations`, and the binary data that follows it."""
    output: dict[str, Any] = {"name": "translations", "datatype": "UINT8", "shape": list(tensor.shape)}
    content = tensor.tobytes() if binary else b""
    output |= {"parameters": {"binary_data_size": len(content)}} if binary else {"data": tensor.ravel().tolist()}
    return json.dumps(response | {"outputs": [output]}, separators=(",", ":")).encode(), content


def malformed(reason: str) -> Problem:
    return Problem(400, "Malformed inference request", f"The request cannot be read: {reason}.")


def _read_numbers(data: Any) -> Tensor:
    try:
        values = np.asarray(data)
    except ValueError:
        raise malformed("every row of pictures.data must have the same length") from None
    if values.dtype.kind != "i" or not values.size or values.min() < 0 or values.max() > 255:
        raise malformed("pictures.data must be whole numbers from 0 to 255")
    return values.astype(np.uint8).ravel()
