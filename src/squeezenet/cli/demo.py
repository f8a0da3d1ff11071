"""`squeezenet demo`: train a small SqueezeNet, squeeze it, and classify an image with the file.

The images are the 1,797 handwritten digits that scikit-learn contains. `cli/demo_run.py` does the work.
"""

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import seed
from squeezenet.cli.table import table

EXAMPLES = """
# takes a minute or two; writes demo/digits.sqz and demo/report.html
squeezenet demo
"""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder to write (default: demo)")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of all random choices (default: 0)")


def run(args: Namespace) -> dict[str, Any]:
    """Train, squeeze and classify; the JSON object of this verb."""
    from squeezenet.cli.demo_run import demonstrate

    start = time.perf_counter()
    return {**demonstrate(args.out, args.seed), "seconds": round(time.perf_counter() - start, 1)}


def render(result: dict[str, Any]) -> str:
    rows = [[s["name"], f"{s['bytes']:,}", f"{s['ratio']:.1f}x", f"{s['top1']:.2f}%"] for s in result["rows"]]
    best = result["example"]["predictions"][0]
    return "\n".join(
        [
            table(["stage", "bytes", "ratio", "top-1"], rows),
            "",
            f"top-1 on {result['images']} test images, each file read back in a process of its own",
            f"{result['example']['image']} is a {best['label']} ({best['probability']:.0%})",
            f"{result['file']} and {result['report']} written; {result['seconds']:.0f} seconds",
        ]
    )
