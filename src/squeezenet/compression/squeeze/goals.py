"""Method `squeeze`: an integer network of a wanted size, or of a wanted accuracy, from any float network.

>>> squeeze(model, pixels, CompressionRecipe(max_bytes=300_000), CPU).data               # doctest: +SKIP

Scales are calibrated, and weights are rounded for a small error and a small file (`rounding`). If the recipe asks for
epochs, the network then learns, and is rounded again. Without images, synthetic ones are used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch

from squeezenet import sqz, zoo
from squeezenet.compression import finetune
from squeezenet.compression.outcome import NOBODY, Compressed, Judge, Listener, Tried, encoded
from squeezenet.compression.recipe import GRAINS, KEY, USUAL_RATIO, CompressionRecipe
from squeezenet.compression.squeeze.course import Course
from squeezenet.compression.squeeze.learning_to_size import learn_to_size
from squeezenet.compression.squeeze.near import most_images, refuse_another_network, update
from squeezenet.compression.squeeze.near_learning import learn_near
from squeezenet.compression.squeeze.prepared import MOST_COMPENSATING, Prepared, prepare, roughly_least_bytes
from squeezenet.compression.squeeze.to_size import Rounding, round_to_size
from squeezenet.compression.squeeze.trimming import trimmed
from squeezenet.data import Pixels
from squeezenet.errors import UsageError
from squeezenet.files import write_atomically
from squeezenet.model import Model
from squeezenet.training.teacher import load_teacher
from squeezenet.version import __version__

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
    return UsageError(
        f"the file cannot have {goal:,} bytes: graph, names and labels alone are {least:,}; allow more with --max-bytes"
    )


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
    old = None if recipe.near is None else sqz.read_bytes(zoo.find(recipe.near))
    if old is not None:
        refuse_another_network(sqz.decode(old), model.graph, str(recipe.near))
    course = Course(listener.progress, learns, STAGES if recipe.max_loss is not None else 1)
    most = MOST_COMPENSATING if recipe.near is None else most_images(model.preparation)
    known = prepare(model, pixels, recipe.seed, course.prepared, recipe.calibration, GRAINS[recipe.scales], most)
    teaching = _teaching(model, known, pixels, recipe, device) if pixels is not None and learns else None

    if old is not None:
        return encoded(_near(model, known, old, provenance, recipe, teaching, course, listener, work))

    def made(size: int, folder: Path | None, share: float = 1.0) -> Compressed:
        """The best file that was found in `size` bytes; it learns for this share of the epochs."""
        if teaching is None:
            network, _ = rounding(model, known, size, course.rounded)
        else:
            learning = replace(recipe.learning, epochs=recipe.learning.epochs * share)
            how = (teaching, learning, rounding, course.rounded, folder, course.learned, recipe.seed)
            learned = learn_to_size(model, known, size, *how)
            listener.learned(learned.before, learned.after)
            network = learned.network
        return Compressed(*trimmed(model, network, known, size, provenance))

    if recipe.max_loss is not None:
        assert judge is not None
        # All that a file depends on besides its size, so that no file of a different run is used.
        known_by = f"{__version__} {replace(recipe, max_loss=None)} {model.ranges}".encode() + sqz.encode(model)
        kept = work / f"sizes-{sha256(known_by).hexdigest()[:16]}" if work else None
        sizes = _Sizes(partial(made, share=1 / STAGES), kept, provenance)
        wanted = judge(model, b"") - recipe.max_loss
        return _to_loss(model, known.least, sizes, wanted, judge, listener, course)
    usual = model.float32_bytes // USUAL_RATIO
    if usual <= known.least:  # graph and names of a tiny network are larger than its weights
        usual = known.least + model.parameters
    goal = recipe.max_bytes - record if recipe.max_bytes else usual
    if goal <= known.least:
        raise _too_small(goal + record, known.least + record)
    squeezed = made(goal, work)
    if len(squeezed.data) > goal + record:
        raise UsageError(
            f"{goal + record:,} bytes: a file without a single weight has {len(squeezed.data):,}; "
            "allow more with --max-bytes"
        )
    return squeezed


def _near(
    model: Model, known: Prepared, old: bytes, provenance: Mapping[str, str], recipe: CompressionRecipe,
    teaching: finetune.Teaching | None, course: Course, listener: Listener, work: Path | None,
) -> Model:  # fmt: skip
    """The integer network whose delta from the file `old` has the bytes that the recipe asks for."""
    most = recipe.update_bytes or len(old) // 20
    rounded, factor = update(model, known, old, provenance, most, course.rounded)
    if teaching is None:
        return rounded
    how = (teaching, recipe.learning, known.hessians, course.learned, work, recipe.seed)
    learned = learn_near(rounded, factor, old, most, *how)
    listener.learned(learned.before, learned.after)
    return learned.model


def _teaching(
    model: Model, known: Prepared, pixels: Pixels, recipe: CompressionRecipe, device: torch.device
) -> finetune.Teaching:
    teacher = None
    if recipe.teacher is not None:
        about = (model.preparation, model.labels, model.graph.classes, device, model.outputs)
        teacher = load_teacher(recipe.teacher, *about).answer
    elif recipe.near is not None:  # labels alone would spend the update on other confidences (docs/experiments.md)
        teacher = finetune.teacher_of(known.network).to(device)
    images, features = (pixels, recipe.objective, recipe.augmentation), recipe.learning.features > 0
    return finetune.teaching_for(model, known.network, *images, features, teacher, device)


@dataclass(frozen=True, eq=False)
class _Sizes:
    """Files of different sizes, made from one network; those in the folder `kept` were made before."""

    made: Callable[[int, Path | None], Compressed]  # (bytes, folder for checkpoints) -> the file
    kept: Path | None
    provenance: Mapping[str, str]

    def of(self, size: int) -> Compressed:
        if self.kept is None:
            return self.made(size, None)
        path = self.kept / f"{size}.sqz"
        if path.exists():
            return encoded(replace(sqz.read(path), provenance=self.provenance))
        found = self.made(size, self.kept / f"{size}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, found.data)
        return found


def _to_loss(
    model: Model, least: int, sizes: _Sizes, wanted: float, judge: Judge, listener: Listener, course: Course
) -> Compressed:
    """The smallest file whose top-1 is `wanted`, by trying smaller and smaller ones."""
    best: Compressed | None = None
    size, factor, failures = model.float32_bytes // 6, STAGE, 0
    for stage in range(2 * STAGES):
        if stage:
            size = round(least + (size - least) * factor)
        tried = sizes.of(size)
        top1 = judge(tried.model, tried.data)
        failures += top1 < wanted
        course.finished(TO_COME[failures] if failures else max(TO_COME[0], STAGES - stage - 1))
        listener.tried(Tried(tried, top1, top1 >= wanted))
        if top1 >= wanted:
            best = tried
        elif best is None:
            raise UsageError(
                f"{size:,} bytes: top-1 is {wanted - top1:.2f} points below what is wanted; allow a larger --max-loss"
            )
        elif factor > FINEST:
            break
        else:  # too small: go on from the smallest accurate file, in smaller steps
            size, factor = len(best.data), factor**0.5
    assert best is not None
    return best
