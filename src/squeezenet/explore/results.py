"""Results of trials as rows, and what is computed from them: curves with error bars, and the Pareto front.

>>> rows = read_results(Path("runs/results.jsonl"))                      # doctest: +SKIP
>>> curves(rows, "sr")[0].points                                         # doctest: +SKIP
(Point(value=0.125, seeds=3, top1=84.1, deviation=0.2, ...), ...)
"""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from squeezenet.errors import UsageError
from squeezenet.files import write_atomically

Row = dict[str, Any]
RESULTS = "results.jsonl"

LATENCY = "latency_ms"
COSTS = ("bytes", "macs", "ram", LATENCY)
"""The search minimises these and maximises `top1_squeezed`."""

SAME = 0.05
"""Latencies whose relative difference is smaller count as equal: two measurements of one network differ by as much."""


def write_results(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one line of JSON for each trial, in the order of their names: the same trials give the same file."""
    lines = [json.dumps(row, sort_keys=True) for row in sorted(rows, key=lambda row: str(row["name"]))]
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def read_results(where: Path) -> list[Row]:
    """The rows of a results file, or of the --out folder of `explore`. Raises `UsageError` if it cannot be read."""
    path = where / RESULTS if where.is_dir() else where
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if all(isinstance(row["trial"]["network"], dict) and "macs" in row for row in rows):
            return rows
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no results there; `squeezenet explore --out {shlex.quote(str(where))}` makes some"
        ) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{path}: not the results of `squeezenet explore`; give its --out folder, or that file")


@dataclass(frozen=True)
class Point:
    """One value of a sweep: means over its seeds, and sample standard deviations (0 for one seed)."""

    value: Any
    seeds: int
    top1: float
    deviation: float
    top5: float
    deviation5: float
    top1_squeezed: float
    deviation_squeezed: float
    parameters: int
    bytes: float
    macs: int
    ram: int | None  # None where the engine was not built
    latency_ms: float | None  # None where it was not measured
    latency_on: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Curve:
    """A sweep over `field`: points in the order of their values. All other settings are the same (see `example`)."""

    field: str
    points: tuple[Point, ...]

    @property
    def example(self) -> Row:
        """The first row of the curve, with all settings."""
        return self.points[0].rows[0]


def curves(rows: Sequence[Row], field: str, least: int = 2) -> list[Curve]:
    """The sweeps over `field` in `rows`: their trials differ only in `field` and the seed. The longest come first.

    A sweep has at least `least` values. `field` is a metaparameter or `image_size`.
    """
    groups: dict[str, dict[Any, list[Row]]] = {}
    for row in finished(rows):
        rest = json.loads(json.dumps(row["trial"]))
        home = rest if field == "image_size" else rest["network"]
        value = home.pop(field)
        del rest["recipe"]["seed"]
        groups.setdefault(json.dumps(rest, sort_keys=True), {}).setdefault(value, []).append(row)
    found = [Curve(field, tuple(_point(v, group[v]) for v in _ordered(group))) for group in groups.values()]
    found = [curve for curve in found if len(curve.points) >= least]
    return sorted(found, key=lambda curve: (-len(curve.points), -sum(p.seeds for p in curve.points)))


def finished(rows: Sequence[Row]) -> list[Row]:
    """The rows of trials that were not stopped early."""
    return [row for row in rows if "stopped" not in row]


def configurations(rows: Sequence[Row]) -> list[Row]:
    """Finished trials; those that differ only in the seed become one row, with means and their number `seeds`.

    Without this, a configuration could be on the Pareto front because of one lucky seed. `deviation_squeezed` is the
    standard deviation of `top1_squeezed`.
    """
    groups: dict[str, list[Row]] = {}
    for row in finished(rows):
        rest = json.loads(json.dumps(row["trial"]))
        del rest["recipe"]["seed"]
        groups.setdefault(json.dumps(rest, sort_keys=True), []).append(row)
    return [_mean(group) for group in groups.values()]


def _mean(rows: list[Row]) -> Row:
    """One row for the trials of one configuration."""
    first = min(rows, key=lambda row: row["trial"]["recipe"]["seed"])
    names = ("top1", "top5", "top1_squeezed", "top5_squeezed", "bytes")
    means = {name: round(fmean(row[name] for row in rows), 4) for name in names}
    spread = round(_spread(rows, "top1_squeezed")[1], 4)
    return {**first, **means, **_timed(rows), "deviation_squeezed": spread, "seeds": len(rows)}


def pareto(rows: Sequence[Row], costs: Sequence[str] = COSTS) -> list[Row]:
    """The Pareto front: finished trials that no other finished trial dominates."""
    kept = finished(rows)
    return [row for row in kept if not any(dominates(other, row, costs) for other in kept)]


def dominates(one: Row, other: Row, costs: Sequence[str] = COSTS) -> bool:
    """Whether `one` is not worse than `other` in squeezed top-1 and all `costs`, and better in at least one of them."""
    better = [one["top1_squeezed"] - other["top1_squeezed"], *(_saved(one, other, cost) for cost in costs)]
    return bool(min(better) >= 0 and max(better) > 0)


def _saved(one: Row, other: Row, cost: str) -> float:
    """By how much the cost of `one` is lower than that of `other`.

    0 for latencies that were measured on different machines or differ little, and for RAM that a row does not have.
    """
    if cost != LATENCY:
        return 0.0 if None in (one[cost], other[cost]) else float(other[cost] - one[cost])
    if LATENCY not in one or LATENCY not in other or one["latency_on"] != other["latency_on"]:
        return 0.0
    saved = float(other[LATENCY] - one[LATENCY])
    return saved if abs(saved) > SAME * min(one[LATENCY], other[LATENCY]) else 0.0


def _timed(rows: Sequence[Row]) -> Row:
    """The latency of one network: the mean over its seeds, of the machine on which most of them were measured."""
    where = Counter(row["latency_on"] for row in rows if LATENCY in row)
    if not where:
        return {}
    on = where.most_common(1)[0][0]
    mean = fmean(row[LATENCY] for row in rows if row.get("latency_on") == on)
    return {LATENCY: round(mean, 4), "latency_on": on}


def _ordered(group: Mapping[Any, Any]) -> list[Any]:
    words = ["none", "simple", "complex"]
    return sorted(group, key=lambda value: words.index(value) if value in words else value)


def _point(value: Any, rows: list[Row]) -> Point:
    timed = _timed(rows)
    return Point(
        value, len(rows), *_spread(rows, "top1"), *_spread(rows, "top5"), *_spread(rows, "top1_squeezed"),
        rows[0]["parameters"], fmean(row["bytes"] for row in rows), rows[0]["macs"], rows[0]["ram"],
        timed.get(LATENCY), timed.get("latency_on"), tuple(rows),
    )  # fmt: skip


def _spread(rows: list[Row], key: str) -> tuple[float, float]:
    values = [float(row[key]) for row in rows]
    return fmean(values), stdev(values) if len(values) > 1 else 0.0
