"""The figures of a report, drawn on matplotlib's object interface: nothing global is touched.

>>> stages(["float32", "shared"], [400, 10]).axes[0].get_xlabel()
'bytes (logarithmic)'
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from squeezenet.printable import printable

LONGEST = 60  # characters of a name in a figure
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
    axes.set_yticks(range(len(names)), words(names))
    axes.set_xscale("log")
    axes.set_xlim(left=min(sizes) / 4, right=max(sizes) * 4)
    axes.invert_yaxis()
    _plain(axes, "bytes (logarithmic)", "")
    return figure


def layers(
    names: Sequence[str], sizes: Sequence[int], values: Sequence[float], what: str, most: float | None = None
) -> Figure:
    """Bytes of every layer in the file, and beside them what else is known of it; `most` is the largest value."""
    figure = Figure(figsize=(9, 0.22 * len(names) + 0.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(range(len(names)), sizes, color=BLUE)
    left.set_yticks(range(len(names)), words(names), fontsize=8)
    left.invert_yaxis()
    _plain(left, "bytes in the file", "")
    if most is not None:
        right.barh(range(len(names)), [most] * len(names), color="#eaecf0")
        right.set_xlim(0, most)
    right.barh(range(len(names)), values, color=ORANGE)
    _plain(right, what, "")
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


def sweep(
    labels: Sequence[str],
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    title: str = "",
) -> Figure:
    """Accuracies (mean, deviation) by value of a metaparameter, one line a series; values stand evenly."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, (means, deviations)), colour in zip(series.items(), (BLUE, ORANGE, INK, GREY), strict=False):
        where = [i for i, mean in enumerate(means) if mean == mean]  # a figure that was not printed is no number
        points = [means[i] for i in where], [deviations[i] for i in where]
        (label,) = words([name])
        axes.errorbar(where, points[0], points[1], color=colour, marker="o", markersize=4, capsize=3, label=label)
    axes.set_xticks(range(len(labels)), words(labels))
    axes.set_xlim(-0.4, len(labels) - 0.6)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
    if title:
        axes.set_title(words([title])[0], fontsize=9, color=INK)
    _plain(axes, x, y)
    return figure


def front(
    costs: Sequence[float], top1: Sequence[float], links: Sequence[str], x: str, chosen: Sequence[bool]
) -> Figure:
    """Accuracy against a cost (logarithmic); every point is a link. `chosen` ones are the front, and joined."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    best = sorted((cost, value) for cost, value, on in zip(costs, top1, chosen, strict=True) if on)
    axes.plot([cost for cost, _ in best], [value for _, value in best], color=BLUE, linewidth=1, drawstyle="steps-post")
    for on, colour, size in ((False, GREY, 24), (True, BLUE, 64)):
        mine = [i for i, is_on in enumerate(chosen) if is_on == on]
        points = axes.scatter([costs[i] for i in mine], [top1[i] for i in mine], s=size, color=colour, zorder=3)
        points.set_urls([links[i] for i in mine])
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.minorticks_off()
    axes.grid(color="#eaecf0", linewidth=0.6)
    _plain(axes, x, "top-1 after squeezing (%)")
    return figure


def words(names: Sequence[str]) -> list[str]:
    """Names from a model or a data set as matplotlib shows them: letter for letter, on one line, cut where too long.

    Without this, a text with two dollar signs is mathematics to matplotlib, and a formula with an error is a traceback.

    >>> print(*words(["a$\\\\foo$b", "conv1"]))
    a\\$\\foo\\$b conv1
    """
    cut = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in map(printable, names)]
    return [name.replace("$", r"\$") for name in cut]


def short(value: float) -> str:
    """A number for an axis.

    >>> short(20_000), short(5e6), short(0.05)
    ('20 k', '5 M', '0.05')
    """
    for unit, word in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{word}"
    return f"{value:g}"


def _plain(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=GREY)
