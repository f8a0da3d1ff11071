"""The report of `squeezenet compress --method squeeze --report F.html`.

>>> write_report(Path("report.html"), model, squeezed, curves, sections)                # doctest: +SKIP
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path

from squeezenet.compression.squeeze import Curves, Point
from squeezenet.fire import paper_names
from squeezenet.model import Model
from squeezenet.report import figures, page
from squeezenet.sqz import Section
from squeezenet.version import __version__


def write_report(path: Path, model: Model, squeezed: Model, curves: Curves, sections: Sequence[Section]) -> None:
    """One self-contained HTML file: accuracy by size, and which layers take the bytes and cause the errors."""
    names, coded = paper_names(model.graph), {section.name: section.bytes for section in sections}
    layers = list(curves.layers)
    shipped = curves.shipped
    rows = []
    for name in layers:
        levels = squeezed.weights[name].weight
        count = prod(levels.shape)
        kept, nats = f"{levels.nonzero / count:.1%}", f"{curves.layers[name]:.5f}"
        rows.append([names[name], f"{count:,}", kept, f"{coded[name]:,}", nats])
    page.write_page(
        path,
        f"{model.float32_bytes / shipped.bytes:.0f}x smaller: an integer network in {shipped.bytes:,} bytes",
        [
            page.text(
                "Divergence is from the answers of the network before, in nats an image, on images its scales were "
                "calibrated on. Top-1 is of images that nothing was tuned on."
            ),
            page.heading("Rate and distortion"),
            page.picture(
                figures.rate_distortion(
                    [(p.bytes, p.divergence) for p in curves.rounded], (shipped.bytes, shipped.divergence)
                ),
                "Divergence from the answers before, by bytes of the file",
            ),
            page.table(
                ["", "bytes", "ratio", "divergence", "top-1"],
                [_row("this file", shipped, model), *(_row("by rounding alone", p, model) for p in curves.rounded)],
            ),
            page.heading("Sensitivity"),
            page.text("The divergence if one layer alone is what it is in this file, and all others are as before."),
            page.picture(
                figures.layers(
                    [names[n] for n in layers],
                    [coded[n] for n in layers],
                    list(curves.layers.values()),
                    "divergence (nats)",
                ),
                "Bytes of every layer and the divergence it causes",
            ),
            page.table(
                ["layer", "weights", "kept", "bytes", "divergence"],
                rows,
            ),
        ],
        footer=f"squeezenet {__version__}",
    )


def _row(name: str, point: Point, model: Model) -> list[str]:
    ratio = f"{model.float32_bytes / point.bytes:.1f}x"
    top1 = "" if point.top1 is None else f"{point.top1:.2f}%"
    return [name, f"{point.bytes:,}", ratio, f"{point.divergence:.4f}", top1]
