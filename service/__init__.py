"""Bundles in, pictures out: the HTTP service. Knows neither torch nor training/."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime tells its makers of models and machines
