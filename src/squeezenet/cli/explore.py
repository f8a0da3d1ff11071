"""`squeezenet explore --data D --out DIR`: the paper's sweeps on your images, or a search for a network that fits.

A trial that is done is not repeated. You may stop the command and start it again, add seeds, or start the same command
several times at once: on one machine, or on several with a shared --out, or with --storage and an --out for each.
`cli/explore_run.py` does the work.
"""

import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import DATA, add_training, amount, count, positive, size
from squeezenet.cli.table import table
from squeezenet.errors import UsageError
from squeezenet.explore.choices import ATTEMPTS, METHODS, STORAGES, SWEEPS

EXAMPLES = """
# the squeeze ratio of figure 3 on your images, each value three times
squeezenet explore --data photos/ --out space --vary sr --seeds 3 --epochs 20
# the most accurate of 100 networks whose files have at most 200 kB
squeezenet explore --data photos/ --out space --search 100 --max-bytes 200kB
# repeat a trial, by its name in the results, with other seeds
squeezenet explore --data photos/ --out space --repeat 1f0c --seeds 3
"""

FIXED = ("values", "model", "epochs", "batch_size", "lr", "seed", "image_size", "max_images", "val_images",
         "squeeze_bytes")  # fmt: skip
"""Options that are not for --repeat."""

VARIES = {"input_size": "image_size", "version": "stem"}  # other words for --vary -> field


def configure(parser: ArgumentParser) -> None:
    images = parser.add_argument_group("images, and where results go")
    images.add_argument("--data", required=True, metavar="DATA", help=DATA)
    images.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for runs, results.jsonl, report.html"
    )
    images.add_argument(
        "--watch", action="store_true",
        help="write report.html after each trial, not only at the end; the page reloads itself while trials run",
    )  # fmt: skip

    kinds = parser.add_argument_group("networks to try; give one of")
    what = kinds.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--vary", choices=(*SWEEPS, *VARIES), metavar="WHAT",
        help="; ".join(f"{name}: {sweep.about}" for name, sweep in SWEEPS.items()),
    )  # fmt: skip
    what.add_argument("--search", type=count, metavar="N", help="try N networks, chosen by earlier results")
    what.add_argument("--repeat", metavar="NAME", help="repeat the trial NAME in --out with other seeds")

    sweep = parser.add_argument_group("with --vary or --repeat")
    sweep.add_argument("--values", metavar="A,B,...", help="the values to try (default: the paper's)")
    sweep.add_argument("--seeds", type=count, default=1, metavar="N", help="train each network N times (default: 1)")

    search = parser.add_argument_group("with --search")
    search.add_argument("--max-bytes", type=size, metavar="SIZE", help="at most SIZE bytes for the file, as in 200kB")
    search.add_argument("--max-ram", type=size, metavar="SIZE", help="at most SIZE bytes of RAM for one image")
    search.add_argument("--max-macs", type=amount, metavar="N", help="at most N MACs, as in 50M")
    search.add_argument(
        "--max-ms", type=positive, metavar="MS",
        help="at most MS milliseconds for one image on one thread of this machine, estimated before training",
    )  # fmt: skip
    search.add_argument("--halving", action=BooleanOptionalAction, help="stop training poor networks early (default)")

    training = parser.add_argument_group("how each network is trained")
    training.add_argument("--model", help="network to vary (default: one that fits the image size)")
    training.add_argument(
        "--recipe", default="modern", metavar="FILE",
        help="a .toml file, or the name of a recipe as in `squeezenet train` (default: %(default)s)",
    )  # fmt: skip
    training.add_argument("--epochs", type=positive, metavar="N", help="passes over the images")
    add_training(images, training, square=True)

    squeezing = parser.add_argument_group("how each network is squeezed")
    squeezing.add_argument("--method", choices=METHODS, default="squeeze", help="method (default: %(default)s)")
    goal = "squeeze into a file of SIZE bytes (default: a 12th of the bytes as float32)"
    squeezing.add_argument("--squeeze-bytes", type=size, metavar="SIZE", help=goal)

    workers = parser.add_argument_group("several workers")
    records = f"where the results of trials are stored, for all workers: {STORAGES} (default: a file in --out)"
    workers.add_argument("--storage", metavar="URL", help=records)
    workers.add_argument(
        "--attempts", type=count, default=ATTEMPTS, metavar="N",
        help="give up a trial after N failures (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(micro_batch=None, weights=None, teacher=None, split_seed=None)


def run(args: Namespace) -> dict[str, Any]:
    """Carry out the trials that are not done yet; the JSON object of this verb."""
    start = time.perf_counter()
    _check(args)
    from squeezenet.cli.explore_run import explore

    return {**explore(args), "seconds": round(time.perf_counter() - start, 1)}


def render(result: dict[str, Any]) -> str:
    varied = result.get("vary")
    head = [varied or "network", "seed", "parameters", "MACs", "RAM", "ms", "top-1", "top-5", "bytes", "squeezed top-1"]
    rows = [
        [
            str(row["value"]) if varied else row["name"], str(row["seed"]), f"{row['parameters']:,}",
            f"{row['macs']:,}", "" if row["ram"] is None else f"{row['ram']:,}",
            f"{row['latency_ms']:.3f}" if "latency_ms" in row else "",
            f"{row['top1']:.2f}", f"{row['top5']:.2f}", f"{row['bytes']:,}", f"{row['top1_squeezed']:.2f}",
        ]
        for row in result["trials"] if row["state"] == "done"
    ]  # fmt: skip
    failed = [f"{row['name']} failed: {row['reason']}" for row in result["trials"] if row["state"] == "failed"]
    counts = ", ".join(
        f"{result[what]} {what}" for what in ("done", "stopped", "failed", "failures", "refused") if what in result
    )
    files = f"{result['results']} and {result['report']} written; {result['seconds']:.0f} seconds"
    best = result.get("best")
    advice = [f"most accurate: {best['name']}, trained by", best["command"], ""] if best else []
    return "\n".join([table(head, rows), *failed, "", *advice, counts, files])


def _check(args: Namespace) -> None:
    budgets = {name: getattr(args, name) for name in ("max_bytes", "max_ram", "max_macs", "max_ms")}
    only = {**budgets, "halving": args.halving} if args.search is None else {"values": args.values}
    if told := [f"--{name.replace('_', '-')}" for name, value in only.items() if value is not None]:
        raise UsageError(f"{told[0]} is only for --{'search' if args.search is None else 'vary'}; leave it out")
    if args.search is not None and args.seeds > 1:
        raise UsageError(
            "--search trains each network once; leave --seeds out, and repeat the networks that it finds with --repeat"
        )
    if args.repeat and (
        told := [name for name in FIXED if getattr(args, name) is not None] + ["set"] * len(args.settings)
    ):
        raise UsageError(
            f"--{told[0].replace('_', '-')} cannot be changed by --repeat, which changes only the seed; leave it out"
        )
    if args.max_bytes and args.method != "squeeze":
        raise UsageError(f"--max-bytes needs --method squeeze; {args.method} cannot aim at a size")
    if args.max_ms and args.method != "squeeze":
        raise UsageError(f"--max-ms needs --method squeeze; the speed of files from {args.method} cannot be estimated")
