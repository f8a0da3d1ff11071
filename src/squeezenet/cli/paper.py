"""What `squeezenet reproduce figure3|table1|table3` prints: figures of the paper, recomputed, and measured.

Recomputed figures are counted in our networks. Measured ones come from the results of `squeezenet explore` (figure 3,
table 3) or are counted in the given weights (table 1); their source is printed with them.
"""

from argparse import Namespace
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

from squeezenet.cli.table import table
from squeezenet.errors import UsageError
from squeezenet.explore.results import Curve, curves, read_results
from squeezenet.fire import paper_names
from squeezenet.formats import load_model
from squeezenet.graph import Graph
from squeezenet.model import Model
from squeezenet.report.design_space import within
from squeezenet.report.paper import TABLE_1, Layer, printed, recomputed

Rows = list[dict[str, Any]]
PARTS = {"sr": "3 (a)", "pct3x3": "3 (b)", "bypass": "3"}


def figure3(args: Namespace) -> Rows:
    """Both sweeps of figure 3."""
    return _sweep("sr", args.results) + _sweep("pct3x3", args.results)


def table3(args: Namespace) -> Rows:
    """The three kinds of bypass."""
    return _sweep("bypass", args.results)


def table1(args: Namespace) -> Rows:
    """SqueezeNet v1.0, layer by layer. Raises `UsageError` if `--weights` are of another network."""
    graph = load_model("squeezenet1_0", 0).graph
    given = None if args.weights is None else load_model(args.weights)
    if given is not None and sorted(given.graph.weight_shapes().values()) != sorted(graph.weight_shapes().values()):
        raise UsageError(f"{args.weights}: is not SqueezeNet v1.0; table 1 is about SqueezeNet v1.0 only")
    return [_layer(layer, graph, args.weights, given) for layer in TABLE_1]


def _layer(layer: Layer, graph: Graph, name: str | None, given: Model | None) -> dict[str, Any]:
    shapes, whole, after = graph.weight_shapes(), 0, 0.0
    values = graph.shapes()
    sides = {op.name: values[i + 1][1] for i, op in enumerate(graph.ops) if op in graph.layers}
    mine = {key: paper.partition("/")[2] for key, paper in paper_names(graph).items() if _of(paper, layer)}
    for key, part in mine.items():
        weights = prod(shapes[key])
        whole += weights + shapes[key][0]
        after += weights * layer.kept[part] + shapes[key][0]
    measured = None
    if given is not None:
        theirs = [key for key, paper in paper_names(given.graph).items() if _of(paper, layer)]
        held = [given.weights[key] for key in theirs]
        measured = {"weights": name, "after": sum(layer.weight.nonzero + layer.bias.size for layer in held)}
    return {
        "layer": layer.name,
        "paper": {"side": layer.side, "parameters": layer.parameters, "after": layer.after},
        "recomputed": {"side": sides[next(iter(mine))], "parameters": whole, "after": round(after)},
        "measured": measured,
    }


def _of(paper_name: str, layer: Layer) -> bool:
    return paper_name.partition("/")[0] == layer.name


def _sweep(field: str, results: str | None) -> Rows:
    found = [] if results is None else _by_data(curves(read_results(Path(results)), field))
    return [
        {
            "figure": PARTS[field],
            "varies": field,
            "value": value,
            "paper": asdict(known),
            "recomputed": asdict(recomputed(field, value)),
            "measured": [told for curve in found for told in [_measured(curve, value)] if told],
        }
        for value, known in printed(field).items()
    ]


def _by_data(found: list[Curve]) -> list[Curve]:
    """The curve with the most points of each data set."""
    best: dict[str, Curve] = {}
    for curve in found:
        best.setdefault(curve.example["trial"]["data"], curve)
    return list(best.values())


def _measured(curve: Curve, value: Any) -> dict[str, Any] | None:
    for point in curve.points:
        if point.value == value:
            trial = curve.example["trial"]
            known = {"source": curve.example["source"], "images": trial["images"], "judged": trial["judges"]}
            known |= {"epochs": trial["recipe"]["epochs"], "base_e": trial["network"]["base_e"]}
            told = {name: number for name, number in asdict(point).items() if name not in ("rows", "value")}
            return {**known, **told}
    return None


def render(result: dict[str, Any]) -> str:
    return _render_layers(result["rows"]) if result["subject"] == "table1" else _render_sweeps(result["rows"])


def _render_layers(rows: Rows) -> str:
    head = ["layer", "paper: side", "parameters", "after pruning", "recomputed: side", "parameters", "after pruning"]
    known = rows[0]["measured"]
    lines, total = [], [0, 0, 0, 0, 0]
    for row in rows:
        numbers = [row[kind][name] for kind in ("paper", "recomputed") for name in ("side", "parameters", "after")]
        numbers += [row["measured"]["after"]] if known else []
        lines.append([row["layer"], *(f"{number:,}" for number in numbers)])
        counted = [numbers[1], numbers[2], numbers[4], numbers[5], *numbers[6:]]
        total = [a + b for a, b in zip(total, [*counted, 0][:5], strict=True)]
    lines.append(["total", "", f"{total[0]:,}", f"{total[1]:,}", "", f"{total[2]:,}", f"{total[3]:,}"])
    if known:
        head, lines[-1] = [*head, "in the file"], [*lines[-1], f"{total[4]:,}"]
    notes = [f"in the file: weights that are not zero, and biases, of {known['weights']}"] if known else []
    notes = ["after pruning, recomputed: the printed shares of the weights, and all biases", *notes]
    return "\n".join([table(head, lines), "", *notes])


def _render_sweeps(rows: Rows) -> str:
    blocks = []
    for field in dict.fromkeys(row["varies"] for row in rows):
        mine = [row for row in rows if row["varies"] == field]
        sources = list(dict.fromkeys(told["source"] for row in mine for told in row["measured"]))
        head = [field, "paper MB", "paper top-1", "paper top-5", "parameters", "MB", "MACs",
                *(f"{source}: top-1" for source in sources), *(f"{source}: top-5" for source in sources)]  # fmt: skip
        blocks.append(table(head, [_cells(row, sources) for row in mine]))
        example = {told["source"]: told for row in mine for told in row["measured"]}
        blocks += [
            f"{source}: {told['epochs']:g} epochs of {told['images']:,} images, {told['judged']:,} to validate, "
            f"base_e {told['base_e']}, {told['seeds']} seed{'s' if told['seeds'] > 1 else ''}"
            for source, told in example.items()
        ]
        blocks.append("")
    note = "the paper's figures are of ImageNet; parameters, MB (10^6 bytes of float32) and MACs are recomputed"
    if not any(row["measured"] for row in rows):
        note += "\nnothing measured; give --results, the folder of `squeezenet explore`"
    return "\n".join([*blocks, note])


def _cells(row: dict[str, Any], sources: list[str]) -> list[str]:
    theirs = ["" if row["paper"][name] is None else f"{row['paper'][name]:g}" for name in ("megabytes", "top1", "top5")]
    known = row["recomputed"]
    cells = [str(row["value"]), *theirs, f"{known['parameters']:,}", f"{known['megabytes']:.2f}", f"{known['macs']:,}"]
    for name, deviation in (("top1", "deviation"), ("top5", "deviation5")):
        for source in sources:
            told = next((told for told in row["measured"] if told["source"] == source), None)
            cells.append("" if told is None else within(told[name], told[deviation], told["seeds"]))
    return cells
