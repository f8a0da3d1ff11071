"""The report of `squeezenet demo`.

>>> write_report(Path("report.html"), metrics, stages, 359, model, sections, example)    # doctest: +SKIP
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from squeezenet.fire import paper_names
from squeezenet.model import Model
from squeezenet.report import figures, page
from squeezenet.sqz import Section
from squeezenet.version import __version__


@dataclass(frozen=True)
class Stage:
    """What one step of the pipeline came to; accuracy in percent."""

    name: str
    bytes: int
    top1: float


def write_report(
    path: Path,
    metrics: Path,
    stages: Sequence[Stage],
    images: int,
    model: Model,
    sections: Sequence[Section],
    example: Mapping[str, Any],
) -> None:
    """One self-contained HTML file about a run: training curves, bytes stage by stage, the file layer by layer.

    `images` is how many the accuracies were measured on.
    """
    epochs = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    names = paper_names(model.graph)
    coded = {section.name: section.bytes for section in sections}
    densities = {n: w.weight.nonzero / prod(w.weight.shape) for n, w in model.weights.items()}
    rows = [
        [
            names[n],
            "x".join(map(str, w.weight.shape)),
            f"{prod(w.weight.shape) + w.bias.size:,}",
            f"{densities[n]:.1%}",
            str(w.weight.bits),
            f"{coded[n]:,}",
        ]
        for n, w in model.weights.items()
    ]
    other = [[n, "", "", "", "", f"{coded[n]:,}"] for n in ("header", "graph", "text")]
    total = ["total", "", f"{model.parameters:,}", f"{model.density:.1%}", "", f"{sum(coded.values()):,}"]
    first, last = stages[0], stages[-1]
    best = example["predictions"][0]
    page.write_page(
        path,
        f"{first.bytes / last.bytes:.1f}x smaller: a SqueezeNet for handwritten digits in {last.bytes:,} bytes",
        [
            page.text(
                f"Trained on four fifths of scikit-learn's 1,797 digits, tested on the other {images}: top-1 "
                f"{first.top1:.2f}% before, {last.top1:.2f}% after. Every accuracy was measured on a file, read back "
                "in a process of its own."
            ),
            page.heading("Stage by stage"),
            page.table(
                ["stage", "bytes", "ratio", "top-1"],
                [[s.name, f"{s.bytes:,}", f"{first.bytes / s.bytes:.1f}x", f"{s.top1:.2f}%"] for s in stages],
            ),
            page.picture(
                figures.stages([s.name for s in stages], [s.bytes for s in stages]), "Bytes after every stage"
            ),
            page.heading("Training"),
            page.picture(
                figures.curves(*([e[key] for e in epochs] for key in ("epoch", "loss", "top1"))),
                "Training loss and validation accuracy by epoch",
            ),
            page.heading("The file, layer by layer"),
            page.picture(
                figures.layers(
                    [names[n] for n in densities],
                    [coded[n] for n in densities],
                    [100 * d for d in densities.values()],
                    "weights kept (%)",
                    100.0,
                ),
                "Bytes and density of every layer",
            ),
            page.table(["layer", "weight", "parameters", "kept", "bits", "bytes"], [*rows, *other, total]),
            page.heading("In use"),
            page.text(
                f"squeezenet classify --model digits.sqz {Path(example['image']).name} says {best['label']} "
                f"({best['probability']:.1%}) in {example['milliseconds']:.1f} ms."
            ),
        ],
        footer=f"squeezenet {__version__}. SqueezeNet: Iandola et al., arXiv 1602.07360. "
        "GPTQ: Frantar et al., arXiv 2210.17323.",
    )
