"""The configuration file with which NVIDIA's Triton serves a folder of bundles as its model repository.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
"""

from models.bundle import ONNX, Manifest

CONFIG = "config.pbtxt"
MAX_BATCH_SIZE = 8
"""Pictures of one shape in a batch: Triton counts pictures, not pixels."""


def triton_config(manifest: Manifest) -> str:
    """Return a direction's `ModelConfig` in protobuf's text format: its newest version, in dynamic batches without a delay."""
    newest = max(manifest.versions, key=lambda version: version.version)
    return f"""\
# Triton does not pad: height and width must be multiples of {newest.multiple}, and at least {newest.smallest_side}.
name: "{manifest.direction}"
backend: "onnxruntime"
default_model_filename: "{ONNX}"
version_policy {{ latest {{ num_versions: 1 }} }}
max_batch_size: {MAX_BATCH_SIZE}
dynamic_batching {{ }}
input [ {{ name: "pictures" data_type: TYPE_UINT8 format: FORMAT_NHWC dims: [ -1, -1, 3 ] }} ]
output [ {{ name: "translations" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] }} ]
"""
