"""`squeezenet train`: from images to a run folder.

squeezenet train --model squeezenet_32 --data digits --out run --recipe modern --set base_e=64
"""

import argparse
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from squeezenet.data import default_preparation, load_data
from squeezenet.data.augment import Augmentation
from squeezenet.data.load import ACCEPTED
from squeezenet.errors import UsageError
from squeezenet.models import ARCHITECTURES, Metaparameters, describe, find_architecture
from squeezenet.training import RECIPES, Recipe, fresh_model, train

FROM_DATA = ("classes", "in_channels")
OPTIONS = ("epochs", "batch_size", "micro_batch", "lr", "seed")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("--model", required=True, metavar="M", help=f"one of {', '.join(ARCHITECTURES)}")
    parser.add_argument("--data", required=True, metavar="D", help=ACCEPTED)
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="the run's folder; a run in it goes on")
    parser.add_argument("--val", metavar="D", help="images to judge by; otherwise the data's own, or one in ten")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="paper", help="default: %(default)s")
    parser.add_argument("--epochs", type=float, help="passes over the images; the schedule is stretched over them")
    parser.add_argument("--batch-size", type=int, help="images per step")
    parser.add_argument("--micro-batch", type=int, help="images in memory at once; gradients of a batch are summed up")
    parser.add_argument("--lr", type=float, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="decides everything random (default: %(default)s)")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the image the network reads")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="any other setting: of the network (base_e=64 sr=0.25 bypass=simple), of the recipe (momentum, ema), "
        "of the augmentation (mirror=false pad=2)",
    )  # fmt: skip
    parser.add_argument("--checkpoint-every", type=float, metavar="SECONDS", help="default: what costs 2%% of the time")
    parser.add_argument("--workers", type=int, help="threads that decode images")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train; the JSON object of this verb."""
    architecture = find_architecture(args.model)
    recipe, overrides = settings(args)
    data = load_data(args.data, args.val, args.seed)
    fixed = architecture.input_size if architecture.meta is None else None  # AlexNet's fc6 knows its image's size
    if fixed and args.image_size not in (None, fixed):
        raise UsageError(f"{args.model} reads images of {fixed} pixels only; leave --image-size out")
    preparation = default_preparation(data.train, fixed or args.image_size, architecture.input_size)
    model = fresh_model(args.model, data, preparation, recipe, **overrides)
    fitting = {"classes": len(data.train.classes), "in_channels": preparation.shape[0]}
    result = train(
        model,
        data,
        preparation,
        recipe,
        args.out,
        architecture=describe(args.model, {**overrides, **fitting}),
        workers=args.workers,
        checkpoint_seconds=args.checkpoint_every,
    )
    return asdict(result)


def render(result: dict[str, Any]) -> str:
    """What a person reads."""
    lines = [
        f"top-1 {result['top1']:.2f}%  top-5 {result['top5']:.2f}%  {result['parameters']:,} parameters",
        f"{result['epochs']:g} epochs, {result['images_per_second']:,.0f} images/s -> {result['out']}",
    ]
    if result["skipped_images"]:
        lines.append(f"{result['skipped_images']} images cannot be read and were left out")
    return "\n".join(lines)


def settings(args: argparse.Namespace) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with what the user changed, and the network's metaparameters. Raises `UsageError`."""
    recipe = RECIPES[args.recipe]
    meta = find_architecture(args.model).meta
    network = {} if meta is None else _kinds(Metaparameters, FROM_DATA)
    training = _kinds(Recipe, ("name", "augmentation", *OPTIONS))
    images = _kinds(Augmentation, ())
    chosen = _parse(args.settings, {**network, **training, **images})
    options = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    changes = {name: value for name, value in chosen.items() if name in training} | options
    if "iterations" in changes and "epochs" not in changes:
        changes["epochs"] = None
    looks = {name: value for name, value in chosen.items() if name in images}
    if args.data == "digits" and "mirror" not in looks:
        looks["mirror"] = False  # a mirrored 2 is no digit
    if args.data == "digits" and "pad" not in looks:
        looks["pad"] = min(recipe.augmentation.pad, 1)  # of 16 pixels
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, **looks), **changes)
    return recipe, {name: value for name, value in chosen.items() if name in network}


def _kinds(kind: type, without: Sequence[str]) -> dict[str, Any]:
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if name not in without}


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
