"""The figures of a report, drawn on matplotlib's object interface: nothing global is touched.

>>> stages(["float32", "shared"], [400, 10]).axes[0].get_xlabel()
'bytes (logarithmic)'
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, BLUE, ORANGE, GREY = "#1a2330", "#2563a8", "#c8611a", "#98a2b3"


def curves(epochs: Sequence[float], loss: Sequence[float], top1: Sequence[float]) -> Figure:
    """Training loss and validation accuracy over the epochs, each on its own axes."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, loss, color=BLUE)
    _plain(left, "epoch", "training loss")
    left.set_ylim(bottom=0)
    right.plot(epochs, top1, color=ORANGE)
    _plain(right, "epoch", "validation top-1 (%)")
    right.set_ylim(top=100.5)
    return figure


def stages(names: Sequence[str], sizes: Sequence[int]) -> Figure:
    """Bytes after every stage, largest first, on a logarithmic scale."""
    figure = Figure(figsize=(9, 0.5 * len(names) + 0.9), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(names)), sizes, color=BLUE, height=0.6)
    for i, size in enumerate(sizes):
        axes.annotate(f"{size:,}", (size, i), xytext=(4, 0), textcoords="offset points", va="center", color=INK)
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.set_xlim(left=min(sizes) / 4, right=max(sizes) * 4)
    axes.invert_yaxis()
    _plain(axes, "bytes (logarithmic)", "")
    return figure


def layers(names: Sequence[str], sizes: Sequence[int], density: Sequence[float]) -> Figure:
    """Bytes of every layer in the file, and the share of its weights that pruning kept."""
    figure = Figure(figsize=(9, 0.22 * len(names) + 0.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(range(len(names)), sizes, color=BLUE)
    left.set_yticks(range(len(names)), names, fontsize=8)
    left.invert_yaxis()
    _plain(left, "bytes in the file", "")
    right.barh(range(len(names)), [100.0] * len(names), color="#eaecf0")
    right.barh(range(len(names)), [100 * d for d in density], color=ORANGE)
    right.set_xlim(0, 100)
    _plain(right, "weights kept (%)", "")
    return figure


def rate_distortion(rounded: Sequence[tuple[int, float]], shipped: tuple[int, float]) -> Figure:
    """(bytes, nats an image) of several sizes as a curve, and of the file that ships as a dot; both logarithmic."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    both = sorted([*rounded, shipped])
    axes.plot(*zip(*sorted(rounded), strict=True), color=BLUE, marker="o", label="by rounding alone")
    axes.plot(*shipped, color=ORANGE, marker="o", markersize=9, linestyle="none", label="this file")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([size for size, _ in both], [f"{size:,}" for size, _ in both])
    axes.minorticks_off()
    axes.legend(frameon=False)
    _plain(axes, "bytes (logarithmic)", "divergence (nats, logarithmic)")
    return figure


def sensitivity(names: Sequence[str], sizes: Sequence[int], nats: Sequence[float]) -> Figure:
    """Bytes of every layer in the file, and the divergence that its levels alone cause."""
    figure = Figure(figsize=(9, 0.22 * len(names) + 0.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, values, color in ((left, sizes, BLUE), (right, nats, ORANGE)):
        axes.barh(range(len(names)), values, color=color)
    left.set_yticks(range(len(names)), names, fontsize=8)
    left.invert_yaxis()
    _plain(left, "bytes in the file", "")
    _plain(right, "divergence (nats)", "")
    return figure


def _plain(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=GREY)
