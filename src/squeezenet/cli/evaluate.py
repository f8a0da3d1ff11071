"""`squeezenet evaluate MODEL --data DATA`: accuracy of exactly what would ship."""

import os
import time
from argparse import ArgumentParser, Namespace
from typing import Any

from squeezenet import sqz
from squeezenet.cli.arguments import add_data, add_model, model_path
from squeezenet.data import load_evaluation
from squeezenet.data.classes import match_classes
from squeezenet.data.evaluate import evaluate
from squeezenet.data.examples import some
from squeezenet.formats import load_model
from squeezenet.runtime.run import runner


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model(parser)
    add_data(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="evaluate N images, taken evenly over the data")


def run(args: Namespace) -> dict[str, Any]:
    """Score a model with the runtime that ships it."""
    model = load_model(args.model, args.random_weights)
    examples = match_classes(load_evaluation(args.data), model.labels, model.graph.classes)
    examples.require_labels()
    examples = some(examples, args.limit)
    start = time.perf_counter()
    path = model_path(args)
    data = sqz.read_bytes(path) if path.suffix == ".sqz" and path.is_file() else b""
    score = evaluate(runner(model, os.cpu_count() or 1, data=data), examples, model.preparation)
    return {
        "model": args.model,
        "data": args.data,
        "images": score.images,
        "top1": round(score.top1, 4),
        "top5": round(score.top5, 4),
        "bytes": path.stat().st_size if path.is_file() else model.float32_bytes,
        "skipped": len(examples) - score.images,
        "seconds": round(time.perf_counter() - start, 2),
    }


def render(result: dict[str, Any]) -> str:
    """For people."""
    skipped = f" ({result['skipped']} unreadable images left out)" if result["skipped"] else ""
    return (
        f"{result['images']:,} images{skipped}: top-1 {result['top1']:.2f}%, top-5 {result['top5']:.2f}%, "
        f"{result['bytes']:,} bytes"
    )
