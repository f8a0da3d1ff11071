"""`squeezenet compress MODEL --data DATA --out F.sqz`: squeeze a model into one file."""

import os
import re
import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from squeezenet import sqz
from squeezenet.cli.arguments import add_data, add_model
from squeezenet.compression.pipeline import DENSITY_WORDS, Bits, Settings, deep_compression
from squeezenet.data import Data, Pixels, load_data, load_pixels
from squeezenet.data.augment import Augmentation
from squeezenet.data.classes import match_classes
from squeezenet.data.evaluate import evaluate
from squeezenet.errors import UsageError
from squeezenet.formats import load_model
from squeezenet.model import Model
from squeezenet.runtime.run import runner

METHODS = ("deep-compression",)


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model(parser)
    add_data(parser, required=False)
    parser.add_argument("--val", metavar="DATA", help="judge on these images instead of a tenth of --data")
    parser.add_argument("--out", required=True, metavar="F.sqz", help="file to write")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0])
    parser.add_argument("--bits", default="8,5", help="index width: 6, or 8,5 for convolutions, fully connected layers")
    parser.add_argument(
        "--density",
        default="auto",
        metavar="KEPT",
        help="kept share of the weights: a number; " + "; ".join(DENSITY_WORDS),
    )
    parser.add_argument("--init", choices=("linear", "density", "random"), default="linear", help="first centroids")
    parser.add_argument("--objective", choices=("auto", "labels", "distill"), default="auto", help="what to retrain on")
    parser.add_argument("--prune-epochs", type=float, metavar="N", help="retraining after pruning, in all")
    parser.add_argument("--share-epochs", type=float, metavar="N", help="training of the centroids")
    parser.add_argument("--lr", type=float, help="learning rate of all retraining (Adam)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step of retraining (default 16)")
    parser.add_argument(
        "--mirror",
        action=BooleanOptionalAction,
        help="mirror images half the time while retraining (usual when distilling on colour images)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use N images of --data at most")
    parser.add_argument("--seed", type=int, default=0)


def run(args: Namespace) -> dict[str, Any]:
    """Compress, write, read back, and measure the file that was written."""
    out = Path(args.out)
    if out.suffix != ".sqz" or not out.parent.is_dir():
        raise UsageError(f"{out}: --out must be a .sqz file in a folder that exists")
    if not os.access(out.parent, os.W_OK):  # known now, not after an hour of work
        raise UsageError(f"{out.parent}: may not be written to; choose another --out")
    settings = settings_of(args)
    model = load_model(args.model, args.random_weights)
    start = time.perf_counter()
    pixels, held_out = _images(args, model)
    before = _top1(model, held_out)
    squeezed = deep_compression(model, pixels, settings)
    size = sqz.write(squeezed, out)
    written = sqz.read(out)
    after = _top1(written, held_out)
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


def settings_of(args: Namespace) -> Settings:
    """The method's settings from the command line. Raises `UsageError`."""
    usual = Settings()
    if args.batch_size is not None and args.batch_size < 1:
        raise UsageError(f"--batch-size {args.batch_size}: must be at least 1")
    common = {"lr": args.lr, "batch_size": args.batch_size}
    common = {name: value for name, value in common.items() if value is not None}
    prune = {} if args.prune_epochs is None else {"epochs": args.prune_epochs}
    share = {} if args.share_epochs is None else {"epochs": args.share_epochs}
    return replace(
        usual,
        density=args.density,
        bits=parse_bits(args.bits),
        initialisation=args.init,
        objective=args.objective,
        prune=replace(usual.prune, **common, **prune),
        share=replace(usual.share, **common, **share),
        augmentation=None if args.mirror is None else Augmentation(mirror=args.mirror),
        seed=args.seed,
    )


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
