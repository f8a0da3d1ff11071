"""`squeezenet explore --data D --out DIR`: the paper's sweeps on your images, or a search for a network that fits.

squeezenet explore --data photos/ --out space --vary sr --seeds 3 --epochs 8
squeezenet explore --data photos/ --out space --search 100 --max-bytes 200000 --max-ram 100000

Whatever is done is not done again: stop it, start it again, add seeds, or start the same command a second time beside
it. On other machines, too: with a shared --out, or with --storage and an --out of their own.
"""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from squeezenet.cli import train
from squeezenet.cli.live import Live, work_of
from squeezenet.cli.table import table
from squeezenet.data import default_preparation, load_data
from squeezenet.data.load import ACCEPTED
from squeezenet.errors import UsageError
from squeezenet.explore import storage
from squeezenet.explore.ledger import ATTEMPTS, Ledger
from squeezenet.explore.sweeps import SWEEPS, parse_values, trials
from squeezenet.explore.trial import METHODS, Squeezed, Trial, fingerprint
from squeezenet.explore.work import Work
from squeezenet.models import ARCHITECTURES, Metaparameters, find_architecture
from squeezenet.training import RECIPES
from squeezenet.training.job import Job

JOURNAL = "trials.journal"
VARIES = {"input_size": "image_size"}  # what a user may call it


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--data", metavar="D", help=ACCEPTED)
    parser.add_argument("--val", metavar="D", help="images to judge by; otherwise the data's own, or one in ten")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="runs, results.jsonl, report.html")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--vary", choices=(*SWEEPS, *VARIES), metavar="WHAT",
        help="; ".join(f"{name}: {sweep.about}" for name, sweep in SWEEPS.items()),
    )  # fmt: skip
    parser.add_argument("--values", metavar="A,B,...", help="values of --vary instead of the paper's")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how often, each from its own start (1)")
    parser.add_argument("--model", help="network to start from (default: the one for images of this size)")
    parser.add_argument(
        "--recipe", default="modern", metavar="FILE",
        help=f"a .toml file, or {' or '.join(RECIPES)} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--epochs", type=float, help="passes over the images")
    parser.add_argument("--batch-size", type=int, help="images per step")
    parser.add_argument("--lr", type=float, help="highest learning rate")
    parser.add_argument("--seed", type=int, help="the first seed (0)")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the image the network reads")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="any other setting of network, recipe or augmentation, as `squeezenet train` takes them",
    )  # fmt: skip
    parser.add_argument("--max-images", type=int, metavar="N", help="train on N images, evenly taken")
    parser.add_argument("--judge-by", type=int, metavar="N", help="judge by N images, evenly taken")
    parser.add_argument("--method", choices=METHODS, default="squeeze", help="how to squeeze (default: %(default)s)")
    parser.add_argument(
        "--squeeze-bytes", type=int, metavar="N", help="into a file of N bytes (default: a 16th of float32)"
    )
    parser.add_argument("--storage", metavar="URL", help=f"{storage.ACCEPTED} (default: a file in --out)")
    parser.add_argument(
        "--attempts", type=int, default=ATTEMPTS, metavar="N", help="give a trial up that failed N times (%(default)s)"
    )
    parser.set_defaults(micro_batch=None, weights=None, teacher=None)


def run(args: Namespace) -> dict[str, Any]:
    """Do what is not done yet; the JSON object of this verb."""
    start = time.perf_counter()
    if args.data is None:
        raise UsageError("--data missing; what shall the networks learn from?")
    if args.seeds < 1 or args.attempts < 1:
        raise UsageError("--seeds and --attempts must be at least 1")
    vary = VARIES.get(args.vary, args.vary)
    values = None if args.values is None else parse_values(vary, args.values)
    data = load_data(args.data, args.val)
    base, job = base_of(args, data)
    planned = trials(base, vary, values, args.seeds, told=list(job.network))
    args.out.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(storage.open_storage(args.storage or str(args.out / JOURNAL)), attempts=args.attempts)

    def left() -> tuple[float, int]:
        states = {trial: ledger.entry(trial.name, True).state for trial in planned}
        work = sum(work_of(trial) for trial, state in states.items() if state in ("open", "running"))
        return work, sum(state == "running" for state in states.values())

    with Live(left, lambda trial: f"{vary} {value_of(trial, vary)}") as live:
        work = Work(ledger, data, args.out, live.listen)
        work.sweep(planned)
    entries = [ledger.entry(trial.name, True) for trial in planned]
    rows = [_summary(trial, entry, vary) for trial, entry in zip(planned, entries, strict=True)]
    return {
        "out": str(args.out),
        "results": str(work.write()),
        "vary": vary,
        "done": sum(entry.state == "done" for entry in entries),
        "failed": sum(entry.state == "failed" for entry in entries),
        "trials": rows,
        "seconds": round(time.perf_counter() - start, 1),
    }


def render(result: dict[str, Any]) -> str:
    """For people."""
    head = [result["vary"], "seed", "parameters", "MACs", "RAM", "top-1", "top-5", "bytes", "squeezed top-1"]
    rows = [
        [
            str(row["value"]), str(row["seed"]), f"{row['parameters']:,}", f"{row['macs']:,}", f"{row['ram']:,}",
            f"{row['top1']:.2f}", f"{row['top5']:.2f}", f"{row['bytes']:,}", f"{row['top1_squeezed']:.2f}",
        ]
        for row in result["trials"] if row["state"] == "done"
    ]  # fmt: skip
    failed = [f"{row['value']}, seed {row['seed']} failed: {row['reason']}" for row in result["trials"]
              if row["state"] == "failed"]  # fmt: skip
    return "\n".join([table(head, rows), *failed, f"{result['results']} written; {result['seconds']:.0f} seconds"])


def base_of(args: Namespace, data: Any) -> tuple[Trial, Job]:
    """The trial that others are variations of, and what it was told. Raises `UsageError`."""
    preparation = default_preparation(data.train, args.image_size)
    side = preparation.crop
    usual = "squeezenet_32" if side <= 48 else "squeezenet_64" if side <= 96 else "squeezenet1_0"
    args.model = args.model or train.read_job(args.recipe).model or usual
    job = train.settings(args)
    if job.recipe.teacher or job.recipe.weights:
        raise UsageError(f"{args.recipe}: names a teacher or weights by their file, which is no content; leave it out")
    architecture = find_architecture(args.model)
    if architecture.meta is None:
        known = [name for name, known in ARCHITECTURES.items() if known.meta]
        raise UsageError(f"--model {args.model}: has no metaparameters to explore; give {', '.join(known)}")
    meta = {**asdict(architecture.meta), **job.network}
    network = Metaparameters(**{**meta, "classes": len(data.train.classes), "in_channels": preparation.shape[0]})
    squeeze = Squeezed(args.method, args.squeeze_bytes or 0)
    counts = [_count(len(data.train), args.max_images), _count(len(data.validation), args.judge_by)]
    return Trial(network, job.image_size or side, job.recipe, fingerprint(data), *counts, squeeze), job


def value_of(trial: Trial, vary: str) -> Any:
    """The trial's value of what a sweep varies."""
    return trial.image_size if vary == "image_size" else getattr(trial.network, vary)


def _count(have: int, wanted: int | None) -> int:
    if wanted is not None and wanted < 1:
        raise UsageError(f"{wanted} images are not enough; ask for at least one")
    return have if wanted is None else min(have, wanted)


def _summary(trial: Trial, entry: Any, vary: str) -> dict[str, Any]:
    told: Sequence[str] = ("top1", "top5", "parameters", "bytes", "top1_squeezed", "macs", "ram")
    known = {name: entry.result[name] for name in told} if entry.result else {}
    about = {"name": trial.name, "value": value_of(trial, vary), "seed": trial.recipe.seed, "state": entry.state}
    return {**about, "reason": entry.reason, **known}
