"""Importing generators of other programs as bundles.

Their weights have the names of pytorch-CycleGAN-and-pix2pix (Zhu et al., ICCV 2017; Isola et al., CVPR 2017), GAN Compression (Li et
al., CVPR 2020), whose separable blocks may have any widths, or CUT, whose downsampling blurs.
"""

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from models.bundle import Bundle, sha256_of
from training.config import ConfigError, make_config
from training.data import list_pictures, read_pictures
from training.export import NO_LICENCE, PARITY_PICTURES, check_bundles, write_bundle
from training.generators import Generator, ResnetGenerator, UnetGenerator, Widths, make_generator
from training.graph import export_checked
from training.records import records
from training.weights import read_fields

SUPPORTED = (
    "import takes the weights of ResNets and UNets that translate RGB to RGB, with instance norms that have no weights, "
    "as saved by pytorch-CycleGAN-and-pix2pix, GAN Compression and CUT"
)
KEYS = ("state_dict", "model", "model_state_dict", "netG", "G", "generator", "params")
"""The keys that may hold the generator's weights in a file with more than weights."""
UNUSED = ("running_mean", "running_var", "num_batches_tracked")
"""Statistics of old instance norms, which their authors also drop when loading."""
WRAPPERS = "_orig_mod|module|_forward_module"
"""Prefixes that torch.compile, DataParallel and DeepSpeed add to names."""
NAMED = 3
"""How many weights of each kind an error names."""

State = dict[str, Tensor]


class ImportRefused(ConfigError):
    """A file that cannot be imported. The message says what does not fit."""


def import_generator(
    file: Path, direction: str, models: Path, size: int = 256, pictures: Path | None = None, about: str | None = None,
    licence: str = NO_LICENCE,
) -> Bundle:  # fmt: skip
    """Write the generator in `file`, trained at `size` pixels, as a bundle in `models`.

    Half of the `pictures` in a folder are used to compare it with torch, the other half to calibrate INT8. Without them, generated
    pictures are used and there is no INT8. Raises ImportRefused, ConfigError, ExportError.
    """
    source, target = _domains(direction)
    check_bundles(models, direction)
    try:
        content = file.read_bytes()
        generator = read_generator(content)
    except OSError as error:
        raise ImportRefused(f"{file} cannot be read: {error.strerror}") from error
    except ImportRefused as refused:
        raise ImportRefused(f"{file}: {refused}. {SUPPORTED}") from None
    tests = read_pictures(list_pictures(pictures)[:PARITY_PICTURES], size) if pictures else []
    exported = export_checked(generator, tests[::2], tests[1::2])
    imported = {"file": file.name, "sha256": sha256_of(content)}
    training = {"imported": imported, "about": about, "records": {"import": records()}}
    return write_bundle(models, source, target, exported, licence=licence, trained_size=size, training=training, evaluation={})


def read_generator(content: bytes) -> Generator:
    """Return the generator of a weight file, in eval mode. Raises ImportRefused."""
    state = _state(_load(content))
    if _is_safetensors(content) and (fields := read_fields(content)):  # written by this project
        generator = make_generator(make_config(fields | {"source": "source", "target": "target"}))
        _check_fit(state, generator.state_dict())
        generator.load_state_dict(state)
        return generator.eval()
    return _generator(state)


def _domains(direction: str) -> tuple[str, str]:
    """Return the domains of a direction: horse and zebra for `horse2zebra`. Raises ConfigError."""
    match = re.fullmatch(r"([A-Za-z013-9_-]+)2([A-Za-z013-9_-]+)", direction)
    if match is None or match[1] == match[2] or len(direction) > 100:
        raise ConfigError(
            f"--direction {direction}: name two domains of letters, digits except 2, _ and -, with a 2 between them, like horse2zebra"
        )
    return match[1], match[2]


def _load(content: bytes) -> Any:
    """Load a file of torch.save or safetensors that has only tensors. No code in the file is run. Raises ImportRefused."""
    if reason := _other_format(content):
        raise ImportRefused(reason)
    try:
        if _is_safetensors(content):
            return safetensors.torch.load(content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ImportRefused(f"it has {code[1]} in addition to tensors, which was not run: save only the state_dict()") from None
        raise ImportRefused("it is not a weight file of torch.save") from error
    except Exception as error:  # a file may hold anything
        raise ImportRefused("it is not a weight file of torch.save or safetensors, or it is cut off") from error


def _is_safetensors(content: bytes) -> bool:
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content)


def _other_format(content: bytes) -> str | None:
    """Recognize a file of another kind: return what it is, and how to get the weights. None if the kind is not known."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
        if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
            return "it is TorchScript, a program: save only its weights, torch.save(torch.jit.load(FILE).state_dict(), 'net.pth')"
        if any(name.endswith(("serialized_exported_program.json", "/models/model.json")) for name in names):
            return "it is a program of torch.export: save only its weights, torch.save(torch.export.load(FILE).state_dict, 'net.pth')"
        if any(name.endswith(".weights.h5") for name in names):
            return "it is a Keras file: only weights of PyTorch can be imported"
    if content.startswith(b"\x89HDF"):
        return "it is HDF5, the format of Keras and TensorFlow: only weights of PyTorch can be imported"
    if content.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself: fetch it with git lfs pull"
    if content.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, not the file to download"
    if (b"pytorch" in content[:64] and content[:1] == b"\x08") or b"ai.onnx" in content[-64:]:
        return "it is ONNX already: a bundle needs the PyTorch weights, so import those"
    return None


def _state(loaded: Any) -> State:
    """Return the generator's weights by name, without prefixes and unused statistics. Raises ImportRefused."""
    if isinstance(loaded, Mapping) and not _is_state(loaded):
        if {"config", "step", "ema"} <= loaded.keys():
            raise ImportRefused("it is a checkpoint of this program: make bundles of it with export --run FOLDER")
        states = [key for key in KEYS if _is_state(loaded.get(key))]
        if len(states) != 1:
            keys = ", ".join(map(str, list(loaded)[:20])) or "nothing"
            raise ImportRefused(f"it has {keys}: save only the state_dict() of one generator, or as one of {', '.join(KEYS)}")
        loaded = loaded[states[0]]
    if not _is_state(loaded):
        raise ImportRefused(f"it has a {type(loaded).__name__} instead of weights by name")
    named = {re.sub(rf"^(({WRAPPERS})\.)+", "", key): tensor for key, tensor in loaded.items() if not key.endswith(UNUSED)}
    while len(outer := {name.partition(".")[0] for name in named}) == 1 and outer != {"model"}:  # a prefix, like that of a Lightning module
        if not all(inner := [name.partition(".")[2] for name in named]):
            break
        named = dict(zip(inner, named.values(), strict=True))
    return named


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _generator(state: State) -> Generator:
    """Return the generator for the names and shapes of the weights, in eval mode. Raises ImportRefused."""
    for name, tensor in state.items():
        if name.endswith(".weight") and tensor.ndim == 1:
            raise ImportRefused(f"{_describe(name, tensor)} belongs to a batch norm or an affine instance norm")
        if tensor.layout != torch.strided or tensor.is_meta:
            raise ImportRefused(f"{name} {'has no data' if tensor.is_meta else 'is sparse'}: save it dense")
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise ImportRefused(f"{name} has values that are not finite floating point numbers")
    with torch.device("meta"):
        generator: Generator = _unet(state) if any(name.startswith("model.model.") for name in state) else _resnet(state)
    own = generator.state_dict()
    dropout = any(".conv_block.6." in name for name in state)  # it shifts the second convolution
    named = {name: name.replace(".conv_block.5.", ".conv_block.6.") if dropout else name for name in own}
    _check_fit(state, {named[name]: tensor for name, tensor in own.items()})
    generator.load_state_dict({name: state[named[name]].float() for name in own}, assign=True)
    return generator.eval()


def _resnet(state: State) -> ResnetGenerator:
    """Derive a ResNet's widths. CUT's filters stand among the layers and shift their numbers."""
    antialiased = any(name.endswith(".filt") for name in state)
    separable = "model.10.conv_block.1.conv.2.bias" in state
    inside = "conv_block.1.conv.2" if separable else "conv_block.1"
    start = 12 if antialiased else 10
    after = start + sum(re.fullmatch(rf"model\.\d+\.{re.escape(inside)}\.bias", name) is not None for name in state)
    if f"model.{after}.filt" in state:
        upsampling, up = "antialiased", (after + 1, after + 5)
    elif f"model.{after + 2}.bias" in state:
        upsampling, up = "nearest", (after + 2, after + 7)
    else:
        upsampling, up = "transposed", (after, after + 3)
    widths = Widths(
        down=(_width(state, "model.1"), _width(state, "model.4"), _width(state, f"model.{8 if antialiased else 7}")),
        blocks=tuple(_width(state, f"model.{block}.{inside}") for block in range(start, after)),
        up=(_width(state, f"model.{up[0]}"), _width(state, f"model.{up[1]}")),
    )
    return ResnetGenerator(widths, upsampling, separable, downsampling="antialiased" if antialiased else "strided")


def _unet(state: State) -> UnetGenerator:
    inner = sum(re.fullmatch(r"model\.model\.1(\.model\.3)*\.model\.1\.bias", name) is not None for name in state)
    return UnetGenerator(_width(state, "model.model.0"), 1 + max(1, inner))


def _width(state: State, convolution: str) -> int:
    """Return the output channels of a convolution; the usual 64 if the file does not have it."""
    bias = state.get(f"{convolution}.bias")
    return 64 if bias is None else bias.numel()


def _check_fit(state: State, expected: State) -> None:
    """Raise ImportRefused if weights are missing, have other shapes, or are unexpected."""
    missing = [f"{_describe(name, tensor)} is missing" for name, tensor in expected.items() if name not in state]
    differing = [
        f"{_describe(name, state[name])} should be {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    unexpected = [f"{_describe(name, tensor)} is unexpected" for name, tensor in state.items() if name not in expected]
    if misfits := [*differing[:NAMED], *missing[:NAMED], *unexpected[:NAMED]]:
        raise ImportRefused("; ".join(misfits))


def _describe(name: str, tensor: Tensor) -> str:
    return f"{name} {tuple(tensor.shape)}"
