"""The 1,000 classes of ILSVRC 2012, in the order of the labels.

    >>> imagenet_labels()[0]
    'tench, Tinca tinca'

The names are WordNet's lemmas of the challenge's synsets, as timm (Apache-2.0) lists them.
"""

from functools import cache
from importlib.resources import files


@cache
def imagenet_labels() -> tuple[str, ...]:
    """1,000 names."""
    text = files("squeezenet.formats").joinpath("imagenet_labels.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
