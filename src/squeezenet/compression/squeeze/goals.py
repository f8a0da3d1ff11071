"""Method `squeeze`: an integer network of a wanted size, or of a wanted accuracy, from any float network.

>>> squeeze(model, pixels, CompressionRecipe(max_bytes=300_000), CPU).data               # doctest: +SKIP

Scales are calibrated and weights rounded against the coder's costs; where epochs are asked for, weights, biases and
size then learn together until the file fits. Without images, synthetic ones stand in for calibration (`synthetic`).
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from squeezenet import sqz
from squeezenet.compression import finetune
from squeezenet.compression.outcome import NOBODY, Compressed, Judge, Listener, Tried, encoded
from squeezenet.compression.recipe import KEY, USUAL_RATIO, CompressionRecipe
from squeezenet.compression.squeeze.course import Course
from squeezenet.compression.squeeze.learning import Learning
from squeezenet.compression.squeeze.network import from_integer_model
from squeezenet.compression.squeeze.to_size import (
    Prepared,
    Rounding,
    learn_to_size,
    prepare,
    roughly_least_bytes,
    round_to_size,
    trimmed,
)
from squeezenet.data import Pixels
from squeezenet.errors import UsageError
from squeezenet.files import write_atomically
from squeezenet.model import Model
from squeezenet.training.teacher import load_teacher
from squeezenet.version import __version__

HEADROOM = 1.02
"""How much larger than the goal the network is when it begins to learn. Rounding knows better what to leave out than a
short run of learning: a VGG on CIFAR-10 had 85.6% after rounding to 75 kB, 71.2% after learning there from 86 kB for
half an epoch, 85.5% from 76 kB at the same rate, and 86.3% at a higher one."""

STAGES = 8  # sizes that a search for the smallest is planned with,
STAGE = 0.75  # each this share of the one before,
FINEST = 0.9  # until a step as small as this fails
TO_COME = (4, 3, 2, 0)
"""Stages that are to be expected after one, at least: by how many have failed."""


SUSPECT = 50
"""Times smaller than float32: files so small may be impossible, which is worth a look before work begins,"""

SURE = 0.95  # and are so if they are below this share of what that look finds


def refuse_impossible(model: Model, recipe: CompressionRecipe) -> None:
    """Raise `UsageError` for a size so small that nothing needs to be measured to know it; `squeeze` is exact.

    Raises `BadGraph` for an operation that has no integer form.
    """
    goal = recipe.max_bytes
    if recipe.methods != {"squeeze"} or goal is None or goal * SUSPECT > model.float32_bytes:
        return  # low rank is another graph
    least = roughly_least_bytes(model.dequantised(), recipe.seed)
    if goal < SURE * least:
        raise _too_small(goal, least)


def _too_small(goal: int, least: int) -> UsageError:
    return UsageError(f"{goal:,} bytes: graph, names and labels alone are {least:,}; allow more with --max-bytes")


def squeeze(
    model: Model,
    pixels: Pixels | None,
    recipe: CompressionRecipe,
    device: torch.device,
    judge: Judge | None = None,
    listener: Listener = NOBODY,
    work: Path | None = None,
    rounding: Rounding = round_to_size,
) -> Compressed:
    """The integer network that the recipe asks for; the model given is not changed. Otherwise as `compress`.

    All sizes here are those of files without the recipe in the provenance: what a recipe takes changes no weight.
    """
    provenance = model.provenance
    model = replace(model.dequantised(), provenance={key: provenance[key] for key in provenance if key != KEY})
    record = sqz.front_size(replace(model, provenance=provenance)) - sqz.front_size(model)  # bytes of the recipe
    learns = pixels is not None and recipe.learning.epochs > 0
    course = Course(listener.progress, learns, STAGES if recipe.max_loss is not None else 1)
    known = prepare(model, pixels, recipe.seed, course.prepared, recipe.thorough)
    teaching = _teaching(model, known, pixels, recipe, device) if pixels is not None and learns else None
    if recipe.max_loss is not None:
        assert judge is not None
        return _to_loss(model, known, pixels, recipe, teaching, judge, listener, course, work, rounding, provenance)
    goal = recipe.max_bytes - record if recipe.max_bytes else model.float32_bytes // USUAL_RATIO
    if goal <= known.least:
        raise _too_small(goal + record, known.least + record)
    network, multiplier = rounding(model, known, goal * (HEADROOM if learns else 1), course.rounded)
    if teaching is not None:
        learn_to_size(model, known, network, teaching, _learning(recipe), goal, multiplier, work, course.learned)
    squeezed = Compressed(*trimmed(model, network, goal, provenance))
    if len(squeezed.data) > goal + record:
        raise UsageError(
            f"{goal + record:,} bytes: a file without a single weight has {len(squeezed.data):,}; "
            "allow more with --max-bytes"
        )
    return squeezed


def _learning(recipe: CompressionRecipe, share: float = 1.0) -> Learning:
    """How a `share` of the recipe's epochs is learned."""
    told = recipe.learning
    return Learning(
        epochs=told.epochs * share, batch_size=told.batch_size, lr=told.lr, bias_lr=told.lr, step_lr=told.step_lr,
        features=told.features, seed=recipe.seed,
    )  # fmt: skip


def _teaching(
    model: Model, known: Prepared, pixels: Pixels, recipe: CompressionRecipe, device: torch.device
) -> finetune.Teaching:
    teacher = None
    if recipe.teacher is not None:
        about = (model.preparation, model.labels, model.graph.classes, device)
        teacher = load_teacher(recipe.teacher, *about).answer
    images, features = (pixels, recipe.objective, recipe.augmentation), recipe.learning.features > 0
    return finetune.teaching_for(model, known.network, *images, features, teacher, device)


def _to_loss(
    model: Model,
    known: Prepared,
    pixels: Pixels | None,
    recipe: CompressionRecipe,
    teaching: finetune.Teaching | None,
    judge: Judge,
    listener: Listener,
    course: Course,
    work: Path | None,
    rounding: Rounding,
    provenance: Mapping[str, str],
) -> Compressed:
    """Go down in size from one stage to the next, each from where the last one was, while it is accurate enough."""
    assert recipe.max_loss is not None
    wanted = judge(model, b"") - recipe.max_loss
    kept = work / f"rounded-{_fingerprint(model, pixels, recipe)}" if work else None

    def rounded(size: int) -> Compressed:
        path = kept / f"{size}.sqz" if kept else None
        if path and path.exists():
            return encoded(replace(sqz.read(path), provenance=provenance))
        found = Compressed(*trimmed(model, rounding(model, known, size, course.rounded)[0], size, provenance))
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, found.data)
        return found

    network, multiplier = None, 0.0
    size = model.float32_bytes // 6
    if teaching:
        network, multiplier = rounding(model, known, size, course.rounded)
    best: Compressed | None = None
    factor, failures = STAGE, 0
    for stage in range(2 * STAGES):
        if stage:
            size = round(known.least + (size - known.least) * factor)
        if teaching and network:
            if stage:  # a finished one stays in the work folder, and is loaded rather than learned again
                folder = work / f"{stage}" if work else None
                learning = _learning(recipe, 1 / STAGES)
                multiplier = learn_to_size(
                    model, known, network, teaching, learning, size, multiplier, folder, course.learned
                )
            tried = Compressed(*trimmed(model, network, size, provenance))
        else:
            tried = rounded(size)
        top1 = judge(tried.model, tried.data)
        failures += top1 < wanted
        course.finished(TO_COME[failures] if failures else max(TO_COME[0], STAGES - stage - 1))
        listener.tried(Tried(tried, top1, top1 >= wanted))
        if top1 >= wanted:
            best = tried
        elif best is None:
            raise UsageError(
                f"rounding alone costs {wanted + recipe.max_loss - top1:.2f} points; allow a larger --max-loss"
            )
        elif factor > FINEST:
            break
        else:  # too far: go on from the last good one, in smaller steps
            network = from_integer_model(best.model) if teaching else None
            size, factor = known.size.of(best.model.weights), factor**0.5
    assert best is not None
    return best


def _fingerprint(model: Model, pixels: Pixels | None, recipe: CompressionRecipe) -> str:
    """Of what rounding depends on besides the size, so that nothing is taken from another run's work folder."""
    digest = sha256(f"{__version__} {recipe.seed} {recipe.thorough}".encode() + sqz.encode(model))
    if pixels is not None:
        digest.update(np.ascontiguousarray(pixels.images).data)
    return digest.hexdigest()[:16]
