"""What this CPU makes of scaled decoding and of INT8: no servers."""

import io
from statistics import median

from PIL import Image

from benchmarks import pictures, sessions
from benchmarks.report import Finding, ratios
from benchmarks.serving import SIDE, Bench
from models.bundle import Bundle
from service.engine.sessions import CPU, has_vnni, new_session
from service.pictures.decode import decode, open_picture
from service.settings import usable_cpus


def decoding(bench: Bench) -> None:
    """A JPEG as telephones take it, for a translation at 512 pixels: the service's way, and all of its pixels first."""
    content = pictures.jpeg(pictures.mosaic(4000, 3000))

    def full() -> Image.Image:
        whole = Image.open(io.BytesIO(content)).convert("RGB")
        return whole.resize((512, 384), Image.Resampling.LANCZOS, reducing_gap=3.0)

    took: dict[str, list[float]] = {"scaled": [], "full": []}
    for _ in range(bench.rounds):
        took["scaled"].append(sessions.repeat(lambda: decode(open_picture(content, 50_000_000), 512), bench.seconds / 5).p50_ms)
        took["full"].append(sessions.repeat(full, bench.seconds / 5).p50_ms)
    measured = f"{ratios(took['scaled'], took['full'])}: {median(took['scaled']):.0f} and {median(took['full']):.0f} ms"
    what = "12-megapixel JPEG to 512 pixels: scaled decode and shrink / full decode and shrink"
    bench.report.findings.append(Finding(what, measured, "at most 0.33"))


def int8(bench: Bench, name: str, bundle: Bundle, asked: str, photographs: bool) -> None:
    """One picture at a time; on photographs also how far INT8 is from fp32, where the weights mean something."""
    path = bundle.path("int8")
    if path is None or not has_vnni():
        bench.report.findings.append(Finding(f"{name}: INT8 / fp32 session", "this CPU has no VNNI", asked))
        return
    whole, quantised = (new_session(each, [CPU], usable_cpus()) for each in (bundle.onnx, path))
    shown = [pictures.pixels(content) for content in pictures.squares(SIDE, len(pictures.PHOTOGRAPHS))]
    rows = bench.side_by_side(
        name, "session, one picture at a time",
        {
            "fp32": lambda: sessions.repeat(lambda: sessions.run(whole, shown[0][None]), bench.seconds),
            "INT8": lambda: sessions.repeat(lambda: sessions.run(quantised, shown[0][None]), bench.seconds),
        },
    )  # fmt: skip
    speeds = ([load.per_second for load in rows[precision].rounds] for precision in ("INT8", "fp32"))
    bench.report.findings.append(Finding(f"{name}: INT8 / fp32 session", ratios(*speeds), asked))
    if photographs:
        difference = sessions.mean_difference(whole, quantised, shown)
        bench.report.findings.append(
            Finding(f"{name}: mean difference of INT8 from fp32 on {len(shown)} photographs", f"{difference:.2f}/255", "under 2/255")
        )
