"""`squeezenet demo`: train a small SqueezeNet, squeeze it as the paper does, and use the file that comes out.

The images are scikit-learn's 1,797 handwritten digits, which come with a dependency. The work itself is in
`cli/demo_run.py`.
"""

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import seed
from squeezenet.cli.table import table

EXAMPLES = """
# a minute of work; demo/report.html shows it, demo/digits.sqz comes out
squeezenet demo
"""


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder for all it makes (demo)")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="decides everything random (0)")


def run(args: Namespace) -> dict[str, Any]:
    """The whole pipeline."""
    from squeezenet.cli.demo_run import demonstrate

    start = time.perf_counter()
    return {**demonstrate(args.out, args.seed), "seconds": round(time.perf_counter() - start, 1)}


def render(result: dict[str, Any]) -> str:
    """For people."""
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
