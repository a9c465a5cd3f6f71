"""The model card: what a bundle is, how it was trained, its figures, and a few pictures."""

from typing import Any

from models.bundle import Manifest, Version
from training.judging.figures import faults, table

SAMPLES = "samples.jpg"
INT8_SAMPLES = "int8.jpg"


def model_card(manifest: Manifest, shown: str | None, has_int8_samples: bool = False) -> str:
    """Return the card of the manifest's only version, in Markdown. With a sheet of pictures if `shown` is its first direction."""
    (version,) = manifest.versions
    config = version.training.get("config")
    if config:
        back, origin = f"[{manifest.inverse}](../{manifest.inverse})", _trained(version)
        sides = _range(config["load_size"])
    else:
        back, origin, sides = manifest.inverse, _imported(version), f"about {version.trained_size}"
    sections = [
        f"# {manifest.direction}",
        f"Turns pictures of the domain *{manifest.source}* into pictures like those of *{manifest.target}*. The inverse is "
        f"{back}. A CycleGAN generator (Zhu et al., ICCV 2017): unpaired pictures, no supervision.",
    ]
    if shown:
        then = manifest.inverse if shown == manifest.direction else manifest.direction
        sections += [f"From left to right: a picture, {shown} of it, and {then} of that.", f"![samples]({SAMPLES})"]
    sections += [
        *origin,
        "## Evaluation",
        _evaluation(version.evaluation),
        *_precisions(version, has_int8_samples),
        "## Limits and licence",
        f"It works at the scale of its training: the effect is strongest on pictures whose shorter side is {sides} pixels, and gets finer "
        "above. It changes color and texture, not shape, and knows only what was in its training pictures.",
        f"Licence: {manifest.licence}",
    ]
    return "\n\n".join(sections) + "\n"


def _trained(version: Version) -> list[str]:
    training, config = version.training, version.training["config"]
    return [
        "## How it was trained",
        _table(
            {
                "version": version.version,
                "architecture": version.architecture,
                "started from": config.get("start"),
                "teacher": config.get("teacher"),
                "steps": f"{training['steps']:,} at batch size {config['batch_size']}",
                "crops": f"{config['crop_size']} pixels, from pictures whose shorter side is scaled to "
                f"{_range(config['load_size'])} pixels",
                "objective": f"{config['objective']}, lambda_cycle {config['lambda_cycle']}, "
                f"lambda_identity {config['lambda_identity']}, history pool of {config['pool_size']}"
                + (f", R1 {config['r1_gamma']:g}" if config["r1_gamma"] else ""),
                "critics": f"{config['discriminator']}, ndf {config['ndf']}, n_layers {config['n_layers']}, "
                f"{config.get('n_scales', 1)} scale(s), "
                f"{config.get('critic_norm', 'instance').replace('none', 'no')} norm"
                + (", spectral norm" if config.get("spectral_norm") else ""),
                "rate": f"Adam {config['lr']:g}, beta1 {config['beta1']:g}; the weights are the average at EMA {config['ema']:g}",
                "pictures": ", ".join(f"{count:,} of {name}" for name, count in training["pictures"].items()),
                "seed": config["seed"],
            }
        ),
        _about(version),
        "The whole configuration is in [model.json](model.json).",
        _losses(training["losses_first_1000_steps"], training["losses_last_1000_steps"]),
    ]


def _imported(version: Version) -> list[str]:
    imported = version.training["imported"]
    return [
        "## Where it comes from",
        f"Imported from `{imported['file']}`, a weight file of another program.",
        _table(
            {
                "version": version.version,
                "architecture": version.architecture,
                "crops": f"{version.trained_size} pixels",
                "height and width": f"multiples of {version.multiple}, {version.smallest_side} pixels at least",
                "sha256 of the file": f"`{imported['sha256']}`",
            }
        ),
        _about(version),
    ]


def _about(version: Version) -> str:
    return version.training["about"] or "Nothing was stated about the training pictures."


def _range(low_and_high: list[int]) -> str:
    low, high = low_and_high
    return f"{low} to {high}" if low < high else f"{low}"


def _losses(first: dict[str, float], last: dict[str, float]) -> str:
    if not last:
        return "There is no record of the losses."
    rows = "\n".join(f"| {name} | {first.get(name, float('nan')):.3f} | {value:.3f} |" for name, value in last.items())
    return f"| loss (mean) | first 1,000 steps | last 1,000 steps |\n|---|---|---|\n{rows}"


def _evaluation(evaluation: dict[str, Any]) -> str:
    parity = evaluation["parity"]
    checked = (
        f"The ONNX file differs from the trained weights in torch by {parity['mean_difference']:.3f}/255 on average and "
        f"{parity['max_difference']:.0f}/255 at most, on test pictures."
    )
    rows = "\n".join(f"| {row.name} | {' | '.join(cells)} | {row.meaning} |" for row, cells in table(evaluation))
    if not rows:
        return f"It was not evaluated. {checked}"
    beyond = faults(evaluation)
    failing = f"Worse than they should be: {', '.join(beyond)}." if beyond else "None of these figures is worse than it should be."
    return f"""Measured on test pictures. Floor: what real pictures of the target have; base: what untranslated pictures have.

| figure | value | floor | base | closed | what it means |
|---|---|---|---|---|---|
{rows}

{failing}

{checked}"""


def _precisions(version: Version, has_int8_samples: bool) -> list[str]:
    sentences = [
        f"{name} ({file.path}) differs from fp32 by {parity['mean_difference']:.2f}/255 on average{_worst(parity)}."
        for name, file in (("fp16, for CUDA,", version.file("fp16")), ("INT8, for CPUs with VNNI,", version.file("int8")))
        if file is not None and (parity := version.evaluation["parity"][file.precision])
    ]
    samples = (
        ["From left to right: a picture, its translation in fp32, and in INT8.", f"![INT8]({INT8_SAMPLES})"] if has_int8_samples else []
    )
    return [" ".join(sentences), *samples] if sentences else []


def _worst(parity: dict[str, float]) -> str:
    if "worst_picture" not in parity:  # manifests of older versions
        return ""
    return f", and by {parity['worst_picture']:.2f}/255 in the worst picture of both domains"


def _table(rows: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items() if value is not None)])
