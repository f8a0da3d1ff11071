"""A trial: one network, one recipe, one set of images, one seed. Its name is a hash of all of these.

    >>> trial = Trial(Metaparameters(stem="32", classes=10), 32, PAPER, "0" * 16, images=50_000, judges=10_000)
    >>> trial.name == replace(trial).name, trial.name == trial.seeded(1).name
    (True, False)
    >>> costs(trial)
    Costs(parameters=727626, macs=51527680)

Parameters and multiply-accumulates (MACs) are known before training.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from squeezenet.compression.recipe import METHODS as METHOD_SETTINGS
from squeezenet.compression.recipe import USUAL_RATIO, CompressionRecipe
from squeezenet.data import Data, Examples
from squeezenet.data.augment import Augmentation
from squeezenet.data.examples import some
from squeezenet.errors import SqueezeNetError, UsageError
from squeezenet.explore.choices import METHODS, Method
from squeezenet.importing import trace
from squeezenet.models import Metaparameters, create_seeded
from squeezenet.runtime.image import open_image
from squeezenet.settings import to_table
from squeezenet.training.job import FROM_DATA
from squeezenet.training.recipe import PAPER, Recipe

NETWORK = "squeezenet_32"
"""The architecture from which networks are built. All its metaparameters are replaced by those of the trial."""

TUNING_IMAGES = 2000
"""Most training images that squeezing uses, for calibration and rounding."""

LATER = ("body_lr", "frozen")
"""Newer settings of a recipe. Hashed only if they differ from the paper's, so that older trials keep their names."""

LOOKED_AT = 16  # images of a split whose pixels are part of its fingerprint


@dataclass(frozen=True)
class Squeezed:
    """How the trained network is squeezed, and to how many bytes. Raises `UsageError`.

    If `max_bytes` is 0, `ratio` sets the size: bytes of the float32 parameters per byte of the file.
    """

    method: Method = "squeeze"
    max_bytes: int = 0
    ratio: float = float(USUAL_RATIO)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"--method {self.method}: must be one of {', '.join(METHODS)}")
        if self.max_bytes < 0 or not self.ratio >= 1:
            raise UsageError(f"{self.max_bytes or self.ratio}: a size to squeeze to must be positive and make smaller")
        if self.max_bytes and self.method != "squeeze":
            raise UsageError(f"--squeeze-bytes is not for --method {self.method}; only squeeze aims at a size")

    def goal(self, parameters: int) -> int:
        """Most bytes of the squeezed file."""
        return self.max_bytes or int(4 * parameters / self.ratio)


@dataclass(frozen=True)
class Trial:
    """All settings that determine a result. `images`, `judges`: numbers of training and validation images.

    `image_size` is in pixels. `data` is the `fingerprint` of the images, the same on every machine.
    """

    network: Metaparameters
    image_size: int
    recipe: Recipe
    data: str
    images: int
    judges: int
    squeeze: Squeezed = field(default_factory=Squeezed)

    @property
    def name(self) -> str:
        """16 hexadecimal digits: the hash of `to_dict` as canonical JSON."""
        return short_hash(self.to_dict())

    def seeded(self, seed: int) -> "Trial":
        """The same trial with another seed."""
        return replace(self, recipe=replace(self.recipe, seed=seed))

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON, which `from_dict` reads. The name of the recipe is not part of it."""
        told = asdict(self)
        del told["recipe"]["name"]
        for name in LATER:  # older trials keep their names
            if told["recipe"][name] == getattr(PAPER, name):
                del told["recipe"][name]
        return told

    @staticmethod
    def from_dict(told: Mapping[str, Any]) -> "Trial":
        """Read what `to_dict` wrote. Raises `UsageError` for settings that this version does not know."""
        try:
            recipe = {**told["recipe"], "augmentation": Augmentation(**told["recipe"]["augmentation"])}
            made = {
                "network": Metaparameters(**told["network"]),
                "recipe": Recipe(name="explore", **recipe),
                "squeeze": Squeezed(**told["squeeze"]),
            }
            return Trial(**{**told, **made})
        except TypeError as error:
            raise UsageError(f"a trial of another version of this package ({error}); use another --out") from None

    def compression(self, parameters: int) -> CompressionRecipe:
        """The recipe by which a network with this number of parameters is compressed."""
        method = self.squeeze.method
        goal = self.squeeze.goal(parameters) if "max_bytes" in METHOD_SETTINGS[method] else None
        return CompressionRecipe(method, goal, seed=self.recipe.seed, limit=min(self.images, TUNING_IMAGES))

    @property
    def overrides(self) -> dict[str, Any]:
        """The metaparameters that do not depend on the data, as arguments of `create_model`."""
        return {name: value for name, value in asdict(self.network).items() if name not in FROM_DATA}


@dataclass(frozen=True)
class Costs:
    """The number of parameters of a network, and its MACs for one image. Both are known without training."""

    parameters: int
    macs: int


def costs(trial: Trial) -> Costs:
    """Costs of the final network (without normalisation). Raises `UsageError` if it cannot read the images."""
    return network_costs(trial.network, trial.image_size)


@lru_cache(maxsize=1024)
def network_costs(network: Metaparameters, side: int) -> Costs:
    """`costs` of a network that reads images of `side` pixels."""
    settings = asdict(network)
    try:
        graph, weights = trace(create_seeded(NETWORK, 0, **settings).eval(), (network.in_channels, side, side))
    except SqueezeNetError as error:
        raise UsageError(f"images of {side} pixels do not fit stem {network.stem}: {error}") from None
    parameters = sum(weight.size + bias.size for weight, bias in weights.values())
    return Costs(parameters, sum(graph.macs()))


def fingerprint(data: Data) -> str:
    """16 hexadecimal digits: a hash of the classes, of every label and of some images, but not of paths.

    Raises `DataError` without labels.
    """
    return short_hash([_looks(part) for part in (data.train, data.validation)])


def short_hash(value: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _looks(examples: Examples) -> list[Any]:
    labels = examples.require_labels()
    seen = hashlib.sha256()
    for source in some(examples, LOOKED_AT).images:
        image = open_image(source)
        seen.update(repr((image.mode, image.size)).encode() + image.tobytes())
    return [list(examples.classes), hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest(), seen.hexdigest()]


def train_command(trial: Trial, data: str = "DATA") -> str:
    """The command that trains the same network on the same images."""
    recipe = trial.recipe
    options = [("--image-size", trial.image_size), ("--max-images", trial.images), ("--val-images", trial.judges)]
    options += [("--seed", recipe.seed), *([("--split-seed", 0)] if recipe.seed else [])]
    for name in ("epochs", "batch_size", "micro_batch", "lr"):
        if (value := getattr(recipe, name)) or name == "micro_batch":
            options.append((f"--{name.replace('_', '-')}", value))
    told = (*FROM_DATA, "name", "seed", "epochs", "batch_size", "micro_batch", "lr")
    changed = to_table(trial.network, Metaparameters(stem="32")) | to_table(recipe, PAPER)
    changed |= changed.pop("augmentation", {})
    words = ["squeezenet", "train", "--model", NETWORK, "--data", shlex.quote(data), "--recipe", "paper"]
    words += [f"{name} {value}" for name, value in options]
    for name, value in changed.items():
        if name not in told:
            word = value if isinstance(value, str) else json.dumps(value)
            words.append(f"--set {shlex.quote(f'{name}={word}')}")
    return " ".join([*words, "--out RUN"])


def squeeze_command(trial: Trial, parameters: int, data: str = "DATA") -> str:
    """The command that squeezes the network that `train_command` trains; empty if the method is "none"."""
    recipe = trial.compression(parameters)
    if recipe.methods == {"none"}:
        return ""
    size = f" --max-bytes {recipe.max_bytes}" if recipe.max_bytes else ""
    given = f"--data {data} --limit {recipe.limit} --seed {recipe.seed}"
    return f"squeezenet compress RUN --method {recipe.method}{size} {given} --out squeezed.sqz"
