"""The work of `squeezenet explore`: sweep, search or repeat, then write the report."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from squeezenet.architectures import ARCHITECTURES, Metaparameters, find_architecture
from squeezenet.cli import train_run
from squeezenet.cli.explore import VARIES
from squeezenet.cli.live import Live, work_of
from squeezenet.data import Data, default_preparation, load_data
from squeezenet.data.examples import some
from squeezenet.errors import UsageError
from squeezenet.explore import storage
from squeezenet.explore.ledger import Entry, Ledger
from squeezenet.explore.results import RESULTS, pareto, read_results
from squeezenet.explore.search import Budgets, Space, search, settle, study_of
from squeezenet.explore.sweeps import parse_values, trials
from squeezenet.explore.trial import Squeezed, Trial, fingerprint, train_command
from squeezenet.explore.versions import MIDDLE, SMALL
from squeezenet.explore.work import Work
from squeezenet.report.design_space import write_report
from squeezenet.training.job import read_job

JOURNAL = "trials.journal"
RELOAD = 10  # seconds after which the page of --watch reloads itself


def explore(args: Namespace) -> dict[str, Any]:
    """Carry out the trials that are not done yet; the JSON object of the verb without `seconds`."""
    data, name = load_data(args.data, args.val), Path(args.data).name  # its path differs between machines
    data = Data(replace(data.train, name=name), replace(data.validation, name=name))
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
    return {**result, "out": str(args.out), "results": str(results), "report": str(report)}


@contextmanager
def _watched(report: Path, work: Work) -> Iterator[None]:
    """Write the page after each trial; at the end, also after an error, write it without the reload."""
    work.on_results = lambda results: write_report(report, read_results(results), RELOAD)
    work.write()
    try:
        yield
    finally:
        work.on_results = lambda results: None
        write_report(report, read_results(work.out / RESULTS))


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
            f"--repeat {args.repeat}: the names of {len(found)} trials in {args.out} begin with it; give one name"
        )
    trial = Trial.from_dict(found[0].trial)
    if trial.data != fingerprint(work.data):
        raise UsageError(
            f"--repeat {args.repeat}: this trial was trained on other images than {args.data}; name the same images"
        )
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
    side = max(preparation.cropped)
    usual = "squeezenet_32" if side <= SMALL else "squeezenet_64" if side <= MIDDLE else "squeezenet1_0"
    args.model = args.model or read_job(args.recipe).model or usual
    job = train_run.settings(args)
    if job.recipe.teacher or job.recipe.weights:
        raise UsageError(
            f"{args.recipe}: has a teacher or initial weights, which `explore` cannot record; leave them out of the "
            "recipe"
        )
    if isinstance(job.image_size, str):
        raise UsageError(f"image_size = {job.image_size}: `explore` takes square images; give one number of pixels")
    architecture = find_architecture(args.model)
    if architecture.meta is None:
        known = [name for name, known in ARCHITECTURES.items() if known.meta]
        raise UsageError(f"--model {args.model}: has no metaparameters to vary; give one of {', '.join(known)}")
    meta = {**asdict(architecture.meta), **job.network}
    network = Metaparameters(**{**meta, "classes": len(data.train.classes), "in_channels": preparation.shape[0]})
    squeeze = Squeezed(args.method, args.squeeze_bytes or 0)
    images, judges = len(some(data.train, job.max_images)), len(some(data.validation, job.val_images))
    return Trial(network, job.image_size or side, job.recipe, fingerprint(data), images, judges, squeeze)


def value_of(trial: Trial, vary: str) -> Any:
    """The trial's value of what a sweep varies."""
    homes = {"image_size": trial, "seed": trial.recipe}
    return getattr(homes.get(vary, trial.network), vary)


def _set(args: Namespace) -> list[str]:
    """The names of the settings that --set fixes."""
    return [text.partition("=")[0] for text in args.settings]


def _summary(trial: Trial, entry: Entry, work: Work, vary: str | None = None) -> dict[str, Any]:
    told = ("top1", "top5", "parameters", "bytes", "top1_squeezed", "macs", "ram", "latency_ms", "latency_on")
    result = {} if entry.result is None else work.timed(entry.result)
    known = {name: result[name] for name in told if name in result}
    varied = {"value": value_of(trial, vary)} if vary else {"command": train_command(trial)}
    about = {"name": trial.name, "seed": trial.recipe.seed, "state": entry.state, "reason": entry.reason}
    return {**about, **varied, **known}
