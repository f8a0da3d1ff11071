"""How a model is compressed: one object, which can be written as TOML and is stored in the compressed file.

>>> recipe = CompressionRecipe("svd+deep-compression", seed=1, sharing=Sharing(conv_bits=6))
>>> print(to_toml(recipe), end="")
method = "svd+deep-compression"
seed = 1
<BLANKLINE>
[sharing]
conv_bits = 6
>>> from_toml(to_toml(recipe)) == recipe
True

`compress` carries a recipe out. A `.sqz` file holds the recipe that made it in its provenance, under `KEY`.
"""

import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from math import inf
from typing import Any, Literal

import numpy as np

from squeezenet.compression.deep_compression.codebook import Initialisation
from squeezenet.compression.finetune import Objective, Retraining
from squeezenet.data import Pixels
from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError
from squeezenet.fixed_point import EIGHTHS
from squeezenet.graph import Graph, Linear
from squeezenet.settings import from_table, to_table, written
from squeezenet.version import __version__

KEY = "recipe"
"""The key of the recipe in the provenance of a compressed model."""

USUAL_RATIO = 12
"""How many times smaller than float32 a file of method squeeze is by default."""

Scales = Literal["eighths", "power-of-two"]

GRAINS: dict[Scales, int] = {"eighths": 1, "power-of-two": EIGHTHS}
"""Setting `scales` -> the number of which all exponents are multiples, in eighths of an octave."""

METHODS: dict[str, tuple[str, ...]] = {
    "squeeze": ("max_bytes", "max_loss", "near", "update_bytes", "calibration", "scales", "teacher", "learning"),
    "svd": ("low_rank",),
    "prune": ("pruning",),
    "deep-compression": ("pruning", "sharing"),
    "none": (),
}
"""Method -> the settings that are for it alone."""


@dataclass(frozen=True)
class LowRank(Retraining):
    """Method svd. `rank` is a share of the full rank, or one of `low_rank.RANK_WORDS`."""

    rank: float | str = "ratio=2"


@dataclass(frozen=True)
class Pruning(Retraining):
    """Methods prune and deep-compression. `density` is the kept share of the weights, or one of `DENSITY_WORDS`."""

    epochs: float = 4.0  # of all steps together
    density: float | str = "auto"
    steps: int = 4  # prune a little, retrain, prune more


@dataclass(frozen=True)
class Sharing(Retraining):
    """Method deep-compression: widths of the indices into the codebooks, and how the centroids are found."""

    conv_bits: int = 8  # of a convolution's indices
    fc_bits: int = 5  # of a fully connected layer's
    initialisation: Initialisation = "linear"
    float_bits: int = 20  # kept of the 32 bits of each centroid and bias

    def bits(self, graph: Graph) -> dict[str, int]:
        """Layer name -> bits."""
        return {op.name: self.fc_bits if isinstance(op, Linear) else self.conv_bits for op in graph.layers}


@dataclass(frozen=True)
class Learning(Retraining):
    """Method squeeze: how long and how fast the network learns after it was rounded. Rates are those of Adam.

    With labels, the levels learn (`squeeze/learning.py`). Without labels there are usually fewer images, and the
    network learns as floats and is rounded again (`squeeze/as_floats.py`). By default nothing is learned, because it
    takes many images (docs/experiments.md, "Learning, and rounding again").
    """

    epochs: float = 0.0
    batch_size: int = 50
    lr: float = 0.0  # of the weights and biases; with labels in steps of their grids; 0: the usual rate
    step_lr: float = 0.0  # with labels: of the steps themselves, in eighths of an octave; 0: they stay as they are
    features: float = 0.0  # with labels: weight of the loss on every layer's output (`squeeze/features.py`)


LEAST = {
    "max_bytes": 1, "max_loss": 0, "update_bytes": 1, "calibration": 1, "seed": 0, "threads": 1, "limit": 1,
    "epochs": 0, "batch_size": 1, "lr": 0, "step_lr": 0, "features": 0, "steps": 1, "conv_bits": 1, "fc_bits": 1,
    "float_bits": 10, "pad": 0, "rotate": 0, "zoom": 0, "light": 0, "erase": 0,
}  # fmt: skip
MOST = {"conv_bits": 12, "fc_bits": 12, "float_bits": 32, "zoom": 0.9, "area": 1}
"""Name of a setting -> the least and the largest value that is accepted."""

DENSITY_WORDS = (
    "auto: the density of the model if it is pruned already, else paper, else sensitivity=0.33",
    "keep: prune no more weights",
    "paper: the densities of the papers, for SqueezeNet and AlexNet",
    "sensitivity=X: the share X of all weights, fewer in layers where pruning costs less",
)


@dataclass(frozen=True)
class CompressionRecipe:
    """Everything but the model and the images that decides the bytes of the compressed file. Raises `UsageError`.

    `method` is one of `METHODS`, or several joined by +; their stages run in the order low rank, pruning, weight
    sharing or squeeze. Method squeeze makes the best network in `max_bytes`, or the smallest that loses at most
    `max_loss` points of top-1. None stands for the default, or for nothing.
    """

    method: str = "squeeze"
    max_bytes: int | None = None  # of the file; None: a 12th of the network's size in float32
    max_loss: float | None = None
    near: str | None = None  # a .sqz file: as few levels as possible differ from it, so that a delta from it is small
    update_bytes: int | None = None  # of this delta; None: a 20th of the bytes of the file `near`
    calibration: int = 128  # images that rounding learns from: scales, second derivatives, compensation
    scales: Scales = "eighths"  # which steps an integer network may have; power-of-two: its device can only shift
    seed: int = 0
    threads: int | None = None  # computing threads (sums of floats depend on their number); None: all of the machine
    data: str | None = None  # name of the images, without the folder they are in
    val: str | None = None  # images to validate on; None: a tenth of `data`
    limit: int | None = None  # images of `data` that are used at most
    images: str | None = None  # fingerprint of the images that were used
    teacher: str | None = None  # model whose answers are learned; None: the model itself
    objective: Objective | Literal["auto"] = "auto"  # auto: labels where there are enough of them, else distillation
    low_rank: LowRank = field(default_factory=LowRank)
    pruning: Pruning = field(default_factory=Pruning)
    sharing: Sharing = field(default_factory=Sharing)
    learning: Learning = field(default_factory=Learning)
    augmentation: Augmentation | None = None  # None: photographs are mirrored while distilling

    def __post_init__(self) -> None:
        _check_method(self.method, self.methods)
        if self.max_bytes is not None and self.max_loss is not None:
            raise UsageError("max_bytes and max_loss: give one of them; the other is what comes out")
        if self.near is None and self.update_bytes is not None:
            raise UsageError("update_bytes is the size of the update from the file near; name this file, too")
        if self.near is not None and (self.max_bytes, self.max_loss) != (None, None):
            raise UsageError(
                "near: the file keeps the steps and nearly all levels of the old one, so its size cannot be chosen; "
                "leave max_bytes and max_loss out, and give update_bytes"
            )
        if self.near is not None and self.learning.step_lr:
            raise UsageError(
                "near and learning.step_lr: the file keeps the steps of the old one; leave one of the two out"
            )
        if self.near is not None and "svd" in self.methods:
            raise UsageError("near and method svd: the old file has another graph; leave one of the two out")
        if self.learning.features and self.teacher:
            raise UsageError("learning.features and teacher: layers learn from MODEL's own; leave one of the two out")
        if self.learning.step_lr and self.scales != "eighths":
            raise UsageError(f"learning.step_lr and scales {self.scales}: learned steps are no powers of two; set one")
        for path, value in _changed(self):
            outer, _, name = path.rpartition(".")
            needed = [method for method, settings in METHODS.items() if (outer or name) in settings]
            if needed and not self.methods & set(needed):
                raise UsageError(f"{path} is not for method {self.method}; add {' or '.join(needed)}, or leave it out")
            if (path == "teacher" or outer == "learning") and not self.learning.epochs:
                raise UsageError(f"{path} is for learning; give learning.epochs as well")
            least, most = LEAST.get(name), MOST.get(name, inf)
            if isinstance(value, int | float) and least is not None and not (least <= value <= most and value < inf):
                raise UsageError(f"{path} {value}: must be {least} or more" + (f", and {most} at most" * (most < inf)))

    @property
    def methods(self) -> set[str]:
        """The words of `method`."""
        return set(self.method.split("+"))


def to_toml(recipe: CompressionRecipe) -> str:
    """The method, and every other setting that differs from its default; equal recipes give the same text."""
    table = to_table(recipe, CompressionRecipe())
    typed = from_table(CompressionRecipe(), table, "recipe: ")  # epochs of 2 become 2.0
    return written({"method": recipe.method, **to_table(typed, CompressionRecipe())})


def from_toml(text: str, where: str = "recipe") -> CompressionRecipe:
    """The recipe in a text that `to_toml` or a user wrote. Raises `UsageError` that begins with `where`."""
    try:
        table = tomllib.loads(text)
        if table.pop("thorough", False):  # what files made before 29 November 2026 say
            table["calibration"] = 256
        return from_table(CompressionRecipe(), table, f"{where}: ")
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: is not TOML ({error}); mend the line, or give another recipe") from None


def fingerprint(pixels: Pixels) -> str:
    """8 hexadecimal digits that depend on prepared images and their labels, in order."""
    digest = hashlib.sha256(repr(pixels.images.shape).encode())
    digest.update(np.ascontiguousarray(pixels.images).data)
    digest.update(b"" if pixels.labels is None else pixels.labels.astype("<i8").tobytes())
    return digest.hexdigest()[:8]


def record(provenance: Mapping[str, str], recipe: CompressionRecipe) -> dict[str, str]:
    """The provenance of a model that was compressed by `recipe`, from that of the model before."""
    data, val, teacher, near = map(last_name, (recipe.data, recipe.val, recipe.teacher, recipe.near))
    return {
        **provenance,
        "method": recipe.method,
        KEY: to_toml(replace(recipe, data=data, val=val, teacher=teacher, near=near)),
        "made by": f"squeezenet {__version__}",
    }


def last_name(source: str | None) -> str | None:
    """The name of a file or folder without the folder that it is in; an id on the hub, whole."""
    if source is None or ("/" in source and not os.path.isdir(os.path.dirname(source))):
        return source
    return os.path.basename(os.path.abspath(source)).encode(errors="replace").decode()


def _check_method(method: str, words: set[str]) -> None:
    for word in words - METHODS.keys():
        near = get_close_matches(word, METHODS, 1)
        hint = f"did you mean {near[0]}?" if near else f"give {', '.join(METHODS)}, or several joined by +"
        raise UsageError(f"method {method}: no method is called {word!r}; {hint}")
    if {"squeeze", "deep-compression"} <= words:
        raise UsageError(f"method {method}: a weight is a level or a centroid; leave one of the two out")


def _changed(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of every setting that differs from its default, such as ("learning.epochs", 2.0)."""
    for each in fields(value):
        now = getattr(value, each.name)
        if is_dataclass(now):
            yield from _changed(now, f"{path}{each.name}.")
        elif now != each.default:
            yield f"{path}{each.name}", now
