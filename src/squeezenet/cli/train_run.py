"""The work of `squeezenet train`: read the options and the recipe, train, and report.

>>> settings(args).recipe.name                                              # doctest: +SKIP
'finetune'
"""

import argparse
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from squeezenet import zoo
from squeezenet.cli.accuracy import JUDGED, significance
from squeezenet.data import Data
from squeezenet.data.augment import Augmentation
from squeezenet.data.evaluate import answers
from squeezenet.data.examples import some
from squeezenet.data.judged import load_for
from squeezenet.data.pixels import common_side, first_images
from squeezenet.data.score import Score
from squeezenet.errors import UsageError
from squeezenet.formats import load_model
from squeezenet.model import Model
from squeezenet.models import ARCHITECTURES, Metaparameters, find_architecture
from squeezenet.printable import printable
from squeezenet.report.accuracy import write_report
from squeezenet.settings import kinds_of, split, typed
from squeezenet.training import FINETUNE, MODERN, RECIPES, Recipe, Setup, TrainResult, train
from squeezenet.training.distributed import join
from squeezenet.training.evaluate import answers_of
from squeezenet.training.job import FROM_DATA, Job, read_job
from squeezenet.training.progress import epoch_line
from squeezenet.training.run_folder import check_place
from squeezenet.training.start import Start, begin

FILES = ("teacher", "weights")
PLACE = ("model", "data", "val", "image_size", "max_images", "val_images", "split_seed")
OPTIONS = ("epochs", "batch_size", "micro_batch", "lr", "seed")

SKIPPED = "skipped.txt"
LEFT = ("model.safetensors", "report.html", "metrics.jsonl", SKIPPED)
"""Files of a run that the result names; `SKIPPED` only where images could not be read."""

SMALL_NETWORK, PHOTO_NETWORK = "squeezenet_32", "squeezenet1_1"
"""The networks that are trained from scratch where none is named: for small images, and for photographs."""

REPORTED = 10_000
"""At most so many validation images, evenly taken, are in RUN/report.html."""

TINY = 48
"""Square images up to so many pixels train a small network from scratch: ImageNet's network reads 227 pixels."""


def train_as_asked(args: argparse.Namespace) -> dict[str, Any]:
    """Train; the JSON object of the verb."""
    with join() as group:
        say = _say if group.first else lambda text: None
        group.on_first(lambda: check_place(args.out))
        model = _model_named(args)
        data = _load(args, {} if model is None else model.provenance)
        data.require_classes()
        choose(args, data)
        job = settings(args)
        if args.recipe == FINETUNE.name and args.epochs is None and job.recipe.epochs == FINETUNE.epochs:
            job = replace(job, recipe=job.recipe.for_images(len(data.train)))
        assert job.model is not None
        if model is None and job.model not in ARCHITECTURES:
            model = load_model(job.model)
        start = begin(job, data, model)
        say(f"{start.told}; recipe {job.recipe.name}, {len(data.train):,} images, {len(data.validation):,} to validate")
        setup = Setup(
            group=group, gradients=args.gradients, compiled=args.compile, workers=args.workers,
            checkpoint_seconds=args.checkpoint_every,
        )  # fmt: skip
        result = train(
            start.model, data, start.preparation, job.recipe, args.out, setup,
            architecture=start.architecture, origin=start.origin, reader=start.reader, job=job, say=say,
            on_epoch=None if sys.stderr.isatty() else lambda row: say(epoch_line(row)),
        )  # fmt: skip
        judged = "held-out" if data.held_out else "val" if job.val else "validation"
        if group.first:
            _report(args.out, start, data, JUDGED[judged])
    return {**_told(str(args.out), job, start, result, len(data.train.classes)), "judged": judged, "rank": group.rank}


def _model_named(args: argparse.Namespace) -> Model | None:
    """The model that training starts from, or None if no model is named, or a network.

    A name of a network means the model that was fetched under this name, if there is one and no --recipe is given;
    `args.model` becomes its file.
    """
    if args.from_scratch and args.recipe == FINETUNE.name:
        raise UsageError(f"--from-scratch: the recipe {args.recipe} starts from a model; leave one of the two out")
    name = args.model or (read_job(args.recipe).model if args.recipe else None)
    pulled = zoo.PUBLISHED.get(name or "")
    if args.recipe is None and not args.from_scratch and pulled and zoo.cached(pulled).is_file():
        name = args.model = str(zoo.cached(pulled))
    if name is None or name in ARCHITECTURES:
        return None
    if args.from_scratch:
        raise UsageError(f"--from-scratch: {name} is a model, not a network; give one of {', '.join(ARCHITECTURES)}")
    if not zoo.find(name).exists() and Path(name).name == name and not Path(name).suffix:
        find_architecture(name)  # raises with the nearest name
    return load_model(name)


def choose(args: argparse.Namespace, data: Data) -> None:
    """Set `args.model` and `args.recipe` where both were left out, or the model alone with --from-scratch.

    Photographs start from the model that ships; images of up to `TINY` pixels start from scratch.
    """
    named = args.model or (args.recipe and read_job(args.recipe).model)
    if not named and (args.recipe is None or args.from_scratch):
        side = common_side(first_images(data.train))
        tiny = side is not None and side <= TINY
        fresh = SMALL_NETWORK if tiny else PHOTO_NETWORK
        args.model = fresh if tiny or args.from_scratch else zoo.DEFAULT
    if args.recipe is None:
        args.recipe = MODERN.name if args.model in ARCHITECTURES else FINETUNE.name


def settings(args: argparse.Namespace) -> Job:
    """The job of `args.recipe`, which `choose` has set, with the user's options. Raises `UsageError`."""
    job = read_job(args.recipe)
    told = {name: getattr(args, name) for name in PLACE if getattr(args, name) is not None}
    job = replace(job, **told)
    if job.model is None and args.recipe == FINETUNE.name:
        job = replace(job, model=zoo.DEFAULT)
    missing = [f"--{name}" for name in ("model", "data") if getattr(job, name) is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} missing: not given, and not in the recipe {args.recipe}")
    assert job.model is not None
    if args.epochs is not None and args.epochs <= 0:  # in a recipe, 0 means that `iterations` counts
        raise UsageError(f"--epochs {args.epochs:g}: must be more than 0")
    recipe = job.recipe
    fresh = job.model in ARCHITECTURES and find_architecture(job.model).meta is not None
    network = kinds_of(Metaparameters, FROM_DATA) if fresh else {}
    if job.network and not fresh:
        raise UsageError(
            f"{job.model}: is a trained model, whose network cannot be changed; leave {', '.join(job.network)} out"
        )
    training = kinds_of(Recipe, ("name", "augmentation", *FILES, *OPTIONS))
    images = kinds_of(Augmentation)
    chosen = typed({**network, **training, **images}, split(args.settings), "--set ", text=True)
    options = {name: getattr(args, name) for name in (*OPTIONS, *FILES) if getattr(args, name) is not None}
    changes = {name: value for name, value in chosen.items() if name in training} | options
    if "iterations" in changes and "epochs" not in changes:
        changes["epochs"] = 0.0
    looks = {name: value for name, value in chosen.items() if name in images}
    if args.recipe in RECIPES and job.data == "digits":
        # 16 pixels; a mirrored 2 is no digit
        looks = {"mirror": False, "pad": min(recipe.augmentation.pad, 1), **looks}
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, **looks), **changes)
    own = {name: value for name, value in chosen.items() if name in network}
    return replace(job, recipe=recipe, network={**job.network, **own})


def _load(args: argparse.Namespace, provenance: Mapping[str, str]) -> Data:
    """The images of the run, split as for the model with this provenance. Raises `UsageError`, `DataError`."""
    job = Job(FINETUNE) if args.recipe is None else read_job(args.recipe)
    source = args.data or job.data
    if source is None:
        raise UsageError("--data missing: name a folder with one folder of images for each class")

    def first(*values: Any) -> Any:
        return next((value for value in values if value is not None), None)

    seed = first(args.split_seed, job.split_seed, args.seed, job.recipe.seed)
    data = load_for(provenance, source, first(args.val, job.val), seed)
    validation = some(data.validation, first(args.val_images, job.val_images))
    return Data(some(data.train, first(args.max_images, job.max_images)), validation, data.held_out)


def _report(out: Path, start: Start, data: Data, about: str) -> None:
    """RUN/report.html. The weights in `start.model` are those that were saved."""
    examples = some(data.validation, REPORTED)
    if len(examples) < len(data.validation):
        about = f"{len(examples):,} {about}"
    given = answers(answers_of(start.model.eval()), examples, start.preparation, batch_size=16)
    write_report(out / "report.html", out.name, given, examples, data.train.classes, about)


def _told(out: str, job: Job, start: Start, result: TrainResult, classes: int) -> dict[str, Any]:
    """The JSON object of the verb: accuracy, start, files, and the next command."""
    origin = start.origin or {}
    images = ["--data", str(job.data), *(["--val", job.val] if job.val else [])]
    command = ["squeezenet", "compress", out, *images, "--max-bytes", "300kB", "--out", f"{out}.sqz"]
    score = Score(result.images, result.top1, result.top5)
    return {
        **asdict(result),
        "top1_error": round(score.error, 4),
        "top5": significance(result.top5, classes),
        "model": job.model,
        "start": origin.get("model"),
        "replaced": origin.get("replaced"),
        "recipe": job.recipe.name,
        "files": [f"{out}/{name}" for name in LEFT if name != SKIPPED or result.skipped_images],
        "tensorboard": f"{out}/tensorboard",
        "next": shlex.join(command),
    }


def _say(text: str) -> None:
    print(f"squeezenet: {printable(text)}", file=sys.stderr, flush=True)
