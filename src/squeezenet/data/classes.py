"""Making the labels of a data set and the outputs of a model mean the same classes.

>>> match_classes(examples, model.labels, model.graph.classes)          # doctest: +SKIP
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from squeezenet.data.examples import Examples
from squeezenet.errors import DataError


def match_classes(examples: Examples, labels: Sequence[str], outputs: int) -> Examples:
    """`examples` with labels counted as the model counts its outputs.

    Classes are matched by name where every name of the data is one of the model's `labels`, else by number if there
    are as many of them. Raises `DataError` if neither can be.
    """
    if examples.labels is None or examples.classes == tuple(labels):
        return examples
    number = {name: index for index, name in enumerate(labels)}
    if len(number) == len(labels) and all(name in number for name in examples.classes):
        by_name = np.array([number[name] for name in examples.classes], np.int64)
        return replace(examples, labels=by_name[examples.labels], classes=tuple(labels))
    if len(examples.classes) == outputs:
        return examples
    raise DataError(
        f"{examples.name}: {len(examples.classes)} classes, but the model has {outputs} and calls them otherwise; "
        "give data of the model's classes"
    )


def first_classes(examples: Examples, count: int) -> Examples:
    """The examples of the first `count` classes. Raises `DataError` if there are fewer, or no labels."""
    labels = examples.require_labels()
    if count > len(examples.classes):
        raise DataError(f"{examples.name}: has {len(examples.classes)} classes, fewer than {count}")
    return replace(examples.take(np.flatnonzero(labels < count)), classes=examples.classes[:count])
