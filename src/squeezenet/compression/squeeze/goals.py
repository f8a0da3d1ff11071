"""Method `squeeze`: an integer network of a wanted size, or of a wanted accuracy, from any float network.

>>> squeeze(model, pixels, CompressionRecipe(max_bytes=300_000), CPU).data               # doctest: +SKIP

Scales are calibrated, and weights are rounded for a small error and a small file (`rounding`). If the recipe asks for
epochs, the network then learns while its file shrinks to the goal. Without images, synthetic ones are used.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch

from squeezenet import sqz
from squeezenet.compression import finetune
from squeezenet.compression.outcome import NOBODY, Compressed, Judge, Listener, Tried, encoded
from squeezenet.compression.recipe import GRAINS, KEY, USUAL_RATIO, CompressionRecipe, fingerprint
from squeezenet.compression.squeeze.course import Course
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
"""File size at which learning begins, as a multiple of the goal (docs/experiments.md, "Constants of squeezing")."""

STAGES = 8  # sizes that a search for the smallest file is expected to try
STAGE = 0.75  # each size is this share of the one before
FINEST = 0.9  # the search ends when a size fails that is more than this share of the one before
TO_COME = (4, 3, 2, 0)
"""How many more stages are expected, by how many have failed. While none has, the first number is a minimum."""


SUSPECT = 50
"""A goal that is this many times smaller than float32 may be impossible, so the least size is estimated first."""

SURE = 0.95  # a goal below this share of that estimate is refused


def refuse_impossible(model: Model, recipe: CompressionRecipe) -> None:
    """Raise `UsageError` for a size that is clearly too small, by an estimate; the check in `squeeze` is exact.

    Raises `BadGraph` for an operation that has no integer form.
    """
    goal = recipe.max_bytes
    if recipe.methods != {"squeeze"} or goal is None or goal * SUSPECT > model.float32_bytes:
        return  # method svd changes the graph
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
    """The integer network that the recipe asks for; the model given is not changed. Arguments: see `compress`.

    All sizes here are of files without the recipe in the provenance, so that its length changes no weight.
    """
    provenance = model.provenance
    model = replace(model.dequantised(), provenance={key: provenance[key] for key in provenance if key != KEY})
    record = sqz.front_size(replace(model, provenance=provenance)) - sqz.front_size(model)  # bytes of the recipe
    learns = pixels is not None and recipe.learning.epochs > 0
    course = Course(listener.progress, learns, STAGES if recipe.max_loss is not None else 1)
    known = prepare(model, pixels, recipe.seed, course.prepared, recipe.thorough, GRAINS[recipe.scales])
    teaching = _teaching(model, known, pixels, recipe, device) if pixels is not None and learns else None
    if recipe.max_loss is not None:
        assert judge is not None
        return _to_loss(model, known, pixels, recipe, teaching, judge, listener, course, work, rounding, provenance)
    goal = recipe.max_bytes - record if recipe.max_bytes else model.float32_bytes // USUAL_RATIO
    if goal <= known.least:
        raise _too_small(goal + record, known.least + record)
    network, multiplier = rounding(model, known, goal * (HEADROOM if learns else 1), course.rounded)
    if teaching is not None:
        how = (recipe.learning, goal, multiplier, work, course.learned, recipe.seed)
        learn_to_size(model, known, network, teaching, *how)
    squeezed = Compressed(*trimmed(model, network, known, goal, provenance))
    if len(squeezed.data) > goal + record:
        raise UsageError(
            f"{goal + record:,} bytes: a file without a single weight has {len(squeezed.data):,}; "
            "allow more with --max-bytes"
        )
    return squeezed


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
    """Try smaller and smaller files, each made from the network before it, while they are accurate enough."""
    assert recipe.max_loss is not None
    wanted = judge(model, b"") - recipe.max_loss
    # All that rounding depends on besides the size, so that no file of a different run is used.
    images = None if pixels is None else fingerprint(pixels)
    known_by = f"{__version__} {recipe.seed} {recipe.thorough} {recipe.scales} {images}".encode() + sqz.encode(model)
    kept = work / f"rounded-{sha256(known_by).hexdigest()[:16]}" if work else None

    def rounded(size: int) -> Compressed:
        path = kept / f"{size}.sqz" if kept else None
        if path and path.exists():
            return encoded(replace(sqz.read(path), provenance=provenance))
        found = Compressed(*trimmed(model, rounding(model, known, size, course.rounded)[0], known, size, provenance))
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
            if stage:  # a finished stage is loaded from the work folder, not learned again
                folder = work / f"{stage}" if work else None
                learning = replace(recipe.learning, epochs=recipe.learning.epochs / STAGES)
                how = (learning, size, multiplier, folder, course.learned, recipe.seed)
                multiplier = learn_to_size(model, known, network, teaching, *how)
            tried = Compressed(*trimmed(model, network, known, size, provenance))
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
        else:  # too small: go on from the smallest accurate file, in smaller steps
            network = from_integer_model(best.model) if teaching else None
            size, factor = known.size.of(best.model.weights), factor**0.5
    assert best is not None
    return best
