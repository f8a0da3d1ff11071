"""Which images a model is judged by: those that it has not learned from.

    >>> recall(remember(HeldOut(10, 0, 300, "0123456789abcdef"))).images
    300

A run records in its model's provenance how validation images were set aside, and so do the `.sqz` files made of it.
Whoever evaluates or compresses such a model on the same data set finds these images again.
"""

import json
import logging
from collections.abc import Mapping
from typing import Literal

from squeezenet.data.examples import Data, Examples, HeldOut, split
from squeezenet.data.load import load_data, load_splits
from squeezenet.errors import DataError

KEY = "held_out"
"""Under which name provenance holds the record."""

Judged = Literal["held-out", "validation", "all"]

OTHER = "%s: %s. It is not the data set the model was trained on: top-1 is too high if the two have images in common"

_log = logging.getLogger(__name__)


def remember(held_out: HeldOut | None) -> dict[str, str]:
    """What provenance holds of a split: one entry, or none where nothing was set aside."""
    return {} if held_out is None else {KEY: json.dumps(held_out.to_dict(), separators=(",", ":"))}


def recall(provenance: Mapping[str, str]) -> HeldOut | None:
    """The split that `remember` recorded; None where there is none, or something else is in its place."""
    try:
        return HeldOut.from_dict(json.loads(provenance[KEY]))
    except (KeyError, ValueError, RecursionError, DataError):
        return None


def load_judged(source: str, provenance: Mapping[str, str], asked: str | None = None) -> tuple[Examples, Judged]:
    """The images of `source` that a model of this provenance is judged by, and which they are.

    They are the validation split of the source; else, in the data set that the model was trained on, the images held
    out from training; else all. `asked` may be "held-out" or "all". Raises `DataError` if nothing is there, or for
    "held-out" where nothing was held out of this data set.
    """
    splits = load_splits(source)
    if "validation" in splits and asked != "all":
        return splits["validation"], "validation"
    if len(splits) > 1:
        raise DataError(f"{source}: has a validation split of its own; name the files of the images to judge by")
    (examples,) = splits.values()
    held_out = recall(provenance)
    if asked == "all" or (held_out is None and asked is None):
        return examples, "all"
    if held_out is None:
        raise DataError(f"{source}: the model does not say what was held out of its training; leave --split out")
    try:
        return held_out.apply(examples), "held-out"
    except DataError:
        if asked == "held-out":
            raise
        _log.warning(OTHER, source, "judges all of its images")
        return examples, "all"


def load_for(provenance: Mapping[str, str], source: str, validation: str | None = None, seed: int = 0) -> Data:
    """As `load_data`, but a data set that the model was trained on is split as it was then, whatever `seed` is."""
    data = load_data(source, validation, seed)
    held_out = recall(provenance)
    if held_out is None or data.held_out is None or data.held_out == held_out:
        return data
    (examples,) = load_splits(source).values()
    again = split(examples, held_out.every, held_out.seed)
    if again.held_out == held_out:
        return again
    _log.warning(OTHER, source, "judges one image in ten")
    return data
