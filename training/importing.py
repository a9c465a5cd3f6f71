"""Generators that others trained to bundles.

Their files name the weights as pytorch-CycleGAN-and-pix2pix does (Zhu et al., ICCV 2017; Isola et al., CVPR 2017), or
GAN Compression (Li et al., CVPR 2020), whose separable blocks may have any widths, or CUT, whose strides blur.
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
from training.antialiased import AntialiasedGenerator
from training.config import ConfigError, make_config
from training.data import list_pictures, read_pictures
from training.export import NO_LICENCE, PARITY_PICTURES, check_bundles, write_bundle
from training.generators import Generator, ResnetGenerator, UnetGenerator, Widths, make_generator
from training.graph import export_checked
from training.records import records
from training.weights import read_fields

TAKEN = (
    "import takes the weights of ResNets and UNets, RGB to RGB and with instance norms without weights of their own, "
    "as pytorch-CycleGAN-and-pix2pix, GAN Compression and CUT save them"
)
KEYS = ("state_dict", "model", "model_state_dict", "netG", "G", "generator", "params")
"""Where a file that holds more than weights may have the generator's."""
UNUSED = ("running_mean", "running_var", "num_batches_tracked")
"""Statistics that old instance norms kept, and that their authors drop when they load them."""
WRAPPERS = "_orig_mod|module|_forward_module"
"""What torch.compile, DataParallel and DeepSpeed put before names."""
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

    It is checked against torch on every other one of the `pictures` in a folder, while INT8 is calibrated on the rest; or else on
    generated ones.
    Raises ImportRefused, ConfigError, ExportError.
    """
    source, target = _domains(direction)
    check_bundles(models, direction)
    try:
        content = file.read_bytes()
        generator = read_generator(content)
    except OSError as error:
        raise ImportRefused(f"{file} cannot be read: {error.strerror}") from error
    except ImportRefused as refused:
        raise ImportRefused(f"{file}: {refused}. {TAKEN}") from None
    tests = read_pictures(list_pictures(pictures)[:PARITY_PICTURES], size) if pictures else []
    exported = export_checked(generator, tests[::2], tests[1::2])
    imported = {"file": file.name, "sha256": sha256_of(content)}
    training = {"imported": imported, "about": about, "records": {"import": records()}}
    return write_bundle(models, source, target, exported, licence=licence, trained_size=size, training=training, evaluation={})


def read_generator(content: bytes) -> Generator:
    """The generator of a file's weights, in eval mode. Raises ImportRefused."""
    state = _state(_load(content))
    if _is_safetensors(content) and (fields := read_fields(content)):  # which this project wrote
        generator = make_generator(make_config(fields | {"source": "source", "target": "target"}))
        _check_fit(state, generator.state_dict())
        generator.load_state_dict(state)
        return generator.eval()
    return _generator(state)


def _domains(direction: str) -> tuple[str, str]:
    """`horse2zebra` is horse and zebra."""
    named = re.fullmatch(r"([A-Za-z013-9_-]+)2([A-Za-z013-9_-]+)", direction)
    if named is None or named[1] == named[2] or len(direction) > 100:
        raise ConfigError(
            f"--direction {direction}: name two domains in letters, digits other than 2, _ and -, with a 2 between, like horse2zebra"
        )
    return named[1], named[2]


def _load(content: bytes) -> Any:
    """What torch.save or safetensors wrote, of tensors only: nothing in the file is run."""
    if foreign := _foreign(content):
        raise ImportRefused(foreign)
    try:
        if _is_safetensors(content):
            return safetensors.torch.load(content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ImportRefused(f"it holds {code[1]} beside tensors, and none of it was run: save the state_dict() alone") from None
        raise ImportRefused("it is no file of weights that torch.save wrote") from error
    except Exception as error:  # a file may hold anything
        raise ImportRefused("it is no file of weights that torch.save or safetensors wrote, or it is cut off") from error


def _is_safetensors(content: bytes) -> bool:
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content)


def _foreign(content: bytes) -> str | None:
    """What a file is that weights are not read from, and how to get them; None for all others."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
        if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
            return "it is TorchScript, a program: save its weights alone, torch.save(torch.jit.load(FILE).state_dict(), 'net.pth')"
        if any(name.endswith(("serialized_exported_program.json", "/models/model.json")) for name in names):
            return "it is a program of torch.export: save its weights alone, torch.save(torch.export.load(FILE).state_dict, 'net.pth')"
        if any(name.endswith(".weights.h5") for name in names):
            return "it is of Keras: only weights of PyTorch are read"
    if content.startswith(b"\x89HDF"):
        return "it is HDF5, as Keras and TensorFlow save weights: only weights of PyTorch are read"
    if content.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the file itself: fetch it with git lfs pull"
    if content.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, not the file that was to be downloaded"
    if (b"pytorch" in content[:64] and content[:1] == b"\x08") or b"ai.onnx" in content[-64:]:
        return "it is ONNX already: what a bundle holds beside it is made from weights, so import those"
    return None


def _state(loaded: Any) -> State:
    """The generator's weights by name, without what the generator does not use."""
    if isinstance(loaded, Mapping) and not _is_state(loaded):
        if {"config", "step", "ema"} <= loaded.keys():
            raise ImportRefused("it is the checkpoint of a run of this program: export --run FOLDER makes bundles of it")
        inside = [key for key in KEYS if _is_state(loaded.get(key))]
        if len(inside) != 1:
            held = ", ".join(map(str, list(loaded)[:20])) or "nothing"
            raise ImportRefused(f"it holds {held}: save the one generator's state_dict() alone, or as one of {', '.join(KEYS)}")
        loaded = loaded[inside[0]]
    if not _is_state(loaded):
        raise ImportRefused(f"it holds a {type(loaded).__name__} and no weights by name")
    named = {re.sub(rf"^(({WRAPPERS})\.)+", "", key): tensor for key, tensor in loaded.items() if not key.endswith(UNUSED)}
    while len(outer := {name.partition(".")[0] for name in named}) == 1 and outer != {"model"}:  # as of a Lightning module
        if not all(inner := [name.partition(".")[2] for name in named]):
            break
        named = dict(zip(inner, named.values(), strict=True))
    return named


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _generator(state: State) -> Generator:
    """The generator that the names and shapes of its weights describe, in eval mode."""
    for name, tensor in state.items():
        if name.endswith(".weight") and tensor.ndim == 1:
            raise ImportRefused(f"{_told(name, tensor)} is of a batch norm or an affine instance norm")
        if tensor.layout != torch.strided or tensor.is_meta:
            raise ImportRefused(f"{name} is {'without its numbers' if tensor.is_meta else 'sparse'}: save it dense")
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise ImportRefused(f"{name} holds other than finite floating point numbers")
    with torch.device("meta"):
        generator = _make(state)
    own = generator.state_dict()
    dropout = any(".conv_block.6." in name for name in state)  # which shifts the second convolution
    named = {name: name.replace(".conv_block.5.", ".conv_block.6.") if dropout else name for name in own}
    _check_fit(state, {named[name]: tensor for name, tensor in own.items()})
    generator.load_state_dict({name: state[named[name]].float() for name in own}, assign=True)
    return generator.eval()


def _make(state: State) -> Generator:
    if any(name.startswith("model.model.") for name in state):
        return _unet(state)
    return _antialiased(state) if any(name.endswith(".filt") for name in state) else _resnet(state)


def _antialiased(state: State) -> AntialiasedGenerator:
    """CUT's, whose filters stand among the layers."""
    n_blocks = sum(re.fullmatch(r"model\.\d+\.conv_block\.1\.bias", name) is not None for name in state)
    after = 12 + n_blocks
    blurred_up = f"model.{after}.filt" in state
    up = (after + 1, after + 5) if blurred_up else (after, after + 3)
    widths = Widths(
        down=(_width(state, "model.1"), _width(state, "model.4"), _width(state, "model.8")),
        blocks=tuple(_width(state, f"model.{block}.conv_block.1") for block in range(12, after)),
        up=(_width(state, f"model.{up[0]}"), _width(state, f"model.{up[1]}")),
    )
    return AntialiasedGenerator(widths, blurred_up)


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
