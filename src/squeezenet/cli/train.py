"""`squeezenet train`: from images to a run folder.

squeezenet train --model squeezenet_32 --data digits --out run --recipe modern --set base_e=64
torchrun --nproc-per-node 2 -m squeezenet train --recipe recipes/cifar10.toml --data photos/ --out run
"""

import argparse
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from squeezenet.data import Data, default_preparation, load_data
from squeezenet.data.augment import Augmentation
from squeezenet.data.examples import some
from squeezenet.data.load import ACCEPTED
from squeezenet.errors import UsageError
from squeezenet.models import ARCHITECTURES, Metaparameters, describe, find_architecture
from squeezenet.training import RECIPES, Recipe, Setup, fresh_model, train
from squeezenet.training.distributed import join
from squeezenet.training.job import Job, read_job, settings_of

FILES = ("teacher", "weights")
PLACE = ("model", "data", "val", "image_size", "max_images", "judge_by", "split_seed")
OPTIONS = ("epochs", "batch_size", "micro_batch", "lr", "seed")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("--model", metavar="M", help=f"one of {', '.join(ARCHITECTURES)}")
    parser.add_argument("--data", metavar="D", help=ACCEPTED)
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="the run's folder; a run in it goes on")
    parser.add_argument("--val", metavar="D", help="images to judge by; otherwise the data's own, or one in ten")
    parser.add_argument(
        "--recipe", default="paper", metavar="FILE",
        help=f"a .toml file (recipes/, or RUN/recipe.toml), or {' or '.join(RECIPES)} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--epochs", type=float, help="passes over the images; the schedule is stretched over them")
    parser.add_argument("--batch-size", type=int, help="images per step, of all processes together")
    parser.add_argument("--micro-batch", type=int, help="images in memory at once; gradients of a batch are summed up")
    parser.add_argument("--lr", type=float, help="highest learning rate")
    parser.add_argument("--seed", type=int, help="decides everything random (default: 0)")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the image the network reads")
    parser.add_argument("--max-images", type=int, metavar="N", help="train on N images, evenly taken")
    parser.add_argument("--judge-by", type=int, metavar="N", help="judge by N images, evenly taken")
    parser.add_argument(
        "--split-seed", type=int, metavar="N", help="which tenth judges, where the data has none (--seed)"
    )
    parser.add_argument("--weights", metavar="RUN", help="start from these weights (transfer, or a second stage)")
    parser.add_argument("--teacher", metavar="MODEL", help="a trained model to imitate (distillation)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="any other setting: of the network (base_e=64 sr=0.25 bypass=simple), of the recipe (momentum, ema), "
        "of the augmentation (mirror=false pad=2)",
    )  # fmt: skip
    parser.add_argument("--checkpoint-every", type=float, metavar="SECONDS", help="default: what costs 2%% of the time")
    parser.add_argument("--workers", type=int, help="threads that decode images")
    parser.add_argument("--compile", action="store_true", help="compile the network (torch.compile)")
    parser.add_argument(
        "--gradients", choices=("float32", "bf16"), default="float32",
        help="how processes send them under torchrun (default: %(default)s; bf16 is half the bytes)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train; the JSON object of this verb."""
    job = settings(args)
    assert job.model is not None
    assert job.data is not None
    architecture = find_architecture(job.model)
    fixed = architecture.input_size if architecture.meta is None else None  # AlexNet's fc6 knows its image's size
    if fixed and job.image_size not in (None, fixed):
        raise UsageError(f"{job.model} reads images of {fixed} pixels only; leave --image-size out")
    with join() as group:
        data = load_data(job.data, job.val, job.recipe.seed if job.split_seed is None else job.split_seed)
        data = Data(some(data.train, job.max_images), some(data.validation, job.judge_by))
        preparation = default_preparation(data.train, fixed or job.image_size, architecture.input_size)
        model = fresh_model(job.model, data, preparation, job.recipe, **job.network)
        fitting = {"classes": len(data.train.classes), "in_channels": preparation.shape[0]}
        setup = Setup(
            group=group,
            gradients=args.gradients,
            compiled=args.compile,
            workers=args.workers,
            checkpoint_seconds=args.checkpoint_every,
        )
        about = describe(job.model, {**job.network, **fitting})
        result = train(model, data, preparation, job.recipe, args.out, setup, architecture=about, job=job)
    return {**asdict(result), "rank": group.rank}


def render(result: dict[str, Any]) -> str:
    """What a person reads."""
    lines = [
        f"top-1 {result['top1']:.2f}%  top-5 {result['top5']:.2f}%  {result['parameters']:,} parameters",
        f"{result['epochs']:g} epochs, {result['images_per_second']:,.0f} images/s -> {result['out']}",
    ]
    if result["skipped_images"]:
        lines.append(f"{result['skipped_images']} images cannot be read and were left out")
    return "\n".join(lines)


def settings(args: argparse.Namespace) -> Job:
    """The recipe's job with what the user changed. Raises `UsageError`."""
    job = read_job(args.recipe)
    told = {name: getattr(args, name) for name in PLACE if getattr(args, name) is not None}
    job = replace(job, **told)
    missing = [f"--{name}" for name in ("model", "data") if getattr(job, name) is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} missing: neither given nor in the recipe {args.recipe}")
    assert job.model is not None
    if args.epochs is not None and args.epochs <= 0:  # 0 in a recipe means that iterations count
        raise UsageError(f"--epochs {args.epochs:g}: must be more than 0")
    recipe = job.recipe
    network = {} if find_architecture(job.model).meta is None else settings_of(Metaparameters)
    training, images = settings_of(Recipe), settings_of(Augmentation)
    training = {name: kind for name, kind in training.items() if name not in ("name", *FILES, *OPTIONS)}
    chosen = _parse(args.settings, {**network, **training, **images})
    options = {name: getattr(args, name) for name in (*OPTIONS, *FILES) if getattr(args, name) is not None}
    changes = {name: value for name, value in chosen.items() if name in training} | options
    if "iterations" in changes and "epochs" not in changes:
        changes["epochs"] = 0.0
    looks = {name: value for name, value in chosen.items() if name in images}
    if args.recipe in RECIPES and job.data == "digits":
        looks = {
            "mirror": False,
            "pad": min(recipe.augmentation.pad, 1),
            **looks,
        }  # 16 pixels; a mirrored 2 is no digit
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, **looks), **changes)
    own = {name: value for name, value in chosen.items() if name in network}
    return replace(job, recipe=recipe, network={**job.network, **own})


def _parse(texts: Sequence[str], kinds: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in kinds:
            raise UsageError(f"--set {text}: known are {', '.join(sorted(kinds))}; write KEY=VALUE")
        chosen[name] = _convert(name, value, kinds[name])
    return chosen


def _convert(name: str, value: str, hint: Any) -> Any:
    if typing.get_origin(hint) is types.UnionType:  # "float | None"
        hint = typing.get_args(hint)[0]
    allowed = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    if hint is bool:
        allowed = ("true", "false")
    if allowed and value not in allowed:
        raise UsageError(f"--set {name}={value}: must be one of {', '.join(allowed)}")
    if allowed:
        return value == "true" if hint is bool else value
    try:
        return hint(value)
    except ValueError:
        raise UsageError(f"--set {name}={value}: must be {'a whole number' if hint is int else 'a number'}") from None
