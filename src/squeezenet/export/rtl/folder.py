"""The files of an exported design.

>>> sorted(contents(exported))[:2]                                      # doctest: +SKIP
['Makefile', 'README.md']
"""

from dataclasses import dataclass
from importlib.resources import files
from math import prod
from textwrap import fill

import numpy as np
from numpy.typing import NDArray

from squeezenet.export.pictures import prepared
from squeezenet.export.rtl.plan import Plan
from squeezenet.export.rtl.resources import Use
from squeezenet.export.rtl.stages import Convolution, Stage
from squeezenet.export.rtl.text import comment
from squeezenet.export.rtl.verilog import design
from squeezenet.fixed_point import step
from squeezenet.model import Model
from squeezenet.printable import counted, printable
from squeezenet.version import __version__

PATIENCE = 30
"""The simulation gives up after so many times the cycles of an image without a logit."""


@dataclass(frozen=True)
class Exported:
    """What the text of the folder depends on."""

    model: Model
    name: str
    plan: Plan
    use: Use
    part: str
    pixels: list[NDArray[np.uint8]]
    """The test images: (height, width, channels), in the order R G B."""
    logits: list[NDArray[np.int32]]
    """Of each test image."""

    @property
    def skipped(self) -> float:
        """The share of the multiplications by weights that are 0 that are not done."""
        layers = [stage for stage in self.plan.stages if isinstance(stage, Convolution)]
        zeros = sum(stage.zero_macs for stage in layers)
        done = sum((stage.entries - stage.nonzero) * prod(stage.value.shape[1:]) for stage in layers)
        return 1 - done / zeros if zeros else 1.0


def template(name: str, **values: object) -> str:
    """A file of `templates/`, with `@NAME@` replaced by the value."""
    text = (files("squeezenet.export.rtl") / "templates" / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def stage_name(stage: Stage) -> str:
    """What a stage is, with the names of its layers."""
    return ", ".join(map(comment, stage.names)) if isinstance(stage, Convolution) else type(stage).__name__


def pixel_tables(model: Model) -> list[list[int]]:
    """For each byte of a pixel, the element of the network that each of its 256 values becomes."""
    channels = model.graph.input_shape[0]
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (1, 256, channels))
    scale = model.scales[0]
    elements = np.rint(prepared(ramp, model.preparation) * np.float32(step(-scale.exponent)))
    tables: list[list[int]] = np.clip(elements, scale.low, scale.high)[:, 0].astype(np.int64).tolist()
    return tables


def contents(e: Exported) -> dict[str, bytes]:
    """Path inside the folder -> contents."""
    channels, height, width = e.model.graph.input_shape
    names = [stage_name(stage) for stage in e.plan.stages]
    top = design(e.plan, names, e.model.preparation.channels, pixel_tables(e.model))
    last = e.plan.stages[-1].value
    modules = sorted(
        path.name for path in (files("squeezenet.export.rtl") / "templates").iterdir() if path.name.endswith(".v")
    )
    text = {
        **{f"rtl/{name}": template(name) for name in modules},
        "rtl/squeezenet_top.v": "\n".join(top.lines) + "\n",
        **top.files,
        "bench.cpp": template(
            "bench.cpp", CHANNELS=channels, PIXELS=height * width, CLASSES=last.shape[0], LOGIT_BITS=last.bits,
            SIGNED=str(last.signed).lower(), PATIENCE=PATIENCE * e.plan.cycles + 100_000,
        ),
        "Makefile": template(
            "Makefile", IMAGES=len(e.pixels),
            SOURCES=" ".join(f"rtl/{name}" for name in [*modules, "squeezenet_top.v"]),
        ),
        "example.lpf": template("example.lpf"),
        **({"labels.txt": "".join(f"{printable(label)}\n" for label in e.model.labels)} if e.model.labels else {}),
        "test/logits.txt": "".join(f"{logit}\n" for logits in e.logits for logit in logits.tolist()),
        "README.md": _readme(e),
    }  # fmt: skip
    return {
        **{name: written.encode() for name, written in text.items()},
        "test/images.bin": b"".join(np.ascontiguousarray(pixels).tobytes() for pixels in e.pixels),
    }


def _readme(e: Exported) -> str:
    channels, height, width = e.model.graph.input_shape
    last, p = e.plan.stages[-1].value, e.model.preparation
    resize = (
        "stretch it to" if p.fit == "stretch" else "keep its aspect ratio; resize it to the smallest size that covers"
    )
    meaning = "The highest one belongs to the best class."
    if e.model.outputs == "labels":
        meaning = "A logit above 0 says that the image has this label."
    if e.model.labels:
        meaning += " `labels.txt` has the names, in the order of the logits."
    figures = [
        ("cycles of an image, by plan", f"{e.plan.cycles:,}"),
        ("images a second at 80 MHz", f"{80_000_000 // e.plan.cycles:,}"),
        ("multipliers of 18 x 18 bits", f"{e.use.multipliers:,}"),
        (f"block RAMs, as in the part {e.part}", f"{e.use.block_rams:,}"),
        ("bits in memories", f"{e.use.memory_bits:,}"),
    ]
    rows = ["| | stage | L | cycles of an image |", "|-|-|-|-|"]
    for number, (stage, stream, time) in enumerate(zip(e.plan.stages, e.plan.streams, e.plan.times, strict=True)):
        rows.append(f"| {number} | {stage_name(stage)} | {stream.lanes} | {time:,} |")
    order = "grey" if channels == 1 else "red in the lowest byte, then green, then blue"
    return template(
        "README.md", MODEL=comment(e.name), VERSION=__version__, CYCLES=f"{e.plan.cycles:,}",
        SKIPPED=f"{100 * e.skipped:.1f}", FIGURES="\n".join(f"| {what} | {value} |" for what, value in figures),
        IMAGES=counted(len(e.pixels), "image"), PIXEL_BITS=8 * channels, ORDER=order, LOGIT_BITS=last.bits,
        LOGIT_FORM="signed" if last.signed else "not signed",
        PREPARATION=fill(
            f"{resize} {p.resized[1]} x {p.resized[0]} pixels; then cut out the middle {width} x {height}.", 90,
            subsequent_indent="   ",
        ),
        PIXELS=f"{width * height:,}", CLASSES=last.shape[0], MEANING=meaning, STEP=f"{e.model.scales[-1].step:.9g}",
        STAGES="\n".join(rows),
    )  # fmt: skip
