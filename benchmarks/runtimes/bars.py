"""The bars the project has set itself, and the table that ends with them."""

from dataclasses import dataclass
from pathlib import Path

from runtimes.peers import OURS

Table = dict[str, dict[str, float]]
"""Row -> column -> figure; ours come first."""


@dataclass(frozen=True)
class Bar:
    """`column` of ours, over that of `peer` if there is one ("" is the best of all): at most `most`, better `aim`.

    `row` is the row of ours, if it is not the first.
    """

    text: str
    column: str
    most: float
    aim: float
    peer: str | None = None
    row: str = ""


PROGRAM = f"{OURS} as a static program"
"""The row of `sqz`."""

BARS = (
    Bar("warm, 1 thread, over OpenVINO int8", "1 thread, ms", 1.25, 0.9, "OpenVINO int8"),
    Bar("warm, 2 threads, over OpenVINO int8", "2 threads, ms", 1.25, 0.9, "OpenVINO int8"),
    Bar("warm, 1 thread, over ONNX Runtime int8", "1 thread, ms", 0.9, 0.7, "ONNX Runtime int8"),
    Bar("warm, 2 threads, over ONNX Runtime int8", "2 threads, ms", 0.9, 0.7, "ONNX Runtime int8"),
    Bar("cold start over the fastest peer's", "cold, ms", 0.65, 0.5, ""),
    Bar("cold start of `sqz` over the fastest peer's", "cold, ms", 0.4, 0.3, "", PROGRAM),
    Bar("`sqz` with its model, MB", "disk, MB", 1.2, 1.0, None, PROGRAM),
    Bar("decode of the file, 1 thread, ms", "decode, 1 thread, ms", 60, 20),
    Bar("decode of the file, 2 threads, ms", "decode, 2 threads, ms", 60, 20),
    Bar("peak resident memory, MB", "peak, MB", 40, 25),
    Bar("installed size, MB", "disk, MB", 35, 25),
    Bar("compiled engine, stripped, kB", "engine, kB", 200, 100),
)


def best(table: Table, column: str, peer: str) -> float | None:
    """The best figure of the peers, or that of one; None if there is none."""
    found = [
        figures[column]
        for row, figures in table.items()
        if column in figures and (row == peer or (not peer and not row.startswith(OURS)))
    ]
    return (max if column == "images/s" else min)(found) if found else None


def judged(table: Table) -> list[dict[str, object]]:
    """Each bar with what is measured of it; nothing where the peer or the figure is missing."""
    results = []
    for bar in BARS:
        value = table.get(bar.row or next(iter(table)), {}).get(bar.column)
        if value is not None and bar.peer is not None:
            other = best(table, bar.column, bar.peer)
            value = None if other is None else value / other
        met = None if value is None else "aim" if value <= bar.aim else "bar" if value <= bar.most else "missed"
        results.append({"bar": bar.text, "most": bar.most, "aim": bar.aim, "value": value, "met": met})
    return results


def rendered(model: str, table: Table) -> str:
    """The figures, ours over the best peer's, and the bars, in Markdown."""
    columns = [column for column in next(iter(table.values())) if column != "agreement"]
    lines = [f"| {Path(model).name} | " + " | ".join(columns) + " |", "|-" * (1 + len(columns)) + "|"]
    for row, figures in table.items():
        shown = (f"{figures[c]:.{2 if ' thread' in c else 1}f}" if c in figures else "" for c in columns)
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    ours, others = next(iter(table.values())), [best(table, column, "") for column in columns]
    ratios = (f"{ours[c] / other:.2f}" if other and c in ours else "" for c, other in zip(columns, others, strict=True))
    lines.append("| ours / best peer | " + " | ".join(ratios) + " |")
    lines += ["", "| bar | at most | aim | measured | |", "|-|-|-|-|-|"]
    for result in judged(table):
        value = "not measured" if result["value"] is None else f"{result['value']:.2f}"
        lines.append(f"| {result['bar']} | {result['most']} | {result['aim']} | {value} | {result['met'] or ''} |")
    return "\n".join(lines)
