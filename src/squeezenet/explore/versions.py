"""SqueezeNet v1.0 and v1.1 among the trials, and which networks beat both.

    >>> stem_of("v1.1", 227), stem_of("v1.1", 32)
    ('v1.1', '32 v1.1')

Both are as published but for their stem, which is fitted to the images, and whatever recipe and normalisation all
trials have.
"""

from collections.abc import Sequence
from dataclasses import asdict

from squeezenet.explore.choices import PUBLISHED
from squeezenet.explore.results import Row, configurations
from squeezenet.explore.trial import Trial

VERSIONS = ("v1.0", "v1.1")
SMALL, MIDDLE = 48, 96
"""Sides up to which images are CIFAR's kind, and Tiny ImageNet's."""

POINTS = 1.5  # of top-1 that make a network of the same size clearly better


def stem_of(version: str, side: int) -> str:
    """The stem of "v1.0" or "v1.1" for images of `side` pixels: small ones keep the resolution that they have."""
    if side > MIDDLE:
        return version
    size = "32" if side <= SMALL else "64"
    return size if version == "v1.0" else f"{size} {version}"


def version_of(trial: Trial) -> str:
    """Which version a trial's network is; nothing where it is neither."""
    network = asdict(trial.network)
    if any(network[name] != value for name, value in PUBLISHED.items()):
        return ""
    return next((version for version in VERSIONS if stem_of(version, trial.image_size) == trial.network.stem), "")


def beats(one: Row, other: Row) -> bool:
    """Whether `one` has half the bytes at most and no less top-1 (squeezed), or `POINTS` more and no more bytes."""
    more = one["top1_squeezed"] - other["top1_squeezed"]
    return bool(
        (more >= 0 and 2 * one["bytes"] <= other["bytes"]) or (more >= POINTS and one["bytes"] <= other["bytes"])
    )


def compare(rows: Sequence[Row]) -> tuple[list[tuple[str, Row]], list[Row]]:
    """Both versions at each size they were squeezed to, largest first, and the configurations that beat each at one.

    The latter, most accurate first, are none where one version was not measured. Rows of one set of images.
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
