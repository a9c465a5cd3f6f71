"""Bundles in, pictures out: the HTTP service. Knows neither torch nor training/."""

import os
from importlib.metadata import version

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime tells its makers of models and machines

__version__ = version("cyclegan-service")
"""Of all of the project: pyproject.toml's."""
