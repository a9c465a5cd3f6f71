"""A run's generators as files of weights that others read: with the names of pytorch-CycleGAN-and-pix2pix, and as safetensors."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from training.checkpoints import WHOLE_GENERATOR_FIELDS, load_generators
from training.config import TrainingConfig
from training.files import whole

log = logging.getLogger(__name__)

FILES = {"G": "latest_net_G_A", "F": "latest_net_G_B"}
"""What others call the two mappings."""
FIELDS = "generator_fields"
"""In a safetensors file's metadata: what of the configuration makes the generator, as JSON."""


def write_weights(run: Path, folder: Path, best: bool = False) -> Iterator[Path]:
    """Both generators in fp32, as `.safetensors`, and as `.pth` where others' programs have the same layers. Yields each file as it is
    written."""
    config, generators, step = load_generators(run, best)
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_usual(config):
        log.warning(
            "no .pth files: others have no downsampling=%s, upsampling=%s, skip or color_skip, and would take the weights for other ones",
            config.downsampling, config.upsampling,
        )  # fmt: skip
    fields = json.dumps({name: getattr(config, name) for name in WHOLE_GENERATOR_FIELDS})
    for name, generator in generators.items():
        state = {key: tensor.contiguous() for key, tensor in generator.state_dict().items()}
        metadata = {"architecture": generator.architecture, "steps": str(step), FIELDS: fields}
        contents = {".safetensors": safetensors.torch.save(state, metadata)}
        if _is_usual(config):
            pth = io.BytesIO()
            torch.save(state, pth)
            contents[".pth"] = pth.getvalue()
        for suffix, content in contents.items():
            path = folder / f"{FILES[name]}{suffix}"
            with whole(path) as file:
                file.write(content)
            yield path


def _is_usual(config: TrainingConfig) -> bool:
    plain = config.generator != "mobile_resnet" and config.trunk in (None, 4 * config.ngf)
    return plain and config.downsampling == "strided" and config.upsampling == "transposed" and not config.skip and not config.color_skip


def read_fields(content: bytes) -> dict[str, Any] | None:
    """What `write_weights` wrote of the generator into a safetensors file; None in others' files."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    fields = header.get("__metadata__", {}).get(FIELDS)
    return json.loads(fields) if fields else None
