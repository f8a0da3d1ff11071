"""A training run as a file: which network, on which images, by which recipe. `recipes/*.toml` are such files.

>>> job = read_job("modern")
>>> job.recipe.optimizer, job.model
('adamw', None)
>>> print(to_toml(replace(job, model="squeezenet_32", data="digits")).splitlines()[1])
model = "squeezenet_32"

A file names the recipe it starts from (`like = "modern"`; otherwise the paper's) and says what is different. What a run
resolved them to is saved as RUN/recipe.toml, with every value, and is enough to run it again.
"""

import json
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError
from squeezenet.models import Metaparameters, find_architecture
from squeezenet.training.recipe import RECIPES, Recipe

FROM_DATA = ("classes", "in_channels")
_SECTIONS = ("network", "training", "augmentation")
_PLAIN = {
    "like": str, "model": str, "data": str, "val": str, "image_size": int, "max_images": int, "judge_by": int,
    "split_seed": int,
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """Everything `squeezenet train` is told; None where the file leaves it to the command line."""

    recipe: Recipe
    model: str | None = None
    network: Mapping[str, Any] = field(default_factory=dict)  # metaparameters that differ from the model's
    data: str | None = None
    val: str | None = None
    image_size: int | None = None
    max_images: int | None = None  # so many to train on, evenly taken; None: all
    judge_by: int | None = None
    split_seed: int | None = None  # which tenth judges, where the data has none; None: the recipe's seed decides


def read_job(where: str) -> Job:
    """A job from a TOML file, or from the name of a recipe that comes with the package. Raises `UsageError`."""
    if where in RECIPES and not Path(where).is_file():
        return Job(RECIPES[where])
    path = Path(where)
    if not path.is_file():
        raise UsageError(f"{where}: no such recipe; give a .toml file, or one of {', '.join(RECIPES)}")
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: not a recipe ({error}); `squeezenet train` writes one into each run folder"
        ) from None
    unknown = sorted(set(told) - set(_PLAIN) - set(_SECTIONS))
    if unknown:
        raise UsageError(f"{path}: {unknown[0]!r} means nothing here; known are {', '.join((*_PLAIN, *_SECTIONS))}")
    plain = {name: _typed(name, told[name], kind) for name, kind in _PLAIN.items() if name in told}
    like = plain.pop("like", "paper")
    if like not in RECIPES:
        raise UsageError(f"{path}: like = {like!r}: known are {', '.join(RECIPES)}")
    training, looks = (
        _section(told, "training", settings_of(Recipe)),
        _section(told, "augmentation", settings_of(Augmentation)),
    )
    base = RECIPES[like]
    recipe = replace(base, **{"name": path.stem, **training}, augmentation=replace(base.augmentation, **looks))
    network = _section(told, "network", settings_of(Metaparameters))
    if network and plain.get("model") and find_architecture(plain["model"]).meta is None:
        raise UsageError(f"{path}: {plain['model']} has no [network] settings")
    return Job(recipe, network=network, **plain)


def to_toml(job: Job) -> str:
    """Every setting of `job`, as `read_job` reads it."""
    plain = {name: getattr(job, name) for name in _PLAIN if name != "like"}
    training = {name: value for name, value in asdict(job.recipe).items() if name != "augmentation"}
    lines = ["# What this run was; squeezenet train --recipe THIS --out ANOTHER runs it again.", *_lines(plain)]
    sections = {"network": job.network, "training": training, "augmentation": asdict(job.recipe.augmentation)}
    for name, section in sections.items():
        lines += ["", f"[{name}]", *_lines(section)]
    return "\n".join(lines) + "\n"


def settings_of(kind: type) -> dict[str, Any]:
    """Name -> type of what can be set in `Recipe`, `Augmentation` or `Metaparameters`."""
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind) if f.name not in ("augmentation", *FROM_DATA)}


def _lines(values: Mapping[str, Any]) -> list[str]:
    # JSON's strings, numbers and booleans are TOML's, but for halves of surrogate pairs and the delete character.
    written = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items() if value is not None}
    return [f"{name} = {text}".replace("\x7f", "\\u007f") for name, text in written.items()]


def _section(told: Mapping[str, Any], name: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    section = told.get(name, {})
    if not isinstance(section, dict):
        raise UsageError(f"{name}: must be a table, [{name}]")
    if unknown := sorted(set(section) - set(kinds)):
        raise UsageError(f"[{name}] {unknown[0]}: no such setting; known are {', '.join(sorted(kinds))}")
    return {key: _typed(f"[{name}] {key}", value, kinds[key]) for key, value in section.items()}


def _typed(name: str, value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is types.UnionType:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is typing.Literal:
        if value not in typing.get_args(kind):
            raise UsageError(f"{name} = {value!r}: must be one of {', '.join(typing.get_args(kind))}")
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise UsageError(f"{name} = {value!r}: must be {_WORDS[kind]}")
    return value


_WORDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
