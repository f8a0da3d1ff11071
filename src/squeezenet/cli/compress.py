"""`squeezenet compress MODEL --data DATA --out F.sqz`: squeeze a model into one file.

`--method` says which stages, joined by +; whatever their order there, they run as low rank, pruning, weight sharing.
"""

import math
import os
import re
import shutil
import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from squeezenet import sqz
from squeezenet.cli.arguments import add_data, add_model, size
from squeezenet.compression.finetune import Tuning
from squeezenet.compression.low_rank import RANK_WORDS
from squeezenet.compression.pipeline import DENSITY_WORDS, Bits, Settings, compress
from squeezenet.compression.squeeze import Learning, Squeezing, measure, squeeze
from squeezenet.data import Data, Pixels, load_data, load_pixels
from squeezenet.data.augment import Augmentation
from squeezenet.data.classes import match_classes
from squeezenet.data.evaluate import evaluate
from squeezenet.errors import UsageError
from squeezenet.formats import load_model
from squeezenet.model import Model
from squeezenet.runtime.run import runner
from squeezenet.training.teacher import load_teacher

METHODS = {
    "squeeze": "an integer network of the size or accuracy asked for",
    "svd": "low rank",
    "prune": "pruning",
    "deep-compression": "pruning and weight sharing",
}
NEEDS = {
    "max_bytes": ("squeeze",),
    "max_loss": ("squeeze",),
    "epochs": ("squeeze",),
    "step_lr": ("squeeze",),
    "features": ("squeeze",),
    "teacher": ("squeeze",),
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


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model(parser)
    add_data(parser, required=False)
    parser.add_argument("--val", metavar="DATA", help="judge on these images instead of a tenth of --data")
    parser.add_argument("--out", required=True, metavar="F.sqz", help="file to write")
    parser.add_argument(
        "--method",
        help="; ".join(f"{name}: {stages}" for name, stages in METHODS.items())
        + "; or several, as in svd+deep-compression (default squeeze, or deep-compression where its options are given)",
    )
    parser.add_argument(
        "--max-bytes",
        type=size,
        metavar="SIZE",
        help="squeeze: the best network in a file of SIZE bytes, as in 350000 or 350kB (default: a 12th of float32)",
    )
    parser.add_argument(
        "--max-loss", type=float, metavar="P", help="squeeze: the smallest file that loses at most P points of top-1"
    )
    parser.add_argument(
        "--epochs",
        type=float,
        metavar="N",
        help="squeeze: how long to learn (default 0; pays on 50,000 images, not on 1,000)",
    )
    parser.add_argument(
        "--step-lr", type=float, metavar="R", help="squeeze: how fast the steps of weights and activations are learned"
    )
    parser.add_argument(
        "--features", type=float, metavar="W", help="squeeze: learn from what every layer gives, too, with this weight"
    )
    parser.add_argument(
        "--teacher", metavar="MODEL", help="squeeze: learn to answer as this model does, not as MODEL does itself"
    )
    parser.add_argument(
        "--report", metavar="F.html", help="squeeze: accuracy by size, and what each layer costs, as a page"
    )
    parser.add_argument(
        "--rank",
        metavar="KEPT",
        help="svd: a share of the full rank; " + "; ".join(RANK_WORDS) + " (default ratio=2)",
    )
    parser.add_argument(
        "--density",
        metavar="KEPT",
        help="kept share of the weights: a number; " + "; ".join(DENSITY_WORDS) + " (default auto)",
    )
    parser.add_argument("--bits", help="index width: 6, or 8,5 for convolutions, fully connected layers (default 8,5)")
    parser.add_argument("--init", choices=("linear", "density", "random"), help="first centroids (default linear)")
    parser.add_argument(
        "--objective", choices=("auto", "labels", "distill", "both"), default="auto", help="what to retrain on"
    )
    parser.add_argument("--factor-epochs", type=float, metavar="N", help="retraining in low rank")
    parser.add_argument("--prune-epochs", type=float, metavar="N", help="retraining after pruning, in all")
    parser.add_argument("--share-epochs", type=float, metavar="N", help="training of the centroids")
    parser.add_argument("--lr", type=float, help="learning rate of all retraining (Adam)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step of retraining (default 16)")
    parser.add_argument(
        "--mirror",
        action=BooleanOptionalAction,
        help="mirror images half the time while retraining (usual when distilling on colour images)",
    )
    parser.add_argument(
        "--pad",
        type=int,
        metavar="N",
        help="shift images by up to N pixels while retraining, and mirror them but for --no-mirror",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use N images of --data at most")
    parser.add_argument("--seed", type=int, default=0)


def run(args: Namespace) -> dict[str, Any]:
    """Compress, write, read back, and measure the file that was written."""
    out = Path(args.out)
    if out.suffix != ".sqz" or not out.parent.is_dir():
        raise UsageError(f"{out}: --out must be a .sqz file in a folder that exists")
    for folder in {out.parent, Path(args.report or out).parent}:  # known now, not after an hour of work
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{folder}: may not be written to; choose another --out or --report")
    args.method = args.method or usual_method(args)
    settings = settings_of(args)
    model = load_model(args.model, args.random_weights)
    start = time.perf_counter()
    pixels, held_out = _images(args, model)
    before = _top1(model, held_out)
    squeezed = model
    if settings.rank is not None or settings.density is not None or settings.bits is not None:
        squeezed = compress(model, pixels, settings)
    if "squeeze" in parse_method(args.method):
        judge = None if before is None else lambda tried: _top1(tried, held_out) or 0.0
        asked = replace(squeezing_of(args), teacher=_teacher(args, model))
        whole, squeezed = squeezed, squeeze(squeezed, pixels, asked, judge, _told, Path(f"{out}.work"))
        shutil.rmtree(f"{out}.work", ignore_errors=True)
    size = sqz.write(squeezed, out)
    written = sqz.read(out)
    after = _top1(written, held_out)
    if args.report:
        from squeezenet.report.squeeze import write_report

        curves = measure(whole, written, pixels, judge, args.seed)
        write_report(Path(args.report), whole, written, curves, sqz.sections(out))
    return {
        "model": args.model,
        "out": str(out),
        "method": args.method,
        "bytes": size,
        "parameters": written.parameters,
        "nonzero": written.nonzero,
        "density": round(written.density, 6),
        "ratio": round(written.float32_bytes / size, 2),
        "top1_before": before,
        "top1_after": after,
        "images": len(held_out) if held_out is not None and before is not None else 0,
        "skipped": pixels.skipped if pixels is not None else 0,
        "seconds": round(time.perf_counter() - start, 1),
    }


def render(result: dict[str, Any]) -> str:
    """For people."""
    text = (
        f"{result['out']}: {result['bytes']:,} bytes, {result['ratio']:.1f}x smaller than float32, "
        f"{100 * result['density']:.1f}% of {result['parameters']:,} parameters kept"
    )
    if result["top1_before"] is None:
        return text + "; accuracy not measured (no labelled images)"
    return text + (
        f"\ntop-1 {result['top1_before']:.2f}% before, {result['top1_after']:.2f}% after, "
        f"on {result['images']:,} images that were not tuned on"
    )


def usual_method(args: Namespace) -> str:
    """The method where none is named: squeeze, unless an option says otherwise."""
    given = [allowed for option, allowed in NEEDS.items() if getattr(args, option) is not None]
    return "deep-compression" if any("deep-compression" in allowed for allowed in given) else "squeeze"


def settings_of(args: Namespace) -> Settings:
    """The method's settings from the command line. Raises `UsageError`."""
    usual = Settings()
    if args.batch_size is not None and args.batch_size < 1:
        raise UsageError(f"--batch-size {args.batch_size}: must be at least 1")
    methods = parse_method(args.method)
    for option, allowed in NEEDS.items():
        if getattr(args, option) is not None and not methods & set(allowed):
            flag = f"--{option.replace('_', '-')}"
            raise UsageError(f"{flag} is not for --method {args.method}; add {' or '.join(allowed)}, or leave it out")
    shares = "deep-compression" in methods

    def tuning(of: Tuning, epochs: float | None) -> Tuning:
        given = {"lr": args.lr, "batch_size": args.batch_size, "epochs": epochs}
        return replace(of, **{name: value for name, value in given.items() if value is not None})

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


def squeezing_of(args: Namespace) -> Squeezing:
    """What `squeeze` is asked for. Raises `UsageError`."""
    if args.max_bytes is not None and args.max_loss is not None:
        raise UsageError("--max-bytes and --max-loss: give one of them; the other is what comes out")
    if (args.max_bytes is not None and args.max_bytes < 1) or (args.max_loss is not None and args.max_loss < 0):
        raise UsageError("--max-bytes must be at least 1, --max-loss at least 0")
    if args.epochs and args.data is None:
        raise UsageError(f"--epochs {args.epochs:g}: there is nothing to learn from; pass --data")
    for option in ("step_lr", "features", "teacher"):
        if getattr(args, option) is not None and not args.epochs:
            raise UsageError(f"--{option.replace('_', '-')} is for learning; pass --epochs as well")
    if args.features and args.teacher:
        raise UsageError("--features and --teacher: layers are held against MODEL's own; leave one of the two out")
    for option in ("step_lr", "features"):
        if not 0 <= (getattr(args, option) or 0) < math.inf:
            raise UsageError(f"--{option.replace('_', '-')} {getattr(args, option):g}: must be a number from 0 up")
    given = {
        "epochs": args.epochs, "batch_size": args.batch_size, "lr": args.lr, "bias_lr": args.lr,
        "step_lr": args.step_lr, "features": args.features,
    }  # fmt: skip
    learning = replace(Learning(), **{name: value for name, value in given.items() if value is not None})
    return Squeezing(args.max_bytes, args.max_loss, args.objective, learning, _augmentation(args), args.seed)


def _augmentation(args: Namespace) -> Augmentation | None:
    if args.pad is not None and args.pad < 0:
        raise UsageError(f"--pad {args.pad}: must be at least 0")
    if args.mirror is None and not args.pad:
        return None
    return Augmentation(mirror=args.mirror is not False, pad=args.pad or 0)


def _teacher(args: Namespace, model: Model) -> Callable[[Tensor], Tensor] | None:
    if args.teacher is None:
        return None
    return load_teacher(args.teacher, model.preparation, model.graph.classes, torch.device("cpu")).answer


def _told(size: int, top1: float) -> None:
    if sys.stderr.isatty():
        print(f"{size:,} bytes: top-1 {top1:.2f}%", file=sys.stderr)


def parse_method(text: str) -> set[str]:
    """`svd`, or `svd+deep-compression`. Raises `UsageError`."""
    methods = set(text.split("+"))
    if not methods <= set(METHODS):
        raise UsageError(f"--method {text}: give {', '.join(METHODS)}, or several joined by +")
    if {"squeeze", "deep-compression"} <= methods:
        raise UsageError(f"--method {text}: a weight is a level or a centroid; leave one of the two out")
    return methods


def parse_bits(text: str) -> Bits:
    """`6`, or `8,5`. Raises `UsageError`."""
    if not re.fullmatch(r"\d+(,\d+)?", text):
        raise UsageError(f"--bits {text}: give one number, or two as in 8,5")
    widths = [int(part) for part in text.split(",")]
    if not all(1 <= width <= 12 for width in widths):
        raise UsageError(f"--bits {text}: indices have 1 to 12 bits")
    return Bits(widths[0], widths[-1])


def _images(args: Namespace, model: Model) -> tuple[Pixels | None, Pixels | None]:
    """Images to tune on and images to judge by."""
    if args.data is None:
        return None, None
    data = load_data(args.data, args.val, args.seed)
    matched = Data(*(match_classes(part, model.labels, model.graph.classes) for part in (data.train, data.validation)))
    return load_pixels(matched.train, model.preparation, args.limit), load_pixels(matched.validation, model.preparation)


def _top1(model: Model, pixels: Pixels | None) -> float | None:
    if pixels is None or pixels.labels is None:
        return None
    return round(evaluate(runner(model, os.cpu_count() or 1), pixels, model.preparation).top1, 4)
