"""Training, evaluation and export of CycleGANs. Needs torch, and does not import the service."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime would send data about models and machines
