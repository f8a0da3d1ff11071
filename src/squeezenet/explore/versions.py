"""Finds SqueezeNet v1.0 and v1.1 among the trials, and the networks that are better than both (`beats`).

    >>> stem_of("v1.1", 227), stem_of("v1.1", 32)
    ('v1.1', '32 v1.1')

Both have the published metaparameters. Their stem (conv1 and the positions of the pools) depends on the size of the
images; recipe and normalisation are those of all trials.
"""

from collections.abc import Sequence
from dataclasses import asdict

from squeezenet.explore.choices import PUBLISHED
from squeezenet.explore.results import Row, configurations
from squeezenet.explore.trial import Trial

VERSIONS = ("v1.0", "v1.1")
SMALL, MIDDLE = 48, 96
"""Largest sides, in pixels, of images that get a stem for CIFAR, and a stem for Tiny ImageNet."""

POINTS = 1.5  # so many points more top-1 make a network of the same size clearly better


def stem_of(version: str, side: int) -> str:
    """The stem of "v1.0" or "v1.1" for images of `side` pixels; for small images it reduces the resolution less."""
    if side > MIDDLE:
        return version
    size = "32" if side <= SMALL else "64"
    return size if version == "v1.0" else f"{size} {version}"


def version_of(trial: Trial) -> str:
    """The version, "v1.0" or "v1.1", that the network of a trial is; an empty string if it is neither."""
    network = asdict(trial.network)
    if any(network[name] != value for name, value in PUBLISHED.items()):
        return ""
    return next((version for version in VERSIONS if stem_of(version, trial.image_size) == trial.network.stem), "")


def beats(one: Row, other: Row) -> bool:
    """Whether `one` has at most half the bytes and no less squeezed top-1, or `POINTS` more top-1 and no more bytes."""
    more = one["top1_squeezed"] - other["top1_squeezed"]
    return bool(
        (more >= 0 and 2 * one["bytes"] <= other["bytes"]) or (more >= POINTS and one["bytes"] <= other["bytes"])
    )


def compare(rows: Sequence[Row]) -> tuple[list[tuple[str, Row]], list[Row]]:
    """The rows of both versions, the largest file first; and the configurations that beat a row of each version.

    The configurations, the most accurate first, are empty if a version is missing. All rows must have the same images.
    """
    named = [(version_of(Trial.from_dict(row["trial"])), row) for row in configurations(rows)]
    known = sorted(((name, row) for name, row in named if name), key=lambda pair: (pair[0], -pair[1]["bytes"]))
    if {name for name, _ in known} != set(VERSIONS):
        return known, []
    better = [
        row
        for name, row in named
        if not name and all(any(beats(row, other) for v, other in known if v == version) for version in VERSIONS)
    ]
    return known, sorted(better, key=lambda row: -row["top1_squeezed"])
