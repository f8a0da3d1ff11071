"""What `squeezenet inspect` counts: a row for every layer and pooling of a model."""

import re
from argparse import Namespace
from math import prod
from pathlib import Path
from typing import Any

from squeezenet import sqz
from squeezenet.architectures import ARCHITECTURES
from squeezenet.cli.arguments import model_path
from squeezenet.errors import BadGraph, UsageError
from squeezenet.export.c.beforehand import verdicts
from squeezenet.export.targets import targets
from squeezenet.factors import layer_names
from squeezenet.graph import AdaptivePool, AvgPool, Conv, GlobalAvgPool, Graph, Linear, MaxPool, Window
from squeezenet.model import Model
from squeezenet.preparation import sides_of, spelled
from squeezenet.runtime.engine import PATHS, EngineRunner

MOST_DIGITS = 9  # of a layer's number; a name with more has none


def inspect(args: Namespace) -> dict[str, Any]:
    """The JSON object of the verb; a pooling has the number of the layer before it, as in table 1."""
    path = model_path(args)
    if path.suffix == ".sqz":
        model, sections = sqz.examine(path)
        coded = {section.name: section.bytes for section in sections}
    else:
        model, coded = _load(args), {}
    try:
        size = args.image_size
        graph = Graph((model.graph.input_shape[0], *sides_of(size)), model.graph.ops) if size else model.graph
    except BadGraph as error:
        raise UsageError(f"--image-size {spelled(args.image_size)} does not fit this network: {error}") from None
    total = path.stat().st_size if path.is_file() else model.float32_bytes
    return {
        "model": args.model,
        "input": list(graph.input_shape),
        "classes": graph.classes,
        "labels": len(model.labels),
        "outputs": model.outputs,
        "preparation": model.preparation.to_dict(),
        "provenance": dict(model.provenance),
        "parameters": model.parameters,
        "nonzero": model.nonzero,
        "density": round(model.density, 6),
        "macs": sum(graph.macs()),
        "bytes": total,
        "ratio": round(model.float32_bytes / total, 2),
        # what one thread of the C engine needs on this machine's fastest path
        "memory": EngineRunner(path.read_bytes()).memory._asdict() if PATHS and coded and not size else None,
        "targets": targets(model),
        "boards": _boards(path, model) if PATHS and coded and model.scales and not size else None,
        "sections": {name: coded[name] for name in ("header", "graph", "text") if name in coded},
        "layers": _rows(model, graph, coded),
    }


def _boards(path: Path, model: Model) -> dict[str, dict[str, Any]]:
    """For each board of `export --to c`, whether the network fits, and the least memory of the program (estimates)."""
    return {
        found.board: {"fits": found.fits, "ram": found.ram, "flash": found.flash, "reason": found.reason}
        for found in verdicts(path.read_bytes(), model)
    }


def _load(args: Namespace) -> Model:
    from squeezenet.formats import load_model

    named = args.model in ARCHITECTURES and not model_path(args).exists()
    return load_model(args.model, 0 if named and args.random_weights is None else args.random_weights)


def _rows(model: Model, graph: Graph, coded: dict[str, int]) -> list[dict[str, Any]]:
    names = layer_names(graph)
    rows = []
    number = 0
    for op, shape, macs in zip(graph.ops, graph.shapes()[1:], graph.macs(), strict=True):
        row: dict[str, Any] = {"shape": list(shape), "macs": macs}
        if isinstance(op, Conv | Linear):
            held = model.weights[op.name]
            digits = re.sub(r"/.*|\D", "", names[op.name])
            number = int(digits) if 0 < len(digits) <= MOST_DIGITS else number + 1
            count = prod(held.weight.shape) + held.bias.size
            row |= {
                "name": names[op.name],
                "key": op.name,
                "window": _window(op) if isinstance(op, Conv) else "",
                "weight": list(held.weight.shape),
                "parameters": count,
                "nonzero": held.weight.nonzero + held.bias.size,
                "density": round(held.weight.nonzero / prod(held.weight.shape), 6),
                "bits": held.weight.bits,
                "bytes": coded.get(op.name, 4 * count),
            }
        elif isinstance(op, MaxPool | AvgPool | AdaptivePool | GlobalAvgPool):
            maximum = isinstance(op, MaxPool) or (isinstance(op, AdaptivePool) and op.maximum)
            kind = "maxpool" if maximum else "avgpool"
            window = _window(op)
            row |= {"name": f"{kind}{number}", "window": window, "parameters": 0, "nonzero": 0}
            row |= {"density": 1.0, "bits": 0, "bytes": 0}
        else:
            continue
        rows.append(row)
    return rows


def _window(op: Window | AdaptivePool | GlobalAvgPool) -> str:
    """As table 1 prints it: 7x7/2; groups where there are some."""
    if isinstance(op, GlobalAvgPool):
        return "global"
    if isinstance(op, AdaptivePool):
        return f"to {op.size[0]}x{op.size[1]}"
    groups = f" ({op.groups} groups)" if isinstance(op, Conv) and op.groups > 1 else ""
    return f"{op.kernel[0]}x{op.kernel[1]}/{op.stride[0]}{groups}"
