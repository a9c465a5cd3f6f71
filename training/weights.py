"""A run's generators as weight files for other programs: .pth with the names of pytorch-CycleGAN-and-pix2pix, and safetensors."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from training.checkpoints import WHOLE_GENERATOR_FIELDS, load_generators
from training.files import write_atomic

log = logging.getLogger(__name__)

FILES = {"G": "latest_net_G_A", "F": "latest_net_G_B"}
"""The other programs' names of the two generators."""
FIELDS = "generator_fields"
"""The key in a safetensors file's metadata that holds the fields of the generator's configuration, as JSON."""


def write_weights(run: Path, folder: Path, best: bool = False) -> Iterator[Path]:
    """Write both generators in fp32 as `.safetensors`, and as `.pth` if other programs have the same layers. Yields each written file."""
    config, generators, step = load_generators(run, best)
    folder.mkdir(parents=True, exist_ok=True)
    has_usual_layers = (
        config.generator != "mobile_resnet"
        and config.trunk in (None, 4 * config.ngf)
        and (config.downsampling, config.upsampling) == ("strided", "transposed")
        and not config.skip
        and not config.color_skip
    )
    if not has_usual_layers:
        log.warning(
            "no .pth files: other programs have no downsampling=%s, upsampling=%s, skip or color_skip, and would misread the weights",
            config.downsampling, config.upsampling,
        )  # fmt: skip
    fields = json.dumps({name: getattr(config, name) for name in WHOLE_GENERATOR_FIELDS})
    for name, generator in generators.items():
        state = {key: tensor.contiguous() for key, tensor in generator.state_dict().items()}
        metadata = {"architecture": generator.architecture, "steps": str(step), FIELDS: fields}
        contents = {".safetensors": safetensors.torch.save(state, metadata)}
        if has_usual_layers:
            pth = io.BytesIO()
            torch.save(state, pth)
            contents[".pth"] = pth.getvalue()
        for suffix, content in contents.items():
            path = folder / f"{FILES[name]}{suffix}"
            write_atomic(path, content)
            yield path


def read_fields(content: bytes) -> dict[str, Any] | None:
    """Return the configuration fields in a safetensors file from `write_weights`; None for files of other programs."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    fields = header.get("__metadata__", {}).get(FIELDS)
    return json.loads(fields) if fields else None
