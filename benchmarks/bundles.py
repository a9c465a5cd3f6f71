"""Bundles to measure with: an empty generator, the shipped small one, and one of the paper's size."""

from pathlib import Path

from onnx import TensorProto, helper

from models.bundle import Bundle, Manifest, ModelFile, Precision, Version, load_bundle, sha256_of, write_version
from models.processor import has_vnni

SHIPPED = Path(__file__).parent.parent / "models" / "photo2monet"
SHAPE: list[str | int | None] = ["batch", "height", "width", 3]
LICENCE = "This bundle exists only for benchmarks."


def null_bundle(models: Path) -> Bundle:
    """Write a generator that returns its input, so that only the cost of serving is left."""
    pictures, translations = (helper.make_tensor_value_info(name, TensorProto.UINT8, SHAPE) for name in ("pictures", "translations"))
    graph = helper.make_graph([helper.make_node("Identity", ["pictures"], ["translations"])], "null", [pictures], [translations])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return _write(models, "null", "none", {"fp32": model.SerializeToString()})


def lite_bundle(models: Path) -> Bundle:
    """Copy the shipped photo2monet and its inverse."""
    models.mkdir()
    for name in (SHIPPED.name, load_bundle(SHIPPED).manifest.inverse):
        (models / name).symlink_to(SHIPPED.with_name(name))
    return load_bundle(models / SHIPPED.name)


def standard_bundle(models: Path) -> Bundle:
    """Write a generator of the `standard` preset with random weights, which do not affect speed: fp32, fp16 and, on a CPU with VNNI, INT8
    in all convolutions."""
    import torch  # imported here because it takes seconds and half a gigabyte

    from training.config import load_config
    from training.generators import make_generator
    from training.graph import to_onnx
    from training.precision import halve, quantise

    torch.manual_seed(0)
    generator = make_generator(load_config("standard", source=models / "x", target=models / "y")).eval()
    whole = to_onnx(generator)
    files: dict[Precision, bytes] = {"fp32": whole, "fp16": halve(whole)}
    if has_vnni():
        noise = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8).numpy()
        files["int8"] = quantise(whole, [noise])
    return _write(models, "standard", generator.architecture, files, generator.multiple, generator.smallest_side)


def _write(
    models: Path, direction: str, architecture: str, files: dict[Precision, bytes], multiple: int = 1, smallest_side: int = 1
) -> Bundle:
    entries = tuple(
        ModelFile(
            path=f"1/{precision}.onnx", precision=precision, sha256=sha256_of(content),
            device={"fp32": "any", "fp16": "cuda", "int8": "cpu-vnni"}[precision],
        )
        for precision, content in files.items()
    )  # fmt: skip
    version = Version(
        version=1, architecture=architecture, trained_size=256, multiple=multiple, smallest_side=smallest_side, files=entries,
        training={}, evaluation={},
    )  # fmt: skip
    manifest = Manifest(direction=direction, source="noise", target="noise", inverse=direction, licence=LICENCE, versions=(version,))
    return write_version(models / direction, manifest, list(files.values()), {})
