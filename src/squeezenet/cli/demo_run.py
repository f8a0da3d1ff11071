"""What `squeezenet demo` does: train, prune, round weights to integers, code them, and use the file.

Whatever is measured is measured on files, by `squeezenet evaluate` and `squeezenet classify` in processes of their own.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from squeezenet import sqz
from squeezenet.compression import Compressed, CompressionRecipe, Listener, Pruning, compress
from squeezenet.data import Data, default_preparation, load_data, load_pixels
from squeezenet.data.augment import Augmentation
from squeezenet.errors import SqueezeNetError
from squeezenet.files import write_atomically
from squeezenet.formats import load_model
from squeezenet.model import Model
from squeezenet.models import describe
from squeezenet.report.demo import Stage, write_report
from squeezenet.runtime.image import open_image
from squeezenet.training import MODERN, fresh_model, train

NETWORK = "squeezenet_32"
METAPARAMETERS = {"base_e": 64, "incr_e": 48, "sr": 0.25, "bypass": "simple"}  # 254,010 parameters with 10 classes
DISTORTIONS = Augmentation(mirror=False, pad=1, rotate=12, zoom=0.12)
EPOCHS = 28
LR = 0.006
WEIGHT_DECAY = 0.2

COMPRESSION = CompressionRecipe(
    "prune+squeeze",
    max_bytes=18_000,
    threads=1,  # a second thread costs such a small network more than it brings
    data="digits",
    objective="distill",
    pruning=Pruning(epochs=16, batch_size=32, lr=4e-3, density=0.1),
    augmentation=DISTORTIONS,
)


def demonstrate(out: Path, seed: int) -> dict[str, Any]:
    """The whole pipeline; the JSON object of the verb, but for the seconds."""
    out.mkdir(parents=True, exist_ok=True)
    data = load_data("digits")
    run_folder = _train(data, out, seed)
    trained = load_model(run_folder)
    pruned, squeezed, shipped = _squeeze(trained, data, out, seed)
    model, size = squeezed.model, len(squeezed.data)

    before = _evaluate(run_folder)
    after = _evaluate(shipped)
    stages = [
        Stage("trained, float32", trained.float32_bytes, before["top1"]),
        Stage(f"pruned to {model.density:.1%}, retrained", pruned.stat().st_size, _evaluate(pruned)["top1"]),
        Stage("rounded to integers, entropy coded: digits.sqz", size, after["top1"]),
    ]
    example = _classify(data, out, shipped)
    report = out / "report.html"
    write_report(report, run_folder / "metrics.jsonl", stages, after["images"], model, sqz.sections(shipped), example)
    return {
        "rows": [
            {"name": s.name, "bytes": s.bytes, "ratio": round(stages[0].bytes / s.bytes, 2), "top1": s.top1}
            for s in stages
        ],
        "bytes": size,
        "ratio": round(stages[0].bytes / size, 2),
        "parameters": trained.parameters,
        "top1_before": before["top1"],
        "top1_after": after["top1"],
        "images": after["images"],
        "example": example,
        "file": str(shipped),
        "report": str(report),
        "seed": seed,
    }


def _train(data: Data, out: Path, seed: int) -> Path:
    """A run folder with a trained network; one that is there already is taken as it is."""
    preparation = default_preparation(data.train)
    recipe = replace(
        MODERN,
        epochs=EPOCHS,
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        augmentation=replace(DISTORTIONS, light=MODERN.augmentation.light, erase=5),
        seed=seed,
    )
    sizes = {"classes": len(data.train.classes), "in_channels": preparation.shape[0], **METAPARAMETERS}
    model = fresh_model(NETWORK, data, preparation, recipe, **METAPARAMETERS)
    folder = out / f"run-{seed}"
    train(model, data, preparation, recipe, folder, architecture=describe(NETWORK, sizes))
    return folder


def _squeeze(trained: Model, data: Data, out: Path, seed: int) -> tuple[Path, Compressed, Path]:
    """The pruned file; the squeezed model, and its file."""
    pruned, shipped = out / "pruned.sqz", out / "digits.sqz"

    def keep(stage: str, model: Model) -> None:
        if stage == "pruned":
            sqz.write(model, pruned)

    pixels = load_pixels(data.train, trained.preparation)
    squeezed = compress(trained, pixels, replace(COMPRESSION, seed=seed), listener=Listener(stage=keep))
    write_atomically(shipped, squeezed.data)
    return pruned, squeezed, shipped


def _evaluate(model: Path) -> dict[str, Any]:
    return _fresh("evaluate", str(model), "--data", "digits")


def _classify(data: Data, out: Path, model: Path) -> dict[str, Any]:
    image = out / "digit.png"
    open_image(data.validation.images[0]).save(image)
    return _fresh("classify", "--model", str(model), str(image))


def _fresh(*arguments: str) -> dict[str, Any]:
    """The JSON of a command that runs in a process of its own."""
    command = [sys.executable, "-m", "squeezenet", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SqueezeNetError(f"squeezenet {arguments[0]} failed: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
