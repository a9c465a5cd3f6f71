"""Pictures in, bundles out: train a CycleGAN, judge it, export it. Needs torch; knows nothing of the service."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime tells its makers of models and machines
