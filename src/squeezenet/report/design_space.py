"""The page of `squeezenet explore`: the paper's sweeps as measured here, and the networks that nothing dominates.

>>> write_report(Path("report.html"), read_results(Path("space")))                   # doctest: +SKIP
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeezenet.explore.choices import SWEEPS
from squeezenet.explore.results import COSTS, LATENCY, Curve, Point, Row, configurations, curves, finished, pareto
from squeezenet.explore.trial import Trial, squeeze_command, train_command
from squeezenet.explore.versions import POINTS, compare
from squeezenet.printable import counted
from squeezenet.report import figures, page, paper
from squeezenet.version import __version__

TITLES = {
    "sr": "Figure 3 (a): squeeze ratio",
    "pct3x3": "Figure 3 (b): share of 3x3 filters",
    "bypass": "Table 3: bypass",
}
WORDS = {
    "bytes": "bytes of the file",
    "macs": "MACs for one image",
    "ram": "bytes of RAM for one image",
    LATENCY: "milliseconds for one image",
}
MOST_BETTER = 10
MOST = 3  # curves of one kind; others are in results.jsonl


def write_report(path: Path, rows: Sequence[Row], reload: int = 0) -> None:
    """One self-contained HTML file, for as many data sets as there are in `rows`.

    While trials run, the page may ask to be read again every `reload` seconds.
    """
    said = f"Trials are running; this page reads itself again every {reload} seconds."
    parts: list[page.Html] = [page.text(said)] if reload else []
    sets = {(row["trial"]["data"], row["trial"]["judges"]): row["source"] for row in rows}
    for (data, judges), source in sets.items():
        mine = [row for row in rows if (row["trial"]["data"], row["trial"]["judges"]) == (data, judges)]
        parts += _of_one_set(source, judges, mine)
    done, machines = len(finished(rows)), sorted({row["hardware"] for row in rows})
    title = f"The design space of SqueezeNet: {done} trials on {', '.join(dict.fromkeys(sets.values())) or 'no images'}"
    footer = f"squeezenet {__version__}; {'; '.join(machines)}. The paper: Iandola et al., arXiv 1602.07360, ImageNet."
    page.write_page(path, title, parts, footer, reload)


def _of_one_set(source: str, judges: int, rows: Sequence[Row]) -> list[page.Html]:
    stopped = len(rows) - len(finished(rows))
    early = f" {stopped} were stopped early." if stopped else ""
    text = (
        f"{len(finished(rows))} trials on {source}, judged by {judges:,} validation images.{early} ± is the sample "
        "standard deviation over seeds. Bytes are of the squeezed file, whose own top-1 is given; ms are milliseconds "
        f"for one image on one thread of the engine: {_machines(rows)}."
    )
    parts: list[page.Html] = [page.heading(source), page.text(text)]
    for field in SWEEPS:
        for curve in curves(rows, field, least=3)[:MOST]:
            parts += _sweep(curve)
    return [*parts, *_versions(rows), *_front(rows)] if finished(rows) else parts


def _sweep(curve: Curve) -> list[page.Html]:
    """Ours, the paper's beside it, and both as a table."""
    field, points, known = curve.field, curve.points, paper.printed(curve.field)
    labels = [str(point.value) for point in points]
    ours = {
        "top-1": ([p.top1 for p in points], [p.deviation for p in points]),
        "top-1, squeezed": ([p.top1_squeezed for p in points], [p.deviation_squeezed for p in points]),
    }
    if points[0].top5 < 99.5:  # of ten classes or fewer it says little
        ours["top-5"] = ([p.top5 for p in points], [p.deviation5 for p in points])
    parts: list[page.Html] = [
        page.heading(TITLES.get(field, SWEEPS[field].about.capitalize())),
        page.text(_setting(curve)),
    ]
    about = f"Accuracy by {SWEEPS[field].about}, measured here"
    pictures = [page.picture(figures.sweep(labels, ours, field, "accuracy (%)", "measured here"), about)]
    if known:
        theirs = {"top-5": [known[v].top5 for v in known], "top-1": [known[v].top1 for v in known]}
        drawn = {
            name: ([float("nan") if v is None else v for v in values], [0.0] * len(values))
            for name, values in theirs.items()
            if any(v is not None for v in values)
        }
        title = f"the paper, ImageNet: {' and '.join(drawn)}"
        figure = figures.sweep([str(v) for v in known], drawn, field, "accuracy (%)", title)
        pictures.append(page.picture(figure, "The same, as the paper printed it for ImageNet"))
    head = [field, "seeds", "parameters", "MACs", "RAM", "ms", "top-1", "top-5", "bytes", "squeezed top-1"]
    head += ["paper MB", "paper top-1", "paper top-5"] if known else []
    cells = [_cells(point, known.get(point.value), bool(known)) for point in points]
    return [*parts, page.beside(pictures), page.table(head, cells)]


def _cells(point: Point, printed: paper.Printed | None, beside: bool) -> list[str]:
    cells = [
        str(point.value), str(point.seeds), f"{point.parameters:,}", f"{point.macs:,}", _number(point.ram),
        "" if point.latency_ms is None else f"{point.latency_ms:.3f}",
        within(point.top1, point.deviation, point.seeds), within(point.top5, point.deviation5, point.seeds),
        f"{point.bytes:,.0f}", within(point.top1_squeezed, point.deviation_squeezed, point.seeds),
    ]  # fmt: skip
    known = printed or paper.Printed()
    theirs = ["" if v is None else f"{v:g}" for v in (known.megabytes, known.top1, known.top5)]
    return cells + theirs if beside else cells


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def within(mean: float, deviation: float, seeds: int) -> str:
    """A mean with its deviation where there is one.

    >>> within(87.314, 0.2, 3), within(87.314, 0.0, 1)
    ('87.31 ± 0.20', '87.31')
    """
    return f"{mean:.2f} ± {deviation:.2f}" if seeds > 1 else f"{mean:.2f}"


def _machines(rows: Sequence[Row]) -> str:
    """Where latencies were taken, most often first."""
    taken = Counter(row["latency_on"] for row in rows if LATENCY in row)
    return "; ".join(on for on, _ in taken.most_common()) or "not taken"


def _setting(curve: Curve) -> str:
    """What all trials of a sweep have in common."""
    trial = curve.example["trial"]
    network, recipe = trial["network"], trial["recipe"]
    same = [f"{name} {network[name]}" for name in ("base_e", "incr_e", "freq", "sr", "pct3x3", "bypass", "norm")
            if name != curve.field]  # fmt: skip
    seeds = sorted({point.seeds for point in curve.points})
    times = counted(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    shown = counted(recipe["epochs"], "epoch") if recipe["epochs"] else f"{recipe['iterations']:,} iterations"
    return f"{shown} of {trial['images']:,} images, {recipe['optimizer']}, {times}; {', '.join(same)}."


def _versions(rows: Sequence[Row]) -> list[page.Html]:
    """SqueezeNet v1.0 and v1.1 at every size they were squeezed to, and what beats each at one; if it was measured."""
    published, better = compare(rows)
    if not published:
        return []
    many = f"{counted(len(better), 'other network')} {'has' if len(better) == 1 else 'have'}"
    many = many if better else "No other network has"
    text = (
        f"Both are fitted to these images and normalised like the others. {many} at most half the bytes and no less "
        f"top-1 (both squeezed), or {POINTS} points more and no more bytes, than v1.0 in one of its lines and "
        "v1.1 in one of its" + (f"; the {MOST_BETTER} most accurate are shown." if len(better) > MOST_BETTER else ".")
    )
    shown = [*published, *((row["name"], row) for row in better[:MOST_BETTER])]
    head = ["network", "seeds", "top-1", "bytes", "top-1, squeezed", "parameters", "MACs", "RAM", "ms"]
    cells = [
        [
            name, str(row["seeds"]), f"{row['top1']:.2f}", f"{row['bytes']:,.0f}",
            within(row["top1_squeezed"], row["deviation_squeezed"], row["seeds"]),
            f"{row['parameters']:,}", f"{row['macs']:,}", _number(row["ram"]),
            f"{row[LATENCY]:.3f}" if LATENCY in row else "",
        ]
        for name, row in shown
    ]  # fmt: skip
    return [page.heading("SqueezeNet v1.0 and v1.1, and what beats both"), page.text(text), page.table(head, cells)]


def _front(rows: Sequence[Row]) -> list[page.Html]:
    """Pictures, one for each cost, whose points lead to what they are made of, and that list."""
    rows = configurations(rows)
    front = sorted(pareto(rows), key=lambda row: row["bytes"])
    names = {row["name"] for row in front}
    others = sorted((row for row in rows if row["name"] not in names), key=lambda row: row["bytes"])
    text = (
        f"{len(front)} of {len(rows)} networks: none is at least as accurate with at most as many bytes, MACs, RAM and "
        "milliseconds. Latencies of one machine count, and less than 5% between them is no difference. Touch a point, "
        "or a line below, for its configuration and the command that trains it."
    )
    pictures = [picture for cost in COSTS if (picture := _picture(cost, [*others, *front], front))]
    parts: list[page.Html] = [page.heading("Networks that nothing dominates"), page.text(text), page.beside(pictures)]
    parts += [_point(row) for row in front]
    return [*parts, page.heading("The others"), *(_point(row) for row in others)] if others else parts


def _picture(cost: str, rows: Sequence[Row], front: Sequence[Row]) -> page.Html | None:
    """Accuracy against one cost; of latencies, those of the machine that took most. None where there is nothing."""
    if cost == LATENCY:
        taken = Counter(row["latency_on"] for row in rows if LATENCY in row).most_common(1)
        on = taken[0][0] if taken else ""
        rows, front = ([row for row in part if row.get("latency_on") == on] for part in (rows, front))
    rows = [row for row in rows if row[cost] is not None]
    if not rows:
        return None
    leading = {row["name"] for row in pareto(front, (cost,))}
    figure = figures.front(
        [row[cost] for row in rows], [row["top1_squeezed"] for row in rows],
        [f"#trial-{row['name']}" for row in rows], WORDS[cost],
        [row["name"] in leading for row in rows],
    )  # fmt: skip
    return page.picture(figure, f"Accuracy against {WORDS[cost]}")


def _point(row: Row) -> page.Html:
    trial = row["trial"]
    summary = (
        f"{row['top1_squeezed']:.2f}% in {row['bytes']:,.0f} bytes, {row['macs'] / 1e6:,.1f} million MACs, "
        f"{_number(row['ram']) or 'unknown'} bytes of RAM"
        + (f", {row[LATENCY]:.3f} ms" if LATENCY in row else "")
        + (f", mean of {row['seeds']} seeds" if row["seeds"] > 1 else "")
    )
    table: list[list[str]] = [[name, _text(value)] for name, value in trial["network"].items()]
    table += [[name, _text(trial[name])] for name in ("image_size", "images", "judges")]
    table += [[f"squeezed: {name}", _text(value)] for name, value in trial["squeeze"].items()]
    table += [[name, _text(row[name])] for name in ("top1", "top5", "top5_squeezed", "parameters", "seconds")]
    table = [["name", row["name"]], *table]
    table += [["latency on", row["latency_on"]]] if LATENCY in row else []
    made = Trial.from_dict(trial)
    commands = [train_command(made), squeeze_command(made, row["parameters"])]
    return page.folded(
        summary, f"trial-{row['name']}", [*(page.code(text) for text in commands if text), page.table(["", ""], table)]
    )


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value).strip('"')
