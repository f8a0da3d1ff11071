"""Writes a folder with a network in Verilog.

>>> export(model, "digits", Path("digits-rtl"), cycles=8000)["cycles"]  # doctest: +SKIP
7632
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import UnsupportedOperation
from squeezenet.export.folders import MARKER, may_write, put
from squeezenet.export.pictures import drawing, picture, prepared
from squeezenet.export.rtl.folder import Exported, contents, stage_name
from squeezenet.export.rtl.parts import PARTS, Part
from squeezenet.export.rtl.plan import Plan, plan
from squeezenet.export.rtl.resources import use
from squeezenet.export.rtl.stages import Stage, refusal, stages
from squeezenet.model import Model
from squeezenet.printable import printable
from squeezenet.runtime.run import runner
from squeezenet.version import __version__

FOLDERS = (".", "rtl", "mem", "test")
"""The folders in it."""

FASTER = (0.7, 0.9, 0.97)
"""The search for the fastest plan that fits into a part lowers the goal by these factors, as long as it fits."""


def export(
    model: Model,
    name: str,
    out: Path,
    *,
    cycles: int = 0,
    part: str = "ecp5-85f",
    images: list[Path] | list[NDArray[np.uint8]] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write the folder `out`; returns the JSON object of the verb.

    `cycles`: the goal for an image; 0: as few as fit into the part. The test images are files, or pixels of shape
    (height, width, channels); without them, drawings.
    """
    if reason := refusal(model):
        raise UnsupportedOperation(reason)
    may_write(out, "rtl", force)
    made = stages(model)
    found = plan(made, cycles) if cycles else _fitted(made, PARTS[part])
    pixels = [_pixels(model, image) for image in images] if images else _drawings(model)
    e = Exported(model, name, found, use(found, PARTS[part]), part, pixels, integer_logits(model, pixels))
    written = contents(e)
    result = {
        "cycles": found.cycles,
        "goal": cycles or None,
        "part": part,
        "fits": e.use.fits(PARTS[part]),
        "multipliers": e.use.multipliers,
        "block_rams": e.use.block_rams,
        "memory_bits": e.use.memory_bits,
        "skipped": round(e.skipped, 4),
        "images": len(pixels),
        "stages": [
            {"stage": stage_name(stage), "lanes": stream.lanes, "beat": stream.beat, "cycles": time}
            for stage, stream, time in zip(found.stages, found.streams, found.times, strict=True)
        ],
    }
    marker = {"squeezenet": __version__, "to": "rtl", "model": printable(name), **result, "files": sorted(written)}
    written[MARKER] = (json.dumps(marker, indent=1) + "\n").encode()
    put(out, written, "rtl", FOLDERS)
    return {**result, "files": [{"path": str(out / path), "bytes": len(data)} for path, data in written.items()]}


def _fitted(made: list[Stage], part: Part) -> Plan:
    """The fastest plan that fits into the part, or the smallest one if none does."""
    best = plan(made, 1 << 62)
    for step in FASTER:
        while True:
            faster = plan(made, int(best.cycles * step))
            if faster.cycles >= best.cycles or not use(faster, part).fits(part):
                break
            best = faster
    return best


def _pixels(model: Model, image: Path | NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture(model.preparation, model.graph.input_shape, image) if isinstance(image, Path) else image


def _drawings(model: Model) -> list[NDArray[np.uint8]]:
    """A drawing, its negative, and noise."""
    drawn = drawing(model.graph.input_shape)
    return [drawn, 255 - drawn, np.random.default_rng(0).integers(0, 256, drawn.shape, np.uint8)]


def integer_logits(model: Model, pixels: list[NDArray[np.uint8]]) -> list[NDArray[np.int32]]:
    """The logits of each image, in steps of the last value; as floats they are the logits of squeezenet."""
    run = runner(model)
    step = np.float32(model.scales[-1].step)
    return [np.rint(run(prepared(image, model.preparation)[None])[0] / step).astype(np.int32) for image in pixels]
