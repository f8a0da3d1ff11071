"""A training run as a file: which network, on which images, by which recipe. `recipes/*.toml` are such files.

>>> job = read_job("modern")
>>> job.recipe.optimizer, job.model
('adamw', None)
>>> print(to_toml(replace(job, model="squeezenet_32", data="digits")).splitlines()[1])
model = "squeezenet_32"

A file names the recipe that it changes (`like = "modern"`; by default the paper's) and the settings that differ. A run
saves all its settings as RUN/recipe.toml, from which it can be repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from squeezenet.errors import UsageError
from squeezenet.models import Metaparameters, find_architecture
from squeezenet.preparation import Size, size_of
from squeezenet.settings import from_table, kinds_of, read_toml, to_table, typed, written
from squeezenet.training.recipe import RECIPES, Recipe

FROM_DATA = ("classes", "in_channels")
_TABLES = ("network", "training", "augmentation")


@dataclass(frozen=True)
class Job:
    """Everything that `squeezenet train` is asked for; None: not in the file, but on the command line."""

    recipe: Recipe
    model: str | None = None
    network: Mapping[str, Any] = field(default_factory=dict)  # metaparameters that differ from the model's
    data: str | None = None
    val: str | None = None
    image_size: int | str | None = None  # pixels of both sides, or HEIGHTxWIDTH
    max_images: int | None = None  # training images, evenly taken; None: all
    val_images: int | None = None
    split_seed: int | None = None  # decides the held-out tenth; None: the seed of the recipe

    @property
    def size(self) -> Size | None:
        """`image_size` as a size. Raises `UsageError`."""
        try:
            return None if self.image_size is None else size_of(self.image_size)
        except ValueError as error:
            raise UsageError(f"image_size = {error}") from None


def read_job(where: str) -> Job:
    """A job from a TOML file, or from the name of a recipe that comes with the package. Raises `UsageError`."""
    if where in RECIPES and not Path(where).is_file():
        return Job(RECIPES[where])
    path = Path(where)
    if not path.is_file():
        raise UsageError(f"{where}: no such recipe; give a .toml file, or one of {', '.join(RECIPES)}")
    told = read_toml(path)
    kinds = {"like": str, **kinds_of(Job, ("recipe",)), **dict.fromkeys(_TABLES, dict)}
    plain = typed(kinds, told, f"{path}: ")
    network, training, augmentation = (plain.pop(name, {}) for name in _TABLES)
    like = plain.pop("like", "paper")
    if like not in RECIPES:
        raise UsageError(f"{path}: like = {like!r}: known are {', '.join(RECIPES)}")
    base = replace(RECIPES[like], name=path.stem)
    images = from_table(base.augmentation, augmentation, f"{path}: augmentation.")
    recipe = from_table(replace(base, augmentation=images), training, f"{path}: training.", ("augmentation",))
    changed = typed(kinds_of(Metaparameters, FROM_DATA), network, f"{path}: network.")
    if changed and plain.get("model") and find_architecture(plain["model"]).meta is None:
        raise UsageError(f"{path}: {plain['model']} has no [network] settings")
    return Job(recipe, network=changed, **plain)


def to_toml(job: Job) -> str:
    """The text with every setting of `job`, which `read_job` reads."""
    table = to_table(job)
    table["training"] = table.pop("recipe")
    table["augmentation"] = table["training"].pop("augmentation")
    return "# What this run was; squeezenet train --recipe THIS --out ANOTHER runs it again.\n" + written(table)
