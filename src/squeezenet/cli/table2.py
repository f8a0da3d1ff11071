"""Table 2 of the paper: what each method makes of AlexNet and SqueezeNet, beside what was printed.

Sizes are of files, written to --out and read again. Accuracies are those of the files, where there are trained weights
and images to judge by: the paper's are of ImageNet, ours of whatever a row names. Rows of random weights say "size
only", those of trained weights without images "not judged".
"""

import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from squeezenet import sqz
from squeezenet.compression import Compressed, CompressionRecipe, LowRank, Pruning, Sharing, compress
from squeezenet.compression.recipe import METHODS
from squeezenet.data import Data, Examples, Pixels, load_data, load_evaluation, load_pixels
from squeezenet.data.classes import match_classes
from squeezenet.data.evaluate import evaluate
from squeezenet.files import write_atomically
from squeezenet.formats import load_model
from squeezenet.model import Model, Shared
from squeezenet.report.paper import TABLE_2, TableRow
from squeezenet.runtime.run import runner

RANDOM = "random"

RETRAINING = {"batch_size": 100, "lr": 3e-4}
"""Of networks trained here; published weights have few images to learn from and are retrained as is usual."""

AS_IT_IS = CompressionRecipe("none")
PRUNED = CompressionRecipe("prune", pruning=Pruning(density="paper"))
SVD = CompressionRecipe("svd", low_rank=LowRank(rank="ratio=5"))


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to squeeze, as each row of the table says: where its weights come from, and images if there are any."""

    model: Model
    weights: str
    data: str = ""
    tune: Pixels | None = None
    judge: Pixels | None = None
    retraining: Mapping[str, float] = field(default_factory=dict)  # settings that are not the usual ones

    @property
    def squeezed(self) -> int:
        """Bits of the indices it came with; 0 where weights are still floats."""
        return max(held.weight.bits if isinstance(held.weight, Shared) else 0 for held in self.model.weights.values())


def table2(args: Namespace) -> list[dict[str, Any]]:
    """The paper's networks for ImageNet; then, where they are given, networks trained here."""
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    here = {}
    if args.data is not None:  # before anything takes time: these may not fit
        here = {name: _trained(run, args) for name, run in (("AlexNet", args.alexnet), ("SqueezeNet", args.squeezenet))}
    published = None if args.weights is None else _published(args)
    drawn = f"{RANDOM}, seed {args.seed}"
    alexnet = Subject(load_model("alexnet", args.seed), drawn)
    squeezenet = Subject(load_model("squeezenet1_0", args.seed), drawn)
    subjects = {"AlexNet": [alexnet], "SqueezeNet": [published or squeezenet]}
    if published is not None and published.squeezed:
        subjects["SqueezeNet"].insert(0, squeezenet)
    rows = rows_of(subjects, out, "imagenet", args)
    del subjects, alexnet  # a gigabyte
    return rows + rows_of({name: [subject] for name, subject in here.items()}, out, "trained", args)


def rows_of(subjects: dict[str, list[Subject]], out: Path, prefix: str, args: Namespace) -> list[dict[str, Any]]:
    """Table 2 of these networks. Of two for one name, the first is for "none": the second came squeezed."""
    rows: list[dict[str, Any]] = []
    if not subjects:
        return rows
    whole = subjects["AlexNet"][0].model.float32_bytes
    for name, candidates in subjects.items():
        made: dict[CompressionRecipe, Compressed] = {}  # rows of one network share it
        for printed in (row for row in TABLE_2 if row.network == name):
            subject = candidates[0 if printed.method == "none" else -1]
            squeezed = _squeeze(subject, printed, args, made)
            slug = f"{prefix} {name} {printed.method} {printed.data_type}".lower().replace(" ", "-")
            path = out / f"{slug}.sqz"
            write_atomically(path, squeezed.data)
            written, size = sqz.read(path), len(squeezed.data)
            rows.append({
                "network": name,
                "method": printed.method,
                "data_type": printed.data_type,
                "weights": subject.weights,
                "file": str(path),
                "bytes": size,
                "ratio": round(whole / size, 2),
                "parameters": written.parameters,
                "nonzero": written.nonzero,
                **_judged(written, squeezed.data, subject),
                "paper": {
                    "megabytes": printed.megabytes, "ratio": printed.ratio, "top1": printed.top1, "top5": printed.top5,
                },
            })  # fmt: skip
    return rows


def _recipes(row: TableRow) -> list[CompressionRecipe]:
    """The recipes that make the row's file, one after the other."""
    if row.bits:
        sharing = Sharing(conv_bits=row.bits[0], fc_bits=row.bits[1])
        return [PRUNED, CompressionRecipe("deep-compression", pruning=Pruning(density="keep"), sharing=sharing)]
    return [{"none": AS_IT_IS, "SVD": SVD, "pruning": PRUNED}[row.method]]


def _squeeze(
    subject: Subject, printed: TableRow, args: Namespace, made: dict[CompressionRecipe, Compressed]
) -> Compressed:
    """What the row's recipes make of the network; of one that came squeezed, sharing only where bits are fewer."""
    recipes = _recipes(printed)
    if subject.squeezed:
        recipes = [r for r in recipes if r != PRUNED and r.sharing.conv_bits < subject.squeezed] or [AS_IT_IS]
    model = subject.model
    for recipe in recipes:
        file = made.get(recipe) or compress(model, subject.tune, _retrained(recipe, subject, args))
        if recipe == PRUNED:
            made[recipe] = file
        model = file.model
    return file


def _retrained(recipe: CompressionRecipe, subject: Subject, args: Namespace) -> CompressionRecipe:
    """The recipe with the seed and the settings of retraining that are asked for."""
    changes = {**subject.retraining, **({} if args.epochs is None else {"epochs": args.epochs})}
    stages = {stage for method in recipe.methods for stage in METHODS[method]}
    return replace(recipe, seed=args.seed, **{stage: replace(getattr(recipe, stage), **changes) for stage in stages})


def _judged(written: Model, data: bytes, subject: Subject) -> dict[str, Any]:
    if subject.judge is None:
        why = "size only" if subject.weights.startswith(RANDOM) else "not judged"
        return {"accuracy": why, "top1": None, "top5": None, "images": 0, "data": None}
    score = evaluate(runner(written, os.cpu_count() or 1, data=data), subject.judge, written.preparation)
    return {
        "accuracy": "measured",
        "top1": round(score.top1, 4),
        "top5": round(score.top5, 4),
        "images": score.images,
        "data": subject.data,
    }


def _trained(run: str, args: Namespace) -> Subject:
    model = load_model(run)
    data = load_data(args.data, args.val, args.seed)
    return _with_images(model, f"{run}, trained here", args.val or args.data, data, args, RETRAINING)


def _published(args: Namespace) -> Subject:
    model = load_model(args.weights)
    weights = f"{args.weights}, as published"
    if args.imagenet is not None:
        data = load_data(args.imagenet, args.imagenet_val, args.seed)
        return _with_images(model, weights, args.imagenet_val or args.imagenet, data, args)
    if args.imagenet_val is not None:
        judge = _pixels(load_evaluation(args.imagenet_val), model)
        return Subject(model, weights, args.imagenet_val, judge=judge)
    return Subject(model, weights)


def _with_images(
    model: Model, weights: str, named: str, data: Data, args: Namespace, retraining: Mapping[str, float] | None = None
) -> Subject:
    data.validation.require_labels()
    tune, judge = _pixels(data.train, model, args.limit), _pixels(data.validation, model)
    return Subject(model, weights, named, tune, judge, retraining or {})


def _pixels(examples: Examples, model: Model, limit: int | None = None) -> Pixels:
    return load_pixels(match_classes(examples, model.labels, model.graph.classes), model.preparation, limit)
