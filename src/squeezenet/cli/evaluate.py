"""`squeezenet evaluate MODEL --data DATA`: the accuracy of exactly the file that would ship."""

import os
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.accuracy import JUDGED, described, significance
from squeezenet.cli.arguments import DATA, add_model, count, model_path
from squeezenet.errors import UsageError
from squeezenet.printable import counted

EXAMPLES = """
# on the images that were held out when `run` was trained
squeezenet evaluate run --data photos/
# the compressed file on the same images, with a page that shows its mistakes
squeezenet evaluate birds.sqz --data photos/ --report mistakes.html
# on every image, also those that the model was trained on
squeezenet evaluate birds.sqz --data photos/ --split all
"""


def configure(parser: ArgumentParser) -> None:
    what = parser.add_argument_group("the model and the images")
    add_model(what)
    what.add_argument("--data", required=True, metavar="DATA", help=DATA)
    what.add_argument(
        "--split", choices=("held-out", "all"),
        help="held-out: the images that were held out from training, an error if they are not known; all: every image "
        "(default: the validation split of DATA if there is one; else the held-out images if the model was trained on "
        "DATA; else all)",
    )  # fmt: skip
    what.add_argument("--limit", type=count, metavar="N", help="evaluate N images, spread evenly over DATA")
    parser.add_argument_group("results").add_argument(
        "--report", type=Path, metavar="F.html",
        help="write a page: accuracy of each class, confusion matrix, the most confident mistakes",
    )  # fmt: skip


def run(args: Namespace) -> dict[str, Any]:
    """Measure the accuracy with the runtime that ships; the JSON object of this verb."""
    if args.report is not None and not args.report.parent.is_dir():
        raise UsageError(f"{args.report.parent}: no such folder for --report; create it, or name another folder")
    from squeezenet import sqz
    from squeezenet.data.classes import match_classes
    from squeezenet.data.evaluate import answers
    from squeezenet.data.examples import some
    from squeezenet.data.judged import load_judged
    from squeezenet.formats import load_model
    from squeezenet.runtime.run import runner

    model = load_model(args.model, args.random_weights)
    found, judged = load_judged(args.data, model.provenance, args.split)
    examples = some(match_classes(found, model.labels, model.graph.classes), args.limit)
    examples.require_labels()
    start = time.perf_counter()
    path = model_path(args)
    data = sqz.read_bytes(path) if path.suffix == ".sqz" and path.is_file() else b""
    answer = runner(model, os.cpu_count() or 1, data=data)
    given = answers(answer, examples, model.preparation, outputs=model.outputs)
    score = given.score
    if args.report is not None:
        from squeezenet.report.accuracy import write_report

        write_report(args.report, Path(args.model).name, given, examples, examples.classes, JUDGED[judged])
    return {
        "model": args.model,
        "data": args.data,
        "images": score.images,
        "judged": judged,
        "top1": round(score.top1, 4),
        "top1_error": round(score.error, 4),
        "top5": significance(score.top5, model.graph.classes),
        "bytes": path.stat().st_size if path.is_file() else model.float32_bytes,
        "skipped": len(examples) - score.images,
        "report": None if args.report is None else str(args.report),
        "seconds": round(time.perf_counter() - start, 2),
    }


def render(result: dict[str, Any]) -> str:
    lines = [f"{described(result)}, {result['bytes']:,} bytes"]
    if result["skipped"]:
        lines.append(f"{counted(result['skipped'], 'image')} could not be read")
    if result["report"]:
        lines.append(f"report: {result['report']}")
    return "\n".join(lines)
