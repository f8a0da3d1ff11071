"""The training loop. One process; a run that was stopped, however hard, goes on where its last checkpoint is.

    >>> data = load_data("digits")                                             # doctest: +SKIP
    >>> preparation = default_preparation(data.train)                          # doctest: +SKIP
    >>> model = create_seeded("squeezenet_32", 0, classes=10, in_channels=1)   # doctest: +SKIP
    >>> train(model, data, preparation, MODERN, Path("run")).top1              # doctest: +SKIP
    99.17

Everything random depends on (seed, step) or (seed, epoch) alone. On a CPU, a run that was stopped and taken up again
ends with the same bits as one that never stopped.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from squeezenet.data.batches import CACHE_BYTES, Source, batches_per_epoch, open_source
from squeezenet.data.examples import Data, Examples, Indices
from squeezenet.data.pixels import Pixels, load_pixels
from squeezenet.data.score import Score
from squeezenet.errors import DataError, TrainingError
from squeezenet.preparation import Preparation
from squeezenet.training import run_folder
from squeezenet.training.checkpoint import load_newest, save_checkpoint
from squeezenet.training.evaluate import evaluate
from squeezenet.training.recipe import Recipe
from squeezenet.training.state import State
from squeezenet.training.surroundings import computing_threads, interrupts
from squeezenet.training.watch import Watch

CHECKPOINT_SHARE = 0.02
"""Share of the time that checkpoints may take: small networks save every second, large ones every few minutes."""

ONE_THREAD = 10**10
"""Work in a step (parameters x pixels x images) below which one thread computes, so that the bits do not depend on the
number of cores. For `digits` a second one brought under a fifth on idle cores. The limit itself is a round number."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a run came to. Accuracies in percent, of the validation images, with the weights that were saved."""

    top1: float
    top5: float
    parameters: int
    epochs: float
    steps: int
    images_per_second: float  # training only: reading, augmenting, forward, backward
    skipped_images: int  # training and validation images that cannot be read
    empty_classes: tuple[str, ...]  # classes without an image to train on
    out: str


def train(
    model: nn.Module,
    data: Data,
    preparation: Preparation,
    recipe: Recipe,
    out: Path,
    *,
    architecture: Mapping[str, Any] | None = None,
    device: torch.device | None = None,
    workers: int | None = None,
    cache_bytes: int = CACHE_BYTES,
    checkpoint_seconds: float | None = None,
    threads: int | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> TrainResult:
    """Train `model` in place and write the run folder `out`; a folder that holds this very run is taken up again.

    `architecture` is what `models.describe` gives, so that the weights can be used without this call. Checkpoints
    are written every `checkpoint_seconds`, or as often as 2% of the time allows. `on_epoch` gets each row of
    metrics.jsonl. `threads` compute on a CPU: by default one for tiny networks, else PyTorch's number.

    Raises `DataError`, `CheckpointError`, and `TrainingError` for a loss that is not a number or a network that does
    not begin to learn. Ctrl-C and SIGTERM write a checkpoint, then raise `KeyboardInterrupt`.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classes = _check(model.to(device), data, preparation)
    config = {
        "architecture": dict(architecture) if architecture else None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "preparation": preparation.to_dict(),
        "labels": list(data.train.classes),
        "recipe": recipe.to_dict(),
        "data": {"train": _described(data.train), "validation": _described(data.validation)},
        "versions": run_folder.versions(),
    }
    config = run_folder.open_run(out, config)
    if "result" in config:
        saved = config["result"]
        run_folder.load_weights(out / "model.safetensors", model)
        return TrainResult(**{**saved, "empty_classes": tuple(saved["empty_classes"]), "out": str(out)})
    empty = data.train.empty_classes
    if empty:
        _log.warning("%d of %d classes have no image to train on: %s", len(empty), classes, ", ".join(empty[:5]))

    source = open_source(data.train, preparation, cache_bytes, workers)
    validation = _validation(data.validation, preparation, cache_bytes, workers)
    per_epoch = batches_per_epoch(len(source), recipe.batch_size)
    steps = recipe.steps(per_epoch)
    if len(source) < recipe.batch_size:
        _log.warning("a batch is all %d images, not %d: there are no more", len(source), recipe.batch_size)

    work = config["parameters"] * preparation.crop**2 * min(recipe.micro_batch or recipe.batch_size, len(source))
    run = State(model, recipe, steps, device)
    checkpoints = out / "checkpoints"
    if checkpoint := load_newest(checkpoints):
        run.restore(checkpoint.step, checkpoint.tensors, checkpoint.state)
    run_folder.cut_metrics(out / "metrics.jsonl", run.step)
    watch = Watch(steps, data.train.require_labels(), classes)
    bad = dict(source.held.unreadable) if source.held else dict.fromkeys(run.unreadable, "")
    score: Score | None = None
    clock = saved_at = time.perf_counter()
    save_cost = 0.0

    def save() -> None:
        if not run.finite:
            return  # the next loss will tell
        run.unreadable = sorted(bad)
        save_checkpoint(checkpoints, run.step, run.tensors(), run.counters())

    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        computing_threads(threads or (1 if work < ONE_THREAD else None)),
        interrupts() as interrupted,
        SummaryWriter(out / "tensorboard", purge_step=run.step or None) as board,
        tqdm(total=steps, initial=run.step, desc=out.name, unit="step", disable=None) as bar,
    ):
        for images, labels, unreadable in source.batches(islice(_orders(source, recipe, run.step), steps - run.step)):
            bad.update(unreadable)
            loss, correct, lr = run.advance(images, labels, preparation)
            if not math.isfinite(loss):
                last = max((p.name for p in checkpoints.glob("*.safetensors")), default="none yet")
                raise TrainingError(
                    f"the loss is {loss} at step {run.step} of {steps}, learning rate {lr:.3g}; the last good "
                    f"checkpoint is {last}: start again with a lower --lr and another --out"
                )
            watch.see(run.step, loss, correct, len(labels), lr)
            run.seconds += time.perf_counter() - clock
            bar.update()

            row = None
            if run.step == steps:
                run.settle()
            if run.step % per_epoch == 0 or run.step == steps:
                score = evaluate(run.shipped, validation, preparation)
                row = run.row(score, per_epoch, lr)
                run_folder.add_metrics(out / "metrics.jsonl", row)
                for name in ("loss", "train_top1", "top1", "top5", "lr", "images_per_second"):
                    board.add_scalar(name, row[name], run.step)
                bar.set_postfix(loss=f"{row['loss']:.3f}", top1=f"{score.top1:.2f}")
            now = time.perf_counter()
            pause = save_cost / CHECKPOINT_SHARE if checkpoint_seconds is None else checkpoint_seconds
            if now - saved_at >= pause or interrupted.is_set() or run.step == steps:
                save()
                saved_at = time.perf_counter()
                save_cost = saved_at - now
            if interrupted.is_set():
                raise KeyboardInterrupt
            if row and on_epoch:
                on_epoch(row)
            clock = time.perf_counter()

    if score is None:  # stopped after the last step, before the end
        run.settle()
        score = evaluate(run.shipped, validation, preparation)
    skipped = len(bad) + (validation.skipped if isinstance(validation, Pixels) else 0)
    if skipped:
        _log.warning("%d images cannot be read and were left out; the first: %s", skipped, _first(bad, validation))
    result = TrainResult(
        score.top1, score.top5, config["parameters"], round(steps / per_epoch, 3), steps,
        round(run.images / max(run.seconds, 1e-9), 1), skipped, empty, str(out),
    )  # fmt: skip
    model.load_state_dict(run.shipped.state_dict())
    run_folder.save_model(out / "model.safetensors", model, architecture, preparation, data.train.classes)
    run_folder.write_config(out, {**config, "result": asdict(result)})
    return result


def _check(model: nn.Module, data: Data, preparation: Preparation) -> int:
    """Number of classes. Raises `DataError` before any work is done if network and data do not fit together."""
    data.train.require_labels()
    data.validation.require_labels()
    classes = len(data.train.classes)
    if classes < 2:
        raise DataError(f"{data.train.name}: one class teaches nothing; put images into two class folders or more")
    if not len(data.validation):
        raise DataError(f"{data.validation.name}: no images to judge by; give --val")
    model.eval()
    try:
        with torch.inference_mode():
            logits = model(torch.zeros(1, *preparation.shape, device=next(model.parameters()).device))
    except RuntimeError as error:
        shape = " x ".join(map(str, preparation.shape))
        raise DataError(f"the network cannot read images of {shape} ({error}); try another --image-size") from None
    if logits.shape != (1, classes):
        raise DataError(
            f"the network has {logits.shape[-1]} outputs for {classes} classes; build it with classes={classes}"
        )
    return classes


def _validation(
    examples: Examples, preparation: Preparation, cache_bytes: int, workers: int | None
) -> Examples | Pixels:
    fits = len(examples) * math.prod(preparation.shape) <= cache_bytes
    return load_pixels(examples, preparation, workers=workers) if fits else examples


def _orders(source: Source, recipe: Recipe, step: int) -> Iterator[Indices]:
    """The batches of all epochs, from `step` on, without end."""
    per_epoch = batches_per_epoch(len(source), recipe.batch_size)
    epoch, done = divmod(step, per_epoch)
    while True:
        yield from source.order(recipe.batch_size, recipe.seed, epoch)[done:]
        epoch, done = epoch + 1, 0


def _described(examples: Examples) -> dict[str, Any]:
    return {"source": examples.name, "images": len(examples)}


def _first(bad: dict[int, str], validation: Examples | Pixels) -> str:
    known = [reason for reason in bad.values() if reason]
    if isinstance(validation, Pixels):
        known += [reason for _, reason in validation.unreadable]
    return "; ".join(known[:3])
