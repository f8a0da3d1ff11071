"""Which images a model is judged by: those that it has not learned from.

    >>> recall(remember(load_data("photos/"))).every                                # doctest: +SKIP
    10

A run records in its model's provenance how validation images were set aside, and so do the `.sqz` files made of it.
Whoever evaluates or compresses such a model on the same data set finds these images again. Where nothing was set aside
(`--val`, or a validation split), the run records which images were learned from, and who judges by these is warned.
"""

import json
import logging
from collections.abc import Mapping
from typing import Literal

from squeezenet.data.examples import Data, Examples, HeldOut, fingerprint, split
from squeezenet.data.load import load_data, load_splits
from squeezenet.errors import DataError

KEY = "held_out"
"""Under which name provenance holds the record of a split."""

LEARNED = "learned_from"
"""Under which name it holds the fingerprint of the training images where nothing was set aside."""

Judged = Literal["held-out", "validation", "all"]

OTHER = "%s: %s. It is not the data set the model was trained on: top-1 is too high if the two have images in common"

SEEN = "%s: the model has learned from these images, so that top-1 is too high; judge by others"

_log = logging.getLogger(__name__)


def remember(data: Data) -> dict[str, str]:
    """What provenance holds of the images of a run: one entry, of the split or of the images to train on."""
    if data.held_out is None:
        return {LEARNED: fingerprint(data.train)}
    return {KEY: json.dumps(data.held_out.to_dict(), separators=(",", ":"))}


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
    if asked == "all":
        return examples, "all"
    if held_out is None and asked is None:
        _warn_of_learned(examples, provenance)
        return examples, "all"
    if held_out is None:
        raise DataError(f"{source}: the model does not say what was held out of its training; leave --split out")
    try:
        return held_out.apply(examples), "held-out"
    except DataError:
        if asked == "held-out":
            raise
        if examples.labels is not None:
            _log.warning(OTHER, source, "judges all of its images")
        return examples, "all"


def load_for(provenance: Mapping[str, str], source: str, validation: str | None = None, seed: int = 0) -> Data:
    """As `load_data`, but a data set that the model was trained on is split as it was then, whatever `seed` is."""
    data = load_data(source, validation, seed)
    held_out = recall(provenance)
    if data.held_out is None or data.held_out == held_out or (held_out is None and LEARNED not in provenance):
        return data
    (examples,) = load_splits(source).values()
    if held_out is None:
        _warn_of_learned(examples, provenance)
        return data
    again = split(examples, held_out.every, held_out.seed)
    if again.held_out == held_out:
        return again
    if examples.labels is not None:
        _log.warning(OTHER, source, "judges one image in ten")
    return data


def _warn_of_learned(examples: Examples, provenance: Mapping[str, str]) -> None:
    if examples.labels is not None and LEARNED in provenance and provenance[LEARNED] == fingerprint(examples):
        _log.warning(SEEN, examples.name)
