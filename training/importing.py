"""Generators that others trained to bundles.

Their files name the weights as pytorch-CycleGAN-and-pix2pix does (Zhu et al., ICCV 2017; Isola et al., CVPR 2017), or
GAN Compression (Li et al., CVPR 2020), whose separable blocks may have any widths.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.bundle import Bundle, sha256_of
from training.config import ConfigError
from training.data import Pixels, list_pictures, read_pictures
from training.export import NO_LICENCE, PARITY_PICTURES, export_checked, write_bundle
from training.generators import Generator, ResnetGenerator, UnetGenerator, Widths

TAKEN = (
    "import takes the weights of ResNets and UNets, RGB to RGB and with instance norms without weights of their own, "
    "as pytorch-CycleGAN-and-pix2pix and GAN Compression save them"
)
KEYS = ("state_dict", "model", "model_state_dict", "netG", "G", "generator", "params")
"""Where a file that holds more than weights may have the generator's."""
UNUSED = ("running_mean", "running_var", "num_batches_tracked")
"""Statistics that old instance norms kept, and that their authors drop when they load them."""
TOLD = 3
"""Weights that an error names, of each kind."""

State = dict[str, Tensor]


class ImportRefused(ConfigError):
    """A file that no generator can be made from; the message names what does not fit."""


def import_generator(
    file: Path, direction: str, models: Path, size: int = 256, pictures: Path | None = None, about: str | None = None,
    licence: str = NO_LICENCE,
) -> Bundle:  # fmt: skip
    """The generator in `file`, trained at `size` pixels, as a bundle in `models`.

    It is checked against torch on the `pictures` in a folder, which INT8 is calibrated on too, or else on generated ones.
    Raises ImportRefused, ConfigError, ExportError.
    """
    source, target = _domains(direction)
    try:
        content = file.read_bytes()
        generator = _generator(_state(_load(content)))
    except OSError as error:
        raise ImportRefused(f"{file} cannot be read: {error.strerror}") from error
    except ImportRefused as refused:
        raise ImportRefused(f"{file}: {refused}. {TAKEN}") from None
    tests = read_pictures(list_pictures(pictures)[:PARITY_PICTURES], size) if pictures else _generated_pictures()
    exported = export_checked(generator, tests, tests if pictures else [])
    training = {"imported": {"file": file.name, "sha256": sha256_of(content)}, "about": about}
    return write_bundle(models, source, target, exported, licence=licence, trained_size=size, training=training, evaluation={})


def _domains(direction: str) -> tuple[str, str]:
    """`horse2zebra` is horse and zebra."""
    named = re.fullmatch(r"([A-Za-z013-9_-]+)2([A-Za-z013-9_-]+)", direction)
    if named is None or named[1] == named[2] or len(direction) > 100:
        raise ConfigError(
            f"--direction {direction}: name two domains in letters, digits other than 2, _ and -, with a 2 between, like horse2zebra"
        )
    return named[1], named[2]


def _load(content: bytes) -> Any:
    """What torch.save wrote, of tensors only: nothing in the file is run."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ImportRefused(f"it holds {code[1]} beside tensors, and none of it was run: save the state_dict() alone") from None
        raise ImportRefused("it is no file of weights that torch.save wrote") from error
    except Exception as error:  # a file may hold anything
        raise ImportRefused("it is no file of weights that torch.save wrote, or it is cut off") from error


def _state(loaded: Any) -> State:
    """The generator's weights by name, without what the generator does not use."""
    if isinstance(loaded, Mapping) and not _is_state(loaded):
        inside = [key for key in KEYS if _is_state(loaded.get(key))]
        if len(inside) != 1:
            held = ", ".join(map(str, list(loaded)[:20])) or "nothing"
            raise ImportRefused(f"it holds {held}: save the one generator's state_dict() alone, or as one of {', '.join(KEYS)}")
        loaded = loaded[inside[0]]
    if not _is_state(loaded):
        raise ImportRefused(f"it holds a {type(loaded).__name__} and no weights by name")
    return {re.sub(r"^(module\.)+", "", key): tensor for key, tensor in loaded.items() if not key.endswith(UNUSED)}


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _generator(state: State) -> Generator:
    """The generator that the names and shapes of its weights describe, in eval mode."""
    for name, tensor in state.items():
        if name.endswith(".filt"):
            raise ImportRefused(f"{name} is of an antialiasing layer, as CUT's generators have")
        if name.endswith(".weight") and tensor.ndim == 1:
            raise ImportRefused(f"{_told(name, tensor)} is of a batch norm or an affine instance norm")
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise ImportRefused(f"{name} holds other than finite floating point numbers")
    with torch.device("meta"):
        generator = _unet(state) if any(name.startswith("model.model.") for name in state) else _resnet(state)
    own = generator.state_dict()
    dropout = any(".conv_block.6." in name for name in state)  # which shifts the second convolution
    named = {name: name.replace(".conv_block.5.", ".conv_block.6.") if dropout else name for name in own}
    _check_fit(state, {named[name]: tensor for name, tensor in own.items()})
    generator.load_state_dict({name: state[named[name]].float() for name in own}, assign=True)
    return generator.eval()


def _resnet(state: State) -> ResnetGenerator:
    separable = "model.10.conv_block.1.conv.2.bias" in state
    inside = "conv_block.1.conv.2" if separable else "conv_block.1"
    n_blocks = sum(re.fullmatch(rf"model\.\d+\.{re.escape(inside)}\.bias", name) is not None for name in state)
    after = 10 + n_blocks
    nearest = f"model.{after + 2}.bias" in state
    widths = Widths(
        down=(_width(state, "model.1"), _width(state, "model.4"), _width(state, "model.7")),
        blocks=tuple(_width(state, f"model.{block}.{inside}") for block in range(10, after)),
        up=(_width(state, f"model.{after + 2}"), _width(state, f"model.{after + 7}"))
        if nearest
        else (_width(state, f"model.{after}"), _width(state, f"model.{after + 3}")),
    )
    return ResnetGenerator(widths, "nearest" if nearest else "transposed", separable)


def _unet(state: State) -> UnetGenerator:
    inner = sum(re.fullmatch(r"model\.model\.1(\.model\.3)*\.model\.1\.bias", name) is not None for name in state)
    return UnetGenerator(_width(state, "model.model.0"), 1 + max(1, inner))


def _width(state: State, convolution: str) -> int:
    """The channels that come out of a convolution; the usual 64 where the file has none of that name."""
    bias = state.get(f"{convolution}.bias")
    return 64 if bias is None else bias.numel()


def _check_fit(state: State, expected: State) -> None:
    """Raises ImportRefused, which names weights that are missing, of other shapes, or too many."""
    missing = [f"{_told(name, tensor)} is missing" for name, tensor in expected.items() if name not in state]
    differing = [
        f"{_told(name, state[name])} should be {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    unexpected = [f"{_told(name, tensor)} is one too many" for name, tensor in state.items() if name not in expected]
    if misfits := [*differing[:TOLD], *missing[:TOLD], *unexpected[:TOLD]]:
        raise ImportRefused("; ".join(misfits))


def _told(name: str, tensor: Tensor) -> str:
    return f"{name} {tuple(tensor.shape)}"


def _generated_pictures() -> list[Pixels]:
    """Smooth noise of a few sizes."""
    random = np.random.default_rng(0)
    noise = (random.integers(0, 256, (side, side, 3), np.uint8) for side in (4, 16, 64))
    sizes = ((256, 256), (320, 192), (128, 160))
    return [np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)) for pixels, size in zip(noise, sizes, strict=True)]
