"""`squeezenet compress MODEL --data DATA --out F.sqz`: squeeze a model into one file.

`--method` says which stages, joined by +; whatever their order there, they run as low rank, pruning, weight sharing.
"""

import os
import signal
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenet.cli.about import add_about, described, renamed
from squeezenet.cli.accuracy import measured_on
from squeezenet.cli.arguments import DATA, add_model, count, index_bits, not_negative, seed, size
from squeezenet.cli.outputs import add_force, may_write
from squeezenet.cli.remaining import Remaining
from squeezenet.cli.work_folder import anything_in, check_work_folder, work_folder
from squeezenet.errors import UsageError

if TYPE_CHECKING:
    from squeezenet.compression import Compressed, CompressionRecipe, Tried
    from squeezenet.compression.outcome import Judge
    from squeezenet.data import Pixels
    from squeezenet.model import Model

EXAMPLES = """
# the most accurate file of at most 100 kB; photographs are used for rounding
squeezenet compress run --data photos/ --max-bytes 100kB --out birds.sqz
# the smallest file that loses at most half a point of top-1, and a report
squeezenet compress run --data photos/ --max-loss 0.5 --report birds.html \\
    --out birds.sqz
# without any images
squeezenet compress squeezenet1_1.pth --max-bytes 420kB --out v11.sqz
# a network in an ONNX file
squeezenet compress mobilenet.onnx --like torchvision --data photos/ \\
    --max-bytes 1MB --out mobilenet.sqz
# as in the paper: pruning, weight sharing, Huffman coding
squeezenet compress run --data photos/ --method deep-compression \\
    --density 0.3 --bits 6 --out birds.sqz
"""

METHODS = {
    "squeeze": "an integer network of this size or accuracy",
    "svd": "layers of lower rank",
    "prune": "pruning",
    "deep-compression": "pruning and weight sharing",
}

ENOUGH = 5
"""Images that the points of --max-loss should at least come to: with fewer, chance decides what is accurate enough."""


def configure(parser: ArgumentParser) -> None:
    add_model(parser)
    asked = parser.add_argument_group("size or accuracy (give one), and method").add_argument
    asked("--max-bytes", type=size, metavar="SIZE",
          help="make the most accurate file of at most SIZE bytes, as in 350kB "
          "(default: a 12th of the bytes as float32)")  # fmt: skip
    asked("--max-loss", type=not_negative, metavar="P",
          help="make the smallest file that loses at most P points of top-1")  # fmt: skip
    methods = "; ".join(f"{name}: {stages}" for name, stages in METHODS.items())
    asked("--method", help=f"{methods}; or several, as in svd+deep-compression (default: squeeze, or deep-compression "
          "where --density or --bits is given)")  # fmt: skip
    asked("--seed", type=seed, help="seed of all random choices, such as which images are held out (default 0)")
    recipe = parser.add_argument_group("a recipe").add_argument
    recipe("--recipe", metavar="FILE",
           help="compress by this recipe: a .toml file, or a .sqz file or an included model that stores the "
           "recipe it was made by. Other options change the recipe")  # fmt: skip
    recipe("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
           help="change any setting of the recipe, as in learning.lr=0.005, learning.batch_size=50, objective=both or "
           "augmentation.pad=2 (docs/compressing.md lists all)")  # fmt: skip
    images = parser.add_argument_group("images").add_argument
    images("--data", metavar="DATA", help=DATA)
    images("--val", metavar="DATA", help="validate on these images instead of a tenth of --data")
    images("--limit", type=count, metavar="N", help="use N images of --data at most")
    output = parser.add_argument_group("output")
    output.add_argument("--out", required=True, metavar="F.sqz", help="file to write")
    add_force(output)
    output.add_argument("--report", metavar="F.html",
                        help="for squeeze: write a page with the accuracy for each file size, and the bytes and "
                        "the loss of each layer")  # fmt: skip
    squeezing = parser.add_argument_group("squeeze").add_argument
    squeezing("--calibrate", type=count, metavar="N",
              help="round with the help of N images (default 128; more are better and take longer)")  # fmt: skip
    squeezing("--scales", choices=("eighths", "power-of-two"),
              help="power-of-two: all steps of weights and activations are powers of two, for a device that can only "
              "shift; costs accuracy (default eighths: powers of the eighth root of two)")  # fmt: skip
    squeezing("--epochs", type=not_negative, metavar="N",
              help="epochs of training after rounding (default 0); needs thousands of images")  # fmt: skip
    squeezing("--teacher", metavar="MODEL", help="train to imitate the answers of this model, not those of MODEL")
    updating = parser.add_argument_group("squeeze, for a small update").add_argument
    updating("--near", metavar="OLD.sqz",
             help="change as few weights of this older file as possible, so that `squeezenet delta` makes a small "
             "delta from it; MODEL is the same network, trained further")  # fmt: skip
    updating("--update-bytes", type=size, metavar="SIZE",
             help="largest size of this delta (default: a 20th of the bytes of OLD.sqz)")  # fmt: skip
    deep = parser.add_argument_group("svd (low rank), prune and deep-compression").add_argument
    deep("--rank", metavar="KEPT",
         help="a share of the full rank; energy=X: in each layer the rank that keeps the share X of the energy; "
         "ratio=X: X times fewer parameters in all, more reduction in layers where it costs less "
         "(default ratio=2)")  # fmt: skip
    deep("--density", metavar="KEPT",
         help="kept share of the weights: a number; auto: the density of the model if it is pruned already, else "
         "paper, else sensitivity=0.33; keep: prune no more weights; paper: the densities of the papers, for "
         "SqueezeNet and AlexNet; sensitivity=X: the share X of all weights, fewer in layers where pruning costs less "
         "(default auto)")  # fmt: skip
    deep("--bits", type=index_bits,
         help="bits per weight: one number, or two as in 8,5 for convolutions and fully connected layers "
         "(default 8,5)")  # fmt: skip
    add_about(parser)


def run(args: Namespace) -> dict[str, Any]:
    """Compress, write, read back, and measure the file that was written."""
    from squeezenet import sqz
    from squeezenet.cli.compress_recipe import asked, load_images
    from squeezenet.compression.squeeze import refuse_impossible
    from squeezenet.data.score import Score
    from squeezenet.files import write_atomically
    from squeezenet.formats import load_model

    out = Path(args.out)
    found = asked(args)
    if args.report and "squeeze" not in found.recipe.methods:
        raise UsageError(
            f"--report needs the method squeeze, not {found.recipe.method}; add squeeze, or leave --report out"
        )
    _check_outputs(args, out)
    model = renamed(load_model(args.model, args.random_weights, described(args)), args)
    refuse_impossible(model, found.recipe)
    start = time.perf_counter()
    recipe, images = load_images(args, model, found)
    held_out = images.held_out
    before = _top1_of_floats(model, held_out)
    if recipe.max_loss is not None:
        _warn_of_few(held_out, recipe.max_loss)
    judge = None if before is None else lambda tried, data: _top1(tried, held_out, data, progress=False) or 0.0
    whole, squeezed = _compress(model, images.tuning, recipe, judge, out)
    write_atomically(out, squeezed.data)
    written = sqz.read(out)
    after = _top1(written, held_out, squeezed.data)
    error = None if after is None or held_out is None else round(Score(len(held_out), after, 100.0).error, 4)
    if args.report:
        from squeezenet.compression.squeeze import measure
        from squeezenet.report.squeeze import write_report

        curves = measure(whole, squeezed, images.tuning, judge, recipe.seed)
        write_report(Path(args.report), whole, written, curves, sqz.sections(out))
    return {
        "model": args.model,
        "out": str(out),
        "method": recipe.method,
        "bytes": len(squeezed.data),
        "parameters": written.parameters,
        "nonzero": written.nonzero,
        "density": round(written.density, 6),
        "ratio": round(written.float32_bytes / len(squeezed.data), 2),
        "top1_before": before,
        "top1_after": after,
        "top1_error": error,
        "images": len(held_out) if held_out is not None and before is not None else 0,
        "judged": None if before is None else images.judged,
        "skipped": images.tuning.skipped if images.tuning is not None else 0,
        "seconds": round(time.perf_counter() - start, 1),
    }


def render(result: dict[str, Any]) -> str:
    text = (
        f"{result['out']}: {result['bytes']:,} bytes, {result['ratio']:.1f}x smaller than float32, "
        f"{100 * result['density']:.1f}% of {result['parameters']:,} parameters kept"
    )
    if result["top1_before"] is None:
        return text + "; accuracy not measured (no labelled images)"
    from squeezenet.data.score import Score

    digits = 1 if result["top1_error"] >= 1 else 2
    after = Score(result["images"], result["top1_after"], 100.0).shown(digits)
    by = measured_on(result["images"], result["judged"])
    return f"{text}\ntop-1 {result['top1_before']:.{digits}f}% before, {after} after, on {by}"


def _check_outputs(args: Namespace, out: Path) -> None:
    """Raise `UsageError` for what could not be written: known now, not after an hour of work."""
    if out.suffix != ".sqz" or not out.parent.is_dir():
        raise UsageError(f"{out}: --out must be a .sqz file in a folder that exists")
    for folder in {out.parent, Path(args.report or out).parent}:
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{folder}: is a folder without permission to write; choose another --out or --report")
    may_write(out, args.force)
    check_work_folder(_work(out))


def _work(out: Path) -> Path:
    return Path(f"{out}.work")


def _compress(
    model: "Model", pixels: "Pixels | None", recipe: "CompressionRecipe", judge: "Judge | None", out: Path
) -> "tuple[Model, Compressed]":
    """The network as it was before `squeeze`, and the file. A run that is stopped leaves the best so far as `out`."""
    from squeezenet.compression import Listener, compress
    from squeezenet.files import write_atomically

    best: list[Tried] = []
    whole = deque([model], maxlen=1)
    with work_folder(_work(out)) as work, Remaining("squeezing") as remaining, _stopped_by_sigterm():
        if anything_in(work):
            remaining.say(f"squeezing: goes on from what is in {work}")

        def tried(found: "Tried") -> None:
            if found.accurate:
                best.append(found)
            verdict = "accurate enough" if found.accurate else "not accurate enough"
            size = len(found.file.data)
            remaining.say(f"{size:,} bytes: top-1 {found.top1:.2f}%, {verdict}; {remaining.estimate()}")

        def learned(before: float, after: float) -> None:
            how = f"{before:.4f} -> {after:.4f}" if after < before else f"{before:.4f}, which learning did not lower"
            remaining.say(f"loss on images that were held out: {how}")

        listener = Listener(lambda stage, made: whole.append(made), tried, remaining.update, learned)
        try:
            squeezed = compress(model, pixels, recipe, judge=judge, listener=listener, work=work)
            return whole[0], squeezed
        except KeyboardInterrupt:
            if best:
                write_atomically(out, best[-1].file.data)
            raise KeyboardInterrupt(_what_is_kept(out, work, best)) from None


def _what_is_kept(out: Path, work: Path, best: "list[Tried]") -> str:
    """What an interrupted run leaves, in one line."""
    parts = ["interrupted"]
    if best:
        parts.append(f"{out} is the smallest that was accurate enough: {len(best[-1].file.data):,} bytes, "
                     f"top-1 {best[-1].top1:.2f}%")  # fmt: skip
    if anything_in(work):
        parts.append(f"the same command goes on from {work}")
    return "; ".join(parts)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM raises `KeyboardInterrupt`, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _top1_of_floats(model: "Model", pixels: "Pixels | None") -> float | None:
    """On the GPU where there is one: floats take a core some 60 ms an image of 32 x 32."""
    from squeezenet.models.network import from_model
    from squeezenet.training.evaluate import evaluate
    from squeezenet.training.surroundings import CPU, usual_device

    device = usual_device()
    if pixels is None or pixels.labels is None or device == CPU or model.scales:
        return _top1(model, pixels)
    return round(evaluate(from_model(model).to(device), pixels, model.preparation).top1, 4)


def _top1(model: "Model", pixels: "Pixels | None", data: bytes = b"", progress: bool = True) -> float | None:
    from squeezenet.data.evaluate import evaluate
    from squeezenet.runtime.run import runner

    if pixels is None or pixels.labels is None:
        return None
    answer = runner(model, os.cpu_count() or 1, data=data)
    return round(evaluate(answer, pixels, model.preparation, progress=progress).top1, 4)


def _warn_of_few(pixels: "Pixels | None", max_loss: float) -> None:
    """Say so if a few images decide whether a network is accurate enough."""
    if pixels is None or not len(pixels):
        return
    points = 100 / len(pixels)
    if ENOUGH * points > max_loss:
        print(
            f"squeezenet: few images ({len(pixels):,}) judge a loss of {max_loss:g} points: one image is "
            f"{points:.2g} points; give more with --val",
            file=sys.stderr,
        )
