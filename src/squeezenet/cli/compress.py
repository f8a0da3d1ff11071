"""`squeezenet compress MODEL --data DATA --out F.sqz`: squeeze a model into one file.

`--method` says which stages, joined by +; whatever their order there, they run as low rank, pruning, weight sharing.
"""

import os
import signal
import sys
import threading
import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenet.cli.accuracy import judges
from squeezenet.cli.arguments import add_data, add_model, count, natural, not_negative, positive, seed, size
from squeezenet.cli.outputs import add_force, may_write
from squeezenet.cli.remaining import Remaining
from squeezenet.cli.work_folder import anything_in, check_work_folder, work_folder
from squeezenet.errors import UsageError

if TYPE_CHECKING:
    from squeezenet.compression.squeeze import Tried
    from squeezenet.data import Pixels
    from squeezenet.model import Model

EXAMPLES = """
# the best network in 100 kB, rounded on some of the photographs
squeezenet compress run --data photos/ --max-bytes 100kB --out birds.sqz
# the smallest file that loses at most half a point, and a page that shows how
squeezenet compress run --data photos/ --max-loss 0.5 --report birds.html \\
    --out birds.sqz
# without any images
squeezenet compress squeezenet1_1.pth --max-bytes 420kB --out v11.sqz
# the paper's way: prune, share weights, code them
squeezenet compress run --data photos/ --method deep-compression \\
    --density 0.3 --bits 6 --out birds.sqz
"""

METHODS = {
    "squeeze": "an integer network of the size or accuracy asked for",
    "svd": "low rank",
    "prune": "pruning",
    "deep-compression": "pruning and weight sharing",
}

ENOUGH = 5
"""Images that the points of --max-loss should at least come to: with fewer, chance decides what is accurate enough."""


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model(parser)
    asked = parser.add_argument_group("what is asked for: one of the first two")
    asked.add_argument(
        "--max-bytes",
        type=size,
        metavar="SIZE",
        help="the best network in a file of SIZE bytes, as in 350000 or 350kB (default: a 12th of float32)",
    )
    asked.add_argument(
        "--max-loss", type=not_negative, metavar="P", help="the smallest file that loses at most P points of top-1"
    )
    asked.add_argument(
        "--method",
        help="; ".join(f"{name}: {stages}" for name, stages in METHODS.items())
        + "; or several, as in svd+deep-compression (default squeeze, or deep-compression where its options are given)",
    )
    asked.add_argument(
        "--thorough",
        action="store_true",
        default=None,
        help="squeeze: round on 256 images instead of 128, in twice the time",
    )
    asked.add_argument("--seed", type=seed, default=0, help="which images are held out, and all other chance (0)")
    images = parser.add_argument_group("images")
    add_data(images, required=False)
    images.add_argument("--val", metavar="DATA", help="judge on these images instead of a tenth of --data")
    images.add_argument("--limit", type=count, metavar="N", help="use N images of --data at most")
    output = parser.add_argument_group("output")
    output.add_argument("--out", required=True, metavar="F.sqz", help="file to write")
    add_force(output)
    output.add_argument(
        "--report", metavar="F.html", help="squeeze: accuracy by size, and what each layer costs, as a page"
    )
    _configure_learning(parser)
    deep = parser.add_argument_group("prune and deep-compression")
    deep.add_argument(
        "--density",
        metavar="KEPT",
        help="kept share of the weights: a number; auto: what the model already has if it is pruned, else paper, else "
        "sensitivity=0.33; keep: prune nothing more; paper: the papers' densities for SqueezeNet and AlexNet; "
        "sensitivity=X: X of all weights, each layer by how little it minds (default auto)",
    )
    deep.add_argument("--bits", help="index width: 6, or 8,5 for convolutions, fully connected layers (default 8,5)")
    deep.add_argument("--init", choices=("linear", "density", "random"), help="first centroids (default linear)")
    deep.add_argument("--prune-epochs", type=not_negative, metavar="N", help="retraining after pruning, in all")
    deep.add_argument("--share-epochs", type=not_negative, metavar="N", help="training of the centroids")
    low = parser.add_argument_group("svd, low rank")
    low.add_argument(
        "--rank",
        metavar="KEPT",
        help="a share of the full rank; energy=X: in each layer what keeps X of the energy; ratio=X: X times fewer "
        "parameters in all, each layer by how little it minds (default ratio=2)",
    )
    low.add_argument("--factor-epochs", type=not_negative, metavar="N", help="retraining in low rank")


def _configure_learning(parser: ArgumentParser) -> None:
    squeezing = parser.add_argument_group("squeeze, learning")
    squeezing.add_argument(
        "--epochs",
        type=not_negative,
        metavar="N",
        help="how long to learn after rounding (default 0; pays on 50,000 images, not on 1,000)",
    )
    squeezing.add_argument(
        "--step-lr", type=not_negative, metavar="R", help="how fast the steps of weights and activations are learned"
    )
    squeezing.add_argument(
        "--features", type=not_negative, metavar="W", help="learn from what every layer gives, too, with this weight"
    )
    squeezing.add_argument(
        "--teacher", metavar="MODEL", help="learn to answer as this model does, not as MODEL does itself"
    )
    learning = parser.add_argument_group("learning and retraining, with every method")
    learning.add_argument(
        "--objective", choices=("auto", "labels", "distill", "both"), default="auto", help="what to learn from"
    )
    learning.add_argument("--lr", type=positive, help="learning rate (Adam)")
    learning.add_argument("--batch-size", type=count, metavar="N", help="images a step (default 16)")
    learning.add_argument(
        "--mirror",
        action=BooleanOptionalAction,
        help="mirror images half the time (usual when distilling on colour images)",
    )
    learning.add_argument(
        "--pad", type=natural, metavar="N", help="shift images by up to N pixels, and mirror them but for --no-mirror"
    )


def run(args: Namespace) -> dict[str, Any]:
    """Compress, write, read back, and measure the file that was written."""
    from squeezenet import sqz
    from squeezenet.cli.compress_settings import parse_method, settings_of, squeezing_of, usual_method
    from squeezenet.compression.pipeline import compress
    from squeezenet.compression.squeeze import refuse_impossible
    from squeezenet.formats import load_model

    out = Path(args.out)
    args.method = args.method or usual_method(args)
    settings = settings_of(args)
    _check_outputs(args, out)
    model = load_model(args.model, args.random_weights)
    asked = squeezing_of(args, model)
    if "squeeze" in parse_method(args.method) and settings.rank is None:  # low rank is another graph
        refuse_impossible(model, asked)
    start = time.perf_counter()
    pixels, held_out, judged = _images(args, model)
    before = _top1_of_floats(model, held_out)
    if args.max_loss is not None:
        _warn_of_few(held_out, args.max_loss)
    squeezed = whole = model
    if settings.rank is not None or settings.density is not None or settings.bits is not None:
        squeezed = whole = compress(model, pixels, settings)
    judge = None if before is None else lambda tried: _top1(tried, held_out, progress=False) or 0.0
    if "squeeze" in parse_method(args.method):
        squeezed = _squeeze(whole, pixels, asked, judge, out)
    written_bytes = sqz.write(squeezed, out)
    written = sqz.read(out)
    after = _top1(written, held_out)
    if args.report:
        from squeezenet.compression.squeeze import measure
        from squeezenet.report.squeeze import write_report

        curves = measure(whole, written, pixels, judge, args.seed)
        write_report(Path(args.report), whole, written, curves, sqz.sections(out))
    return {
        "model": args.model,
        "out": str(out),
        "method": args.method,
        "bytes": written_bytes,
        "parameters": written.parameters,
        "nonzero": written.nonzero,
        "density": round(written.density, 6),
        "ratio": round(written.float32_bytes / written_bytes, 2),
        "top1_before": before,
        "top1_after": after,
        "top1_error": _error(after, held_out),
        "images": len(held_out) if held_out is not None and before is not None else 0,
        "judged": None if before is None else judged,
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
    from squeezenet.data.score import Score

    digits = 1 if result["top1_error"] >= 1 else 2
    after = Score(result["images"], result["top1_after"], 100.0).shown(digits)
    by = judges(result["images"], result["judged"])
    return f"{text}\ntop-1 {result['top1_before']:.{digits}f}% before, {after} after, on {by}"


def _check_outputs(args: Namespace, out: Path) -> None:
    """Raise `UsageError` for what could not be written: known now, not after an hour of work."""
    if out.suffix != ".sqz" or not out.parent.is_dir():
        raise UsageError(f"{out}: --out must be a .sqz file in a folder that exists")
    for folder in {out.parent, Path(args.report or out).parent}:
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{folder}: may not be written to; choose another --out or --report")
    may_write(out, args.force)
    check_work_folder(_work(out))


def _work(out: Path) -> Path:
    return Path(f"{out}.work")


def _squeeze(
    model: "Model", pixels: "Pixels | None", asked: Any, judge: "Callable[[Model], float] | None", out: Path
) -> "Model":
    """The integer network that is `asked` for. A run that is stopped leaves the best file so far as `out`."""
    from squeezenet import sqz
    from squeezenet.compression.squeeze import Listener, squeeze

    best: list[Tried] = []
    with work_folder(_work(out)) as work, Remaining("squeezing") as remaining, _stopped_by_sigterm():
        if anything_in(work):
            remaining.say(f"squeezing: goes on from what is in {work}")

        def tried(found: "Tried") -> None:
            if found.accurate:
                best.append(found)
            verdict = "accurate enough" if found.accurate else "not accurate enough"
            remaining.say(f"{found.bytes:,} bytes: top-1 {found.top1:.2f}%, {verdict}; {remaining.estimate()}")

        try:
            return squeeze(model, pixels, asked, judge, Listener(tried, remaining.update), work)
        except KeyboardInterrupt:
            if best:
                sqz.write(best[-1].model, out)
            raise KeyboardInterrupt(_what_is_kept(out, work, best)) from None


def _what_is_kept(out: Path, work: Path, best: "list[Tried]") -> str:
    """What an interrupted run leaves, in one line."""
    parts = ["interrupted"]
    if best:
        parts.append(f"{out} is the smallest that was accurate enough: {best[-1].bytes:,} bytes, "
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


def _images(args: Namespace, model: "Model") -> "tuple[Pixels | None, Pixels | None, str]":
    """Images to tune on and images to judge by, and which the latter are: a key of `cli.accuracy.JUDGED`."""
    from squeezenet.data import Data, load_pixels
    from squeezenet.data.classes import match_classes
    from squeezenet.data.judged import load_for, recall

    if args.data is None:
        return None, None, "apart"
    data = load_for(model.provenance, args.data, args.val, args.seed)
    matched = Data(*(match_classes(part, model.labels, model.graph.classes) for part in (data.train, data.validation)))
    tuned_on = load_pixels(matched.train, model.preparation, args.limit)
    judged = "val" if args.val else "validation"
    if data.held_out is not None:
        judged = "held-out" if data.held_out == recall(model.provenance) else "apart"
    return tuned_on, load_pixels(matched.validation, model.preparation), judged


def _top1_of_floats(model: "Model", pixels: "Pixels | None") -> float | None:
    """On the GPU where there is one: floats take a core some 60 ms an image of 32 x 32."""
    from squeezenet.models.network import from_model
    from squeezenet.training.evaluate import evaluate
    from squeezenet.training.surroundings import CPU, usual_device

    device = usual_device()
    if pixels is None or pixels.labels is None or device == CPU or model.scales:
        return _top1(model, pixels)
    return round(evaluate(from_model(model).to(device), pixels, model.preparation).top1, 4)


def _top1(model: "Model", pixels: "Pixels | None", progress: bool = True) -> float | None:
    from squeezenet.data.evaluate import evaluate
    from squeezenet.runtime.run import runner

    if pixels is None or pixels.labels is None:
        return None
    answer = runner(model, os.cpu_count() or 1)
    return round(evaluate(answer, pixels, model.preparation, progress=progress).top1, 4)


def _error(top1: float | None, pixels: "Pixels | None") -> float | None:
    """Points by which a top-1 of so few images may be off."""
    from squeezenet.data.score import Score

    return None if top1 is None or pixels is None else round(Score(len(pixels), top1, 100.0).error, 4)


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
