"""The 1,000 classes of ILSVRC 2012, in the order of the labels: their names, and their WordNet ids.

    >>> imagenet_labels()[0], imagenet_ids()[0]
    ('tench, Tinca tinca', 'n01440764')

The names are WordNet's lemmas of the challenge's synsets; names and ids are as timm (Apache-2.0) lists them.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

_SAME_LIST = 990
"""A list of 1,000 is ImageNet's if so many names are in their positions: some lists rename the two cranes."""


@cache
def imagenet_labels() -> tuple[str, ...]:
    """1,000 names; two are "crane", the bird and the machine."""
    return _lines("imagenet_labels.txt")


@cache
def imagenet_ids() -> tuple[str, ...]:
    """1,000 WordNet ids, in alphabetical order."""
    return _lines("imagenet_ids.txt")


def imagenet_numbers(names: Sequence[str]) -> list[int | None]:
    """The number of the ImageNet class of each of `names`, which is the id, the name, or one lemma of a class.

    None if no class or several classes match. Lemmas may be written with underscores: "great_white_shark".
    """
    labels = imagenet_labels()
    if len(names) == len(labels) and sum(a == b for a, b in zip(names, labels, strict=True)) >= _SAME_LIST:
        return list(range(len(labels)))
    spellings = _spellings()
    return [spellings.get(name, spellings.get(name.replace("_", " "))) for name in names]


@cache
def _spellings() -> dict[str, int]:
    lemmas = [(lemma, number) for number, name in enumerate(imagenet_labels()) for lemma in {name, *name.split(", ")}]
    count = Counter(lemma for lemma, _ in lemmas)
    ids = {name: number for number, name in enumerate(imagenet_ids())}
    return ids | {lemma: number for lemma, number in lemmas if count[lemma] == 1}


def _lines(name: str) -> tuple[str, ...]:
    return tuple(files("squeezenet.formats").joinpath(name).read_text(encoding="utf-8").splitlines())
