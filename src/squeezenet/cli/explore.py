"""`squeezenet explore --data D --out DIR`: the paper's sweeps on your images, or a search for a network that fits.

squeezenet explore --data photos/ --out space --vary sr --seeds 3 --epochs 8
squeezenet explore --data photos/ --out space --search 100 --max-bytes 200000 --max-ram 100000

Whatever is done is not done again: stop it, start it again, add seeds, or start the same command a second time beside
it. On other machines, too: with a shared --out, or with --storage and an --out of their own.
"""

import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from squeezenet.cli import train
from squeezenet.cli.arguments import amount, size
from squeezenet.cli.live import Live, work_of
from squeezenet.cli.table import table
from squeezenet.data import Data, default_preparation, load_data
from squeezenet.data.load import ACCEPTED
from squeezenet.errors import UsageError
from squeezenet.explore import storage
from squeezenet.explore.ledger import ATTEMPTS, Entry, Ledger
from squeezenet.explore.results import RESULTS, pareto, read_results
from squeezenet.explore.search import Budgets, Space, search, settle, study_of
from squeezenet.explore.sweeps import SWEEPS, parse_values, trials
from squeezenet.explore.trial import METHODS, Squeezed, Trial, fingerprint, train_command
from squeezenet.explore.versions import MIDDLE, SMALL
from squeezenet.explore.work import Work
from squeezenet.models import ARCHITECTURES, Metaparameters, find_architecture
from squeezenet.report.design_space import write_report
from squeezenet.training import RECIPES

JOURNAL = "trials.journal"
FIXED = ("values", "model", "epochs", "batch_size", "lr", "seed", "image_size", "max_images", "judge_by",
         "squeeze_bytes")  # fmt: skip
"""Options that a repetition has no use for."""

RELOAD = 10  # seconds after which a watched page reads itself again
VARIES = {"input_size": "image_size", "version": "stem"}  # what a user may call it


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
    what.add_argument("--search", type=int, metavar="N", help="try N networks, chosen by what the others came to")
    what.add_argument("--repeat", metavar="NAME", help="carry out a trial of --out once more, with other --seeds")
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
        "--squeeze-bytes", type=size, metavar="SIZE", help="into a file of SIZE bytes (default: a 12th of float32)"
    )
    parser.add_argument("--max-bytes", type=size, metavar="SIZE", help="--search: at most SIZE bytes of the file")
    parser.add_argument("--max-ram", type=size, metavar="SIZE", help="--search: at most SIZE bytes of int8 activations")
    parser.add_argument("--max-macs", type=amount, metavar="N", help="--search: at most N MACs, as in 50M")
    parser.add_argument(
        "--max-ms", type=float, metavar="MS",
        help="--search: at most MS for an image on one thread of this machine, as far as its shape tells",
    )  # fmt: skip
    parser.add_argument(
        "--halving", action=BooleanOptionalAction, help="--search: give hopeless networks up early (usual)"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="write report.html after each trial, not only at the end: open it, it shows itself anew while trials run",
    )
    parser.add_argument("--storage", metavar="URL", help=f"{storage.ACCEPTED} (default: a file in --out)")
    parser.add_argument(
        "--attempts", type=int, default=ATTEMPTS, metavar="N", help="give a trial up that failed N times (%(default)s)"
    )
    parser.set_defaults(micro_batch=None, weights=None, teacher=None, split_seed=None)


def run(args: Namespace) -> dict[str, Any]:
    """Do what is not done yet; the JSON object of this verb."""
    start = time.perf_counter()
    _check(args)
    data = _named(load_data(args.data, args.val), Path(args.data).name)
    base = None if args.repeat else base_of(args, data)
    args.out.mkdir(parents=True, exist_ok=True)
    where, report = args.storage or str(args.out / JOURNAL), args.out / "report.html"
    opened = storage.open_storage(where)
    with storage.answering(where):
        work = Work(Ledger(opened, attempts=args.attempts), data, args.out)
        with _watched(report, work) if args.watch else nullcontext():
            result = _repeat(args, work) if base is None else _explore(args, base, work)
        results = work.write()
    write_report(report, read_results(results))
    files = {"out": str(args.out), "results": str(results), "report": str(report)}
    return {**result, **files, "seconds": round(time.perf_counter() - start, 1)}


@contextmanager
def _watched(report: Path, work: Work) -> Iterator[None]:
    """Keep the page up to date; however that ends, it ends to read itself again."""
    work.on_results = lambda results: write_report(report, read_results(results), RELOAD)
    work.write()
    try:
        yield
    finally:
        work.on_results = lambda results: None
        write_report(report, read_results(work.out / RESULTS))


def render(result: dict[str, Any]) -> str:
    """For people."""
    varied = result.get("vary")
    head = [varied or "network", "seed", "parameters", "MACs", "RAM", "ms", "top-1", "top-5", "bytes", "squeezed top-1"]
    rows = [
        [
            str(row["value"]) if varied else row["name"], str(row["seed"]), f"{row['parameters']:,}",
            f"{row['macs']:,}", f"{row['ram']:,}", f"{row['latency_ms']:.3f}" if "latency_ms" in row else "",
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
    if args.data is None:
        raise UsageError("--data missing; what shall the networks learn from?")
    if min(args.seeds, args.attempts, 1 if args.search is None else args.search) < 1:
        raise UsageError("--seeds, --attempts and --search must be at least 1")
    budgets = {name: getattr(args, name) for name in ("max_bytes", "max_ram", "max_macs", "max_ms")}
    only = {**budgets, "halving": args.halving} if args.search is None else {"values": args.values}
    if told := [f"--{name.replace('_', '-')}" for name, value in only.items() if value is not None]:
        raise UsageError(f"{told[0]} is for --{'search' if args.search is None else 'vary'}; leave it out")
    if args.repeat and (
        told := [name for name in FIXED if getattr(args, name) is not None] + ["set"] * len(args.settings)
    ):
        raise UsageError(
            f"--{told[0].replace('_', '-')} is not for --repeat, which changes the seed alone; leave it out"
        )
    if args.max_ms is not None and not args.max_ms > 0:
        raise UsageError(f"--max-ms {args.max_ms:g}: must be more than 0")
    if args.max_bytes and args.method != "squeeze":
        raise UsageError(f"--max-bytes needs --method squeeze; {args.method} aims at no size")
    if args.max_ms and args.method != "squeeze":
        raise UsageError(f"--max-ms needs --method squeeze; what {args.method} makes is slower by an unknown factor")


def _named(data: Data, name: str) -> Data:
    """The same images under a name without a path, which is another one on each machine."""
    return Data(replace(data.train, name=name), replace(data.validation, name=name))


def _explore(args: Namespace, base: Trial, work: Work) -> dict[str, Any]:
    if args.search is not None:
        return _search(args, base, work)
    vary = VARIES.get(args.vary, args.vary)
    values = None if args.values is None else parse_values(vary, args.values)
    return _sweep(trials(base, vary, values, args.seeds, told=_set(args)), vary, work)


def _repeat(args: Namespace, work: Work) -> dict[str, Any]:
    found = [entry for entry in work.ledger.entries() if entry.name.startswith(args.repeat)]
    if len(found) != 1:
        raise UsageError(
            f"--repeat {args.repeat}: {len(found)} trials in {args.out} have such a name; give one of them"
        )
    trial = Trial.from_dict(found[0].trial)
    if trial.data != fingerprint(work.data):
        raise UsageError(f"--repeat {args.repeat}: learnt from other images than {args.data}; give the same")
    return _sweep([trial.seeded(trial.recipe.seed + seed) for seed in range(args.seeds)], "seed", work)


def _sweep(planned: list[Trial], vary: str, work: Work) -> dict[str, Any]:
    names = [trial.name for trial in planned]

    def left() -> tuple[float, int]:
        states = [entry.state for entry in work.ledger.look(names, redo_stopped=True)]
        ahead = zip(planned, states, strict=True)
        rest = sum(work_of(trial) for trial, state in ahead if state in ("open", "running"))
        return rest, states.count("running")

    with Live(left, lambda trial: f"{vary} {value_of(trial, vary)}") as live:
        work.listen = live.listen
        work.sweep(planned)
    entries = work.ledger.look(names, redo_stopped=True)
    rows = [_summary(trial, entry, work, vary) for trial, entry in zip(planned, entries, strict=True)]
    counts = {what: sum(entry.state == what for entry in entries) for what in ("done", "failed")}
    return {"vary": vary, **counts, "trials": rows}


def _search(args: Namespace, base: Trial, work: Work) -> dict[str, Any]:
    if args.seeds > 1:
        raise UsageError("--search tries each network once; repeat what it finds with --vary and --seeds")
    given = ["image_size"] if args.image_size else []
    space = Space(base, frozenset([*_set(args), *given]))
    budgets = Budgets(args.max_bytes, args.max_ram, args.max_macs, args.max_ms)
    study = study_of(work, space, budgets)

    def left() -> tuple[float, int]:
        progress = settle(study, work)
        done = [Trial.from_dict(row["trial"]) for row in work.results()]
        usual = sum(work_of(trial) for trial in done) / len(done) if done else 0.0
        return usual * (args.search - progress.finished), progress.running

    with Live(left, lambda trial: f"{trial.network.base_e}+{trial.network.incr_e} sr {trial.network.sr}") as live:
        work.listen = live.listen
        progress = search(work, space, budgets, args.search, args.halving is not False)
    names = {row.user_attrs.get("name") for row in study.get_trials(deepcopy=False)}
    entries = [entry for entry in work.ledger.entries() if entry.name in names]
    front = {row["name"] for row in pareto([row for row in read_results(work.out) if row["name"] in names])}
    shown = [entry for entry in entries if entry.name in front or entry.state == "failed"]
    rows = [_summary(Trial.from_dict(entry.trial), entry, work) for entry in shown]
    rows.sort(key=lambda row: row.get("bytes", 0))
    best = max((row for row in rows if row["state"] == "done"), key=lambda row: row["top1_squeezed"], default=None)
    counts = asdict(progress)
    counts["failures"] = counts.pop("failed")  # of networks that were tried: the search itself has not failed
    return {**counts, "best": best, "trials": rows}


def base_of(args: Namespace, data: Data) -> Trial:
    """The trial that others are variations of. Raises `UsageError`."""
    preparation = default_preparation(data.train, args.image_size)
    side = preparation.crop
    usual = "squeezenet_32" if side <= SMALL else "squeezenet_64" if side <= MIDDLE else "squeezenet1_0"
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
    counts = [_count(len(data.train), job.max_images), _count(len(data.validation), job.judge_by)]
    return Trial(network, job.image_size or side, job.recipe, fingerprint(data), *counts, squeeze)


def value_of(trial: Trial, vary: str) -> Any:
    """The trial's value of what a sweep varies."""
    homes = {"image_size": trial, "seed": trial.recipe}
    return getattr(homes.get(vary, trial.network), vary)


def _count(have: int, wanted: int | None) -> int:
    if wanted is not None and wanted < 1:
        raise UsageError(f"{wanted} images are not enough; ask for at least one")
    return have if wanted is None else min(have, wanted)


def _set(args: Namespace) -> list[str]:
    """What the user, and not a recipe, has fixed."""
    return [text.partition("=")[0] for text in args.settings]


def _summary(trial: Trial, entry: Entry, work: Work, vary: str | None = None) -> dict[str, Any]:
    told = ("top1", "top5", "parameters", "bytes", "top1_squeezed", "macs", "ram", "latency_ms", "latency_on")
    result = {} if entry.result is None else work.timed(entry.result)
    known = {name: result[name] for name in told if name in result}
    varied = {"value": value_of(trial, vary)} if vary else {"command": train_command(trial)}
    about = {"name": trial.name, "seed": trial.recipe.seed, "state": entry.state, "reason": entry.reason}
    return {**about, **varied, **known}
