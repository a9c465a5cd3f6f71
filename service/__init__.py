"""The HTTP service: translates pictures with the bundles in models/. Never imports torch or training/."""

import os
from importlib.metadata import version

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime would report models and machines to its makers

__version__ = version("cyclegan-service")
