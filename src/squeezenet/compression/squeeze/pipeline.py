"""Method `squeeze`: an integer network of a wanted size, from any float network.

    >>> squeezed = squeeze(model, pixels, Squeezing(max_bytes=300_000))                 # doctest: +SKIP
    >>> sqz.write(squeezed, "squeezed.sqz")                                             # doctest: +SKIP

Scales are calibrated and weights rounded against the coder's costs; where epochs are asked for, weights, biases and
size then learn together until the file fits. Without images, made-up ones stand in for calibration (`synthetic`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from squeezenet import sqz
from squeezenet.compression import finetune
from squeezenet.compression.finetune import Objective
from squeezenet.compression.squeeze.course import Course
from squeezenet.compression.squeeze.learning import Learning
from squeezenet.compression.squeeze.network import from_integer_model
from squeezenet.compression.squeeze.to_size import (
    Prepared,
    learn_to_size,
    least_bytes,
    prepare,
    quiet,
    roughly_least_bytes,
    round_to_size,
    trimmed,
)
from squeezenet.data import Pixels
from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError
from squeezenet.model import Model
from squeezenet.training.surroundings import usual_device
from squeezenet.version import __version__

HEADROOM = 1.02
"""How much larger than the goal the network is when it begins to learn. Rounding knows better what to leave out than a
short run of learning: a VGG on CIFAR-10 had 85.6% after rounding to 75 kB, 71.2% after learning there from 86 kB for
half an epoch, 85.5% from 76 kB at the same rate, and 86.3% at a higher one."""

USUAL_RATIO = 12
"""How many times smaller than float32 a file is when nobody says."""

STAGES = 8  # sizes that a search for the smallest is planned with,
STAGE = 0.75  # each this share of the one before,
FINEST = 0.9  # until a step as small as this fails
TO_COME = (4, 3, 2, 0)
"""Stages that are to be expected after one, at least: by how many have failed."""


SUSPECT = 50
"""Times smaller than float32: files so small may be impossible, which is worth a look before work begins,"""

SURE = 0.95  # and are so if they are below this share of what that look finds


@dataclass(frozen=True)
class Squeezing:
    """What is asked for: the best network in `max_bytes`, or the smallest that loses at most `max_loss` points.

    Without either, a twelfth of the network's size in float32. What learns is taught by the network as it was, or by
    `teacher`: prepared images (N, C, H, W) -> logits (N, classes), both on `device`, where all learning is done.
    """

    max_bytes: int | None = None
    max_loss: float | None = None
    objective: Objective | Literal["auto"] = "auto"
    learning: Learning = field(default_factory=Learning)
    augmentation: Augmentation | None = None
    seed: int = 0
    teacher: Callable[[Tensor], Tensor] | None = None
    thorough: bool = False  # round on twice the images, in twice the time
    device: torch.device = field(default_factory=usual_device)


@dataclass(frozen=True, eq=False)
class Tried:
    """A size that the search for the smallest file has tried, and whether it is accurate enough."""

    model: Model
    bytes: int
    top1: float  # percent
    accurate: bool


@dataclass(frozen=True)
class Listener:
    """Who is told what `squeeze` does: each size it has tried, and (done, expected, doing) as often as there is news.

    `done` and `expected` count in one unit, of sizes or of steps; both are 0 while nobody can know.
    """

    tried: Callable[[Tried], object] = quiet
    progress: Callable[[float, float, str], object] = quiet


NOBODY = Listener()


def refuse_impossible(model: Model, settings: Squeezing) -> None:
    """Raise `UsageError` for a size so small that nothing needs to be measured to know it; `squeeze` is exact.

    Raises `BadGraph` for an operation that has no integer form.
    """
    goal = settings.max_bytes
    if goal is None or goal * SUSPECT > model.float32_bytes:
        return
    least = roughly_least_bytes(model.dequantised(), settings.seed)
    if goal < SURE * least:
        raise _too_small(goal, least)


def _too_small(goal: int, least: int) -> UsageError:
    return UsageError(f"{goal:,} bytes: graph, names and labels alone are {least:,}; allow more with --max-bytes")


def squeeze(
    model: Model,
    pixels: Pixels | None,
    settings: Squeezing,
    judge: Callable[[Model], float] | None = None,
    listener: Listener = NOBODY,
    work: Path | None = None,
) -> Model:
    """The integer network that `settings` ask for; the model given is not changed.

    `judge` gives the top-1 in percent of images that `pixels` does not hold; `max_loss` needs it. A run that was
    stopped goes on from what it left in `work`. Raises `BadGraph` for an operation that has no integer form,
    `UsageError` if no network is small enough.
    """
    model = model.dequantised()
    learning = replace(settings.learning, seed=settings.seed)
    learns = pixels is not None and learning.epochs > 0
    course = Course(listener.progress, learns, STAGES if settings.max_loss is not None else 1)
    known = prepare(model, pixels, settings.seed, course.prepared, settings.thorough)
    least = least_bytes(model, known.network, known.scales)
    if settings.max_loss is not None:
        if judge is None:
            raise UsageError("--max-loss needs labelled images to judge by; pass --data, or ask for --max-bytes")
        return _to_loss(model, known, pixels, settings, judge, least, listener, course, work)
    goal = settings.max_bytes or model.float32_bytes // USUAL_RATIO
    if goal <= least:
        raise _too_small(goal, least)
    network, trade = round_to_size(model, known, goal * (HEADROOM if learns else 1), course.rounded)
    if learns:
        assert pixels is not None
        teaching = _teaching(model, known, pixels, settings)
        learn_to_size(model, known, network, teaching, learning, goal, trade, work, course.learned)
    squeezed, data = trimmed(model, network, goal)
    if (least := len(data)) > goal:
        raise UsageError(f"{goal:,} bytes: a file without a single weight has {least:,}; allow more with --max-bytes")
    return squeezed


def _teaching(model: Model, known: Prepared, pixels: Pixels, settings: Squeezing) -> finetune.Teaching:
    features = settings.learning.features > 0
    return finetune.teaching_for(
        model,
        known.network,
        pixels,
        settings.objective,
        settings.augmentation,
        features,
        settings.teacher,
        settings.device,
    )


def _to_loss(
    model: Model,
    known: Prepared,
    pixels: Pixels | None,
    settings: Squeezing,
    judge: Callable[[Model], float],
    least: int,
    listener: Listener,
    course: Course,
    work: Path | None,
) -> Model:
    """Go down in size from one stage to the next, each from where the last one was, while it is accurate enough."""
    assert settings.max_loss is not None
    wanted = judge(model) - settings.max_loss
    learning = replace(settings.learning, epochs=settings.learning.epochs / STAGES, seed=settings.seed)
    learns = pixels is not None and learning.epochs > 0
    kept = work / f"rounded-{_fingerprint(model, pixels, settings)}" if work else None

    def rounded(size: int) -> Model:
        path = kept / f"{size}.sqz" if kept else None
        if path and path.exists():
            return sqz.read(path)
        found = trimmed(model, round_to_size(model, known, size, course.rounded)[0], size)[0]
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            sqz.write(found, path)
        return found

    teaching = network = None
    trade = 0.0
    size = model.float32_bytes // 6
    if learns:
        assert pixels is not None
        teaching = _teaching(model, known, pixels, settings)
        network, trade = round_to_size(model, known, size, course.rounded)
    best: Model | None = None
    factor, failures = STAGE, 0
    for stage in range(2 * STAGES):
        if stage:
            size = round(least + (size - least) * factor)
        if teaching and network:
            if stage:  # a finished one stays in the work folder, and is loaded rather than learned again
                folder = work / f"{stage}" if work else None
                trade = learn_to_size(model, known, network, teaching, learning, size, trade, folder, course.learned)
            tried = trimmed(model, network, size)[0]
        else:
            tried = rounded(size)
        top1 = judge(tried)
        failures += top1 < wanted
        course.finished(TO_COME[failures] if failures else max(TO_COME[0], STAGES - stage - 1))
        listener.tried(Tried(tried, len(sqz.encode(tried)), top1, top1 >= wanted))
        if top1 >= wanted:
            best = tried
        elif best is None:
            raise UsageError(
                f"rounding alone costs {wanted + settings.max_loss - top1:.2f} points; allow a larger --max-loss"
            )
        elif factor > FINEST:
            break
        else:  # too far: go on from the last good one, in smaller steps
            network = from_integer_model(best) if learns else None
            size, factor = len(sqz.encode(best)), factor**0.5
    assert best is not None
    return best


def _fingerprint(model: Model, pixels: Pixels | None, settings: Squeezing) -> str:
    """Of what rounding depends on besides the size, so that nothing is taken from another run's work folder."""
    digest = sha256(f"{__version__} {settings.seed} {settings.thorough}".encode() + sqz.encode(model))
    if pixels is not None:
        digest.update(np.ascontiguousarray(pixels.images))
    return digest.hexdigest()[:16]
