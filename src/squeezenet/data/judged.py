"""The validation images of a model: those that it has not learned from.

    >>> recall(remember(load_data("photos/"))).every                                # doctest: +SKIP
    10

A run records in the provenance of its model how validation images were held out, and so do the `.sqz` files made from
it. `evaluate` and `compress` find these images again in the same data set. If nothing was held out (`--val`, or a
validation split), the run records which images it learned from, and an evaluation on these gives a warning.
"""

import json
import logging
from collections.abc import Mapping
from typing import Literal

from squeezenet.data.examples import Data, Examples, HeldOut, fingerprint, split
from squeezenet.data.load import load_data, load_splits
from squeezenet.errors import DataError

KEY = "held_out"
"""The key of the record of a split in the provenance."""

LEARNED = "learned_from"
"""The key of the fingerprint of the training images, if nothing was held out."""

Judged = Literal["held-out", "validation", "all"]

OTHER = "%s: %s. It is not the data set the model was trained on: top-1 is too high if the two have images in common"

_log = logging.getLogger(__name__)


def remember(data: Data) -> dict[str, str]:
    """The entry of the provenance about the images of a run: the split, or the fingerprint of the training set."""
    if data.held_out is None:
        return {LEARNED: fingerprint(data.train)}
    return {KEY: json.dumps(data.held_out.to_dict(), separators=(",", ":"))}


def recall(provenance: Mapping[str, str]) -> HeldOut | None:
    """The split that `remember` recorded; None if there is no valid record."""
    try:
        return HeldOut.from_dict(json.loads(provenance[KEY]))
    except (KeyError, ValueError, RecursionError, DataError):
        return None


def load_judged(source: str, provenance: Mapping[str, str], asked: str | None = None) -> tuple[Examples, Judged]:
    """The validation images of `source` for a model of this provenance, and which images these are.

    They are the validation split of the source; else, if the model was trained on this data set, the images held out
    from training; else all images. `asked` may be "held-out" or "all". Raises `DataError` if there are no images, or
    for "held-out" if nothing was held out from this data set.
    """
    splits = load_splits(source)
    if "validation" in splits and asked != "all":
        return splits["validation"], "validation"
    if len(splits) > 1:
        raise DataError(f"{source}: has training and validation images; --split all needs one of these; name its files")
    (examples,) = splits.values()
    held_out = recall(provenance)
    if asked == "all":
        return examples, "all"
    if held_out is None and asked is None:
        _warn_of_learned(examples, provenance)
        return examples, "all"
    if held_out is None:
        raise DataError(f"{source}: the model has no record of which images were held out; leave --split out")
    try:
        return held_out.apply(examples), "held-out"
    except DataError:
        if asked == "held-out":
            raise
        if examples.labels is not None:
            _log.warning(OTHER, source, "All of its images are evaluated")
        return examples, "all"


def load_for(provenance: Mapping[str, str], source: str, validation: str | None = None, seed: int = 0) -> Data:
    """As `load_data`, but a data set that the model was trained on is split in the same way, whatever `seed` is."""
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
        _log.warning(OTHER, source, "One image in ten is evaluated")
    return data


def _warn_of_learned(examples: Examples, provenance: Mapping[str, str]) -> None:
    if examples.labels is not None and LEARNED in provenance and provenance[LEARNED] == fingerprint(examples):
        _log.warning(
            "%s: the model has learned from these images, so top-1 is too high; give other images", examples.name
        )
