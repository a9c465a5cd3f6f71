"""Measure scaled decoding and INT8 on this CPU, without servers."""

import io
from functools import partial

from PIL import Image

from benchmarks import pictures, sessions
from benchmarks.report import MISSING, Finding, ratios
from benchmarks.serving import SIDE, Bench
from models.bundle import Bundle
from models.processor import has_vnni
from pictures.decode import decode, open_picture
from service.engine.sessions import CPU, open_session
from service.machine import usable_cpus


def decoding(bench: Bench) -> None:
    """Decode a phone's JPEG to 512 pixels: as the service does, and with a full decode first."""
    content = pictures.jpeg(pictures.mosaic(4000, 3000))

    def scaled() -> None:
        decode(open_picture(content, 50_000_000), 512)

    def full() -> None:
        Image.open(io.BytesIO(content)).convert("RGB").resize((512, 384), Image.Resampling.LANCZOS, reducing_gap=3.0)

    contenders = {f"{way.__name__} decode": partial(sessions.repeat, way, bench.seconds / 2) for way in (scaled, full)}
    rows = bench.side_by_side(MISSING, "12-megapixel JPEG to 512 pixels", contenders)
    speeds = [[load.per_second for load in rows[name].rounds] for name in reversed(contenders)]
    bench.report.findings.append(
        Finding("12-megapixel JPEG to 512 pixels: time of a scaled decode / full decode", ratios(*speeds), "at most 0.33")
    )


def int8(bench: Bench, name: str, bundle: Bundle, bar: str, photographs: bool) -> None:
    """Compare INT8 with fp32, one picture at a time; for trained weights, also their difference on photographs."""
    what, path = f"{name}: INT8 / fp32 session", bundle.path("int8")
    if path is None or not has_vnni():
        bench.report.findings.append(Finding(what, "nothing was measured: this CPU has no VNNI", bar))
        return
    full_precision, quantised = (open_session(each, [CPU], usable_cpus()) for each in (bundle.onnx, path))
    samples = [pictures.pixels(content) for content in pictures.squares(SIDE, len(pictures.PHOTOGRAPHS))]
    contenders = {
        precision: partial(sessions.repeat, partial(sessions.run, session, samples[0][None]), bench.seconds)
        for precision, session in {"INT8": quantised, "fp32": full_precision}.items()
    }
    rows = bench.side_by_side(name, "session, one picture at a time", contenders)
    speeds = ([load.per_second for load in rows[precision].rounds] for precision in contenders)
    bench.report.findings.append(Finding(what, ratios(*speeds), bar))
    if photographs:
        difference = sessions.mean_difference(full_precision, quantised, samples)
        what = f"{name}: mean difference of INT8 from fp32 on {len(samples)} photographs"
        bench.report.findings.append(Finding(what, f"{difference:.2f}/255", "under 2/255"))
