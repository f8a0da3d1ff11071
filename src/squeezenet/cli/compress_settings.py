"""From the command line of `squeezenet compress` to what the workshop is asked for.

>>> sorted(parse_method("svd+prune"))
['prune', 'svd']
"""

import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from squeezenet.cli.mistakes import suggestion
from squeezenet.compression.finetune import Tuning
from squeezenet.compression.pipeline import Bits, Settings
from squeezenet.compression.squeeze import Learning, Squeezing
from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError
from squeezenet.model import Model
from squeezenet.training.teacher import load_teacher

METHODS = ("squeeze", "svd", "prune", "deep-compression")
NEEDS = {
    "max_bytes": ("squeeze",),
    "max_loss": ("squeeze",),
    "epochs": ("squeeze",),
    "step_lr": ("squeeze",),
    "features": ("squeeze",),
    "teacher": ("squeeze",),
    "thorough": ("squeeze",),
    "report": ("squeeze",),
    "rank": ("svd",),
    "factor_epochs": ("svd",),
    "density": ("prune", "deep-compression"),
    "prune_epochs": ("prune", "deep-compression"),
    "bits": ("deep-compression",),
    "init": ("deep-compression",),
    "share_epochs": ("deep-compression",),
}
"""Option -> the methods one of which it belongs to."""


def usual_method(args: Namespace) -> str:
    """The method where none is named: squeeze, unless an option says otherwise."""
    given = [allowed for option, allowed in NEEDS.items() if getattr(args, option) is not None]
    return "deep-compression" if any("deep-compression" in allowed for allowed in given) else "squeeze"


def settings_of(args: Namespace) -> Settings:
    """What low rank, pruning and weight sharing are asked for. Raises `UsageError`."""
    usual = Settings()
    methods = parse_method(args.method)
    for option, allowed in NEEDS.items():
        if getattr(args, option) is not None and not methods & set(allowed):
            flag = f"--{option.replace('_', '-')}"
            raise UsageError(f"{flag} is not for --method {args.method}; add {' or '.join(allowed)}, or leave it out")
    shares = "deep-compression" in methods

    def tuning(of: Tuning, epochs: float | None) -> Tuning:
        return replace(of, **_given(lr=args.lr, batch_size=args.batch_size, epochs=epochs))

    return replace(
        usual,
        rank=(args.rank or "ratio=2") if "svd" in methods else None,
        density=(args.density or "auto") if shares or "prune" in methods else None,
        bits=parse_bits(args.bits or "8,5") if shares else None,
        initialisation=args.init or usual.initialisation,
        objective=args.objective,
        factor=tuning(usual.factor, args.factor_epochs),
        prune=tuning(usual.prune, args.prune_epochs),
        share=tuning(usual.share, args.share_epochs),
        augmentation=_augmentation(args),
        seed=args.seed,
    )


def squeezing_of(args: Namespace, model: Model) -> Squeezing:
    """What `squeeze` is asked for. Raises `UsageError`."""
    if args.max_bytes is not None and args.max_loss is not None:
        raise UsageError("--max-bytes and --max-loss: give one of them; the other is what comes out")
    if args.max_loss is not None and args.data is None:
        raise UsageError("--max-loss needs labelled images to judge by; pass --data, or ask for --max-bytes")
    if args.epochs and args.data is None:
        raise UsageError(f"--epochs {args.epochs:g}: there is nothing to learn from; pass --data")
    for option in ("step_lr", "features", "teacher"):
        if getattr(args, option) is not None and not args.epochs:
            raise UsageError(f"--{option.replace('_', '-')} is for learning; pass --epochs as well")
    if args.features and args.teacher:
        raise UsageError("--features and --teacher: layers are held against MODEL's own; leave one of the two out")
    learning = replace(
        Learning(),
        **_given(
            epochs=args.epochs, batch_size=args.batch_size, lr=args.lr, bias_lr=args.lr, step_lr=args.step_lr,
            features=args.features,
        ),
    )  # fmt: skip
    asked = Squeezing(args.max_bytes, args.max_loss, args.objective, learning, _augmentation(args), args.seed)
    return replace(asked, teacher=_teacher(args, model, asked.device), thorough=bool(args.thorough))


def parse_method(text: str) -> set[str]:
    """`svd`, or `svd+deep-compression`. Raises `UsageError`."""
    methods = text.split("+")
    for word in methods:
        if word not in METHODS:
            known = f"; give {', '.join(METHODS)}, or several joined by +"
            raise UsageError(f"--method {text}: no method is called {word!r}{suggestion(word, METHODS) or known}")
    if {"squeeze", "deep-compression"} <= set(methods):
        raise UsageError(f"--method {text}: a weight is a level or a centroid; leave one of the two out")
    return set(methods)


def parse_bits(text: str) -> Bits:
    """`6`, or `8,5`. Raises `UsageError`."""
    if not re.fullmatch(r"\d+(,\d+)?", text):
        raise UsageError(f"--bits {text}: give one number, or two as in 8,5")
    widths = [int(part) for part in text.split(",")]
    if not all(1 <= width <= 12 for width in widths):
        raise UsageError(f"--bits {text}: indices have 1 to 12 bits")
    return Bits(widths[0], widths[-1])


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _augmentation(args: Namespace) -> Augmentation | None:
    if args.mirror is None and not args.pad:
        return None
    return Augmentation(mirror=args.mirror is not False, pad=args.pad or 0)


def _teacher(args: Namespace, model: Model, device: torch.device) -> Callable[[Tensor], Tensor] | None:
    if args.teacher is None:
        return None
    return load_teacher(args.teacher, model.preparation, model.labels, model.graph.classes, device).answer
