"""The recipe that `squeezenet compress` is asked for: that of --recipe, with what the options change, and its images.

>>> read_recipe("digits").recipe.method                                             # doctest: +SKIP
'deep-compression'
"""

import os
import re
import sys
from argparse import Namespace
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path

from squeezenet import sqz, zoo
from squeezenet.compression.recipe import KEY, CompressionRecipe, fingerprint, from_toml
from squeezenet.data import Pixels, load_pixels
from squeezenet.data.classes import match_classes
from squeezenet.data.judged import load_for, recall
from squeezenet.errors import NoSuchData, UsageError
from squeezenet.files import read_regular
from squeezenet.limits import MAX_MODEL_FILE
from squeezenet.model import Model
from squeezenet.settings import from_table, split
from squeezenet.version import __version__

SETTINGS = {
    "method": "method", "max_bytes": "max_bytes", "max_loss": "max_loss", "calibrate": "calibration",
    "scales": "scales", "seed": "seed", "limit": "limit", "teacher": "teacher", "near": "near",
    "update_bytes": "update_bytes", "epochs": "learning.epochs",
    "density": "pruning.density", "rank": "low_rank.rank",
}  # fmt: skip
"""Option -> the setting of a recipe that it is."""


@dataclass(frozen=True)
class Found:
    """A recipe, and what made the file that it was in; None for one that no file was made of."""

    recipe: CompressionRecipe
    made_by: str | None = None


def read_recipe(where: str) -> Found:
    """The recipe in a TOML file, or in a `.sqz` file or shipped model that was made by one. Raises `UsageError`."""
    path = zoo.find(where)
    if not path.is_file():
        raise UsageError(f"{where}: no such recipe; give a .toml file, or a .sqz file that `squeezenet compress` wrote")
    if path.suffix != ".sqz":
        text = read_regular(path, MAX_MODEL_FILE).decode(errors="replace")
        return Found(from_toml(text, where))
    provenance = sqz.read(path).provenance
    if KEY not in provenance:
        raise UsageError(
            f"{where}: holds no recipe; `squeezenet compress` did not make it, or was too old to store one"
        )
    return Found(from_toml(provenance[KEY], where), provenance.get("made by", "another program"))


def asked(args: Namespace) -> Found:
    """The recipe of --recipe, else the usual one, with what options and --set change. Raises `UsageError`."""
    begin = read_recipe(args.recipe) if args.recipe else Found(CompressionRecipe())
    told = {name: getattr(args, option) for option, name in SETTINGS.items() if getattr(args, option) is not None}
    if args.bits is not None:
        told |= {"sharing.conv_bits": args.bits[0], "sharing.fc_bits": args.bits[-1]}
    if not args.recipe and args.method is None and (args.density is not None or args.bits is not None):
        told["method"] = "deep-compression"
    texts = [f"{name}={str(value).lower() if value is True else value}" for name, value in told.items()]
    return replace(begin, recipe=from_table(begin.recipe, split([*texts, *args.settings]), "", text=True))


@dataclass(frozen=True, eq=False)
class Images:
    """What a model is tuned on and judged by, and which images the latter are: a key of `cli.accuracy.JUDGED`."""

    tuning: Pixels | None = None
    held_out: Pixels | None = None
    judged: str = "apart"


def load_images(args: Namespace, model: Model, found: Found) -> tuple[CompressionRecipe, Images]:
    """The images that the recipe or the options name, and the recipe with their names.

    What a recipe names is looked for as it is named, and beside MODEL. Says so if they are others than the file was
    made from, or if it was made by another version. Raises `DataError`, and `UsageError` if there should be images.
    """
    recipe = found.recipe
    other = [] if found.made_by in (None, f"squeezenet {__version__}") else [f"was made by {found.made_by}"]
    train = args.data or _located(recipe.data, "data", args.model, ("digits",))
    val = args.val or _located(recipe.val, "val", args.model, ("digits",))
    teacher = _located(recipe.teacher, "teacher", args.model, (*zoo.SHIPPED, *zoo.PUBLISHED))
    near = _located(recipe.near, "near", args.model, (*zoo.SHIPPED,))
    images = Images()
    if train is not None:
        data = load_for(model.provenance, train, val, recipe.seed)
        judged = "val" if val else "validation"
        if data.held_out is not None:
            judged = "held-out" if data.held_out == recall(model.provenance) else "apart"
        learned, held = (match_classes(e, model.labels, model.graph.classes) for e in (data.train, data.validation))
        tuning = load_pixels(learned, model.preparation, recipe.limit)
        images = Images(tuning, load_pixels(held, model.preparation), judged)
        if recipe.images != fingerprint(tuning):
            recipe = replace(recipe, data=train, val=val)
            other += [] if recipe.images is None else ["was made from other images"]
    elif recipe.images is not None:
        raise UsageError(f"{args.recipe}: does not name the images that the file was made from; name them with --data")
    if other:
        print(f"squeezenet: {args.recipe} {' and '.join(other)}; the bytes will not be the same", file=sys.stderr)
    return replace(recipe, teacher=teacher, near=near), images


def _located(name: str | None, option: str, model: str, known: tuple[str, ...]) -> str | None:
    """Where what a recipe calls `name` lies: as it is named, or beside the model. Raises `NoSuchData`."""
    if name is None or name in known or _lies_there(name):
        return name
    beside = str(Path(os.path.abspath(model)).parent / name)
    if _lies_there(beside):
        return beside
    if "/" in name:  # an id on the hub
        return name
    raise NoSuchData(f"{name}: is in the recipe, but neither here nor beside {model}; say with --{option} where it is")


def _lies_there(source: str) -> bool:
    return os.path.exists(source) or bool(glob(re.sub(r"\{[^}]*\}", "*", source)))
