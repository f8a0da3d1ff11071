"""The classes of a data set: sources state a class name for each image, and this module numbers the classes.

    >>> stated = {"train": state(["cat", "ant", "cat"], "a.tar"), "validation": state(["cat"], "b.tar")}
    >>> classes, labels = number_classes(stated)
    >>> classes, labels["train"].tolist(), labels["validation"].tolist()
    (('ant', 'cat'), [1, 0, 1], [1])

All splits, files and shards of a data set are numbered together, so a class has one number everywhere. If the source
has a list of class names, a label that is a number is a line of this list, counted from 0. Without a list, a number
is a name like any other: labels 1283712837 and 1283712899 are two classes.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

import numpy as np

from squeezenet.data.examples import Examples, Indices
from squeezenet.errors import DataError
from squeezenet.formats.imagenet import imagenet_numbers
from squeezenet.limits import CLASS_NAME, CLASSES

Meaning = Literal["name", "number", "either"]

_NUMBER = re.compile(r"0|-?[1-9]\d{0,18}", re.ASCII)  # 001 is a name
_INDEX = re.compile(r"-?\d{1,20}", re.ASCII)
_FAR = 2**62  # beyond the end of any list
_TOLD = 3  # names that a message shows


@dataclass(frozen=True, eq=False)
class Stated:
    """The labels of images as their source states them: image i has the class `names[codes[i]]`.

    Raises `DataError` if there are too many names, or one that is empty or too long.
    """

    codes: Indices  # (N,)
    names: tuple[str, ...]  # may have classes without images
    where: str  # the file or folder, for messages
    meaning: Meaning = "either"  # how to read a label of digits

    def __post_init__(self) -> None:
        if len(self.names) > CLASSES:
            raise DataError(
                f"{self.where}: has more than {CLASSES:,} different labels, the limit of classes; "
                "give all images of a class the same label"
            )
        for name in self.names:
            if not name or len(name) > CLASS_NAME:
                wrong = f"is longer than {CLASS_NAME:,} characters" if name else "is empty"
                raise DataError(f"{self.where}: the name of a class {wrong}; correct the labels")

    @property
    def used(self) -> list[str]:
        """The names of the classes that have images."""
        return [self.names[code] for code in np.unique(self.codes).tolist()]

    @property
    def hidden(self) -> bool:
        """Whether all labels are -1: the test set of a contest, whose labels are secret."""
        return self.meaning != "name" and self.used == ["-1"]


def state(values: Sequence[str] | Indices, where: str, meaning: Meaning = "either") -> Stated:
    """`Stated` from one label for each image: texts, or an array of whole numbers. Raises as `Stated` does."""
    if isinstance(values, np.ndarray):
        distinct, codes = np.unique(values, return_inverse=True)
        return Stated(codes.astype(np.int64), tuple(map(str, distinct[: CLASSES + 1].tolist())), where, meaning)
    number: dict[str, int] = {}
    codes = np.fromiter((number.setdefault(value, len(number)) for value in values), np.int64, len(values))
    return Stated(codes, tuple(map(tidy, number)), where, meaning)


def join(parts: Sequence[Stated], where: str) -> Stated:
    """The labels of several files of the folder `where` as one `Stated`. Raises as `Stated` does."""
    number: dict[str, int] = {}
    codes = [np.empty(0, np.int64)]
    for part in parts:
        own = np.array([number.setdefault(name, len(number)) for name in part.names], np.int64)
        codes.append(own[part.codes])
    return Stated(np.concatenate(codes), tuple(number), where, parts[0].meaning)


def tidy(name: str) -> str:
    """The name of a class as one line of composed Unicode (NFC), which every file and terminal can hold.

    >>> tidy("caf\\udce9 "), tidy("cafe\\u0301")
    ('caf\\\\udce9', 'café')
    """
    whole = name.encode("utf-8", "backslashreplace").decode()  # bytes of a file name that are not Unicode
    return unicodedata.normalize("NFC", " ".join(line.strip() for line in whole.splitlines()).strip())


def number_classes(
    stated: Mapping[str, Stated | None], listed: Sequence[str] = ()
) -> tuple[tuple[str, ...], dict[str, Indices | None]]:
    """(class names, labels (N,) of each split). A split that is None, or has only labels -1, gets None.

    `listed` are the names of all classes in order, if the source has such a list; then a label is the number of a line,
    from 0, or a name. Without a list, the classes are the sorted labels. Raises `DataError` if a label is not in the
    list, or if validation has classes that training lacks.
    """
    known = {split: part for split, part in stated.items() if part is not None and not part.hidden}
    parts = list(known.values())
    classes = tuple(map(tidy, listed)) or _classes(known)
    either = bool(listed) and _by_number([part for part in parts if part.meaning == "either"], classes)
    by_name = {name: index for index, name in enumerate(classes)}
    labels: dict[str, Indices | None] = dict.fromkeys(stated)
    for split, part in known.items():
        numbered = listed and (part.meaning == "number" or (part.meaning == "either" and either))
        numbered = numbered and all(map(_is_index, part.names))
        place = {name: min(int(name), _FAR) for name in part.names} if numbered else by_name
        if unknown := sorted((name for name in part.used if name not in place), key=_is_index):
            wrong = f"{part.where}: label {unknown[0]!r}"
            raise DataError(f"{wrong} is not among the {len(classes)} listed classes; correct the label or the list")
        labels[split] = np.array([place.get(name, -1) for name in part.names], np.int64)[part.codes]
    return classes, labels


def _is_index(name: str) -> bool:
    return _INDEX.fullmatch(name) is not None


def _by_number(parts: Sequence[Stated], classes: tuple[str, ...]) -> bool:
    """Whether labels of digits are numbers of lines. Raises `DataError` if they are also names of other lines."""
    used = {name for part in parts for name in part.used}
    if not all(map(_is_index, used)):
        return False
    if not used <= set(classes):
        return True
    if any(int(name) >= len(classes) for name in used):
        return False
    if two := next((name for name in sorted(used) if classes[int(name)] != name), None):
        raise DataError(
            f"{parts[0].where}: label {two!r} may be the name of a class or the number of {classes[int(two)]!r} in the "
            "list of classes; write names that are not numbers, or leave the list out"
        )
    return True


def _classes(known: Mapping[str, Stated]) -> tuple[str, ...]:
    """The classes that occur as labels, sorted. Raises `DataError` if validation has classes that training lacks."""
    train, validation = known.get("train"), known.get("validation")
    if train is not None and validation is not None:
        _same_classes(train, validation)
        known = {"train": train}
    names = {name for part in known.values() for name in part.names}
    # Folders are sorted as texts (1, 10, 2), as other tools do.
    if any(part.meaning == "name" for part in known.values()) or not all(map(_NUMBER.fullmatch, names)):
        return tuple(sorted(names))
    if below := next((name for name in names if name.startswith("-")), None):
        where = next(part.where for part in known.values() if below in part.names)
        raise DataError(f"{where}: label {below} is below 0; remove images without a class from the data")
    return tuple(sorted(names, key=int))


def _same_classes(train: Stated, validation: Stated) -> None:
    """Raises `DataError` if validation has classes that training lacks."""
    unknown = sorted(set(validation.used) - set(train.names))
    if not unknown:
        return
    kinds = ["numbers" if all(map(_NUMBER.fullmatch, part.names)) else "names" for part in (train, validation)]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"{validation.where}: has {kinds[1]} as labels ({few(unknown)}), but training has {kinds[0]} "
            f"({few(sorted(train.names))}); label both in the same way"
        )
    raise DataError(_unknown_in_validation(validation.where, unknown, train.where, train.names))


def _unknown_in_validation(where: str, unknown: Sequence[str], train: str, names: Sequence[str]) -> str:
    """The message for classes in validation that training lacks."""
    return (
        f"{where}: the {len(names)} classes of {train} do not include {few(unknown, names)}; "
        "validation needs the classes of training"
    )


def match_classes(examples: Examples, labels: Sequence[str], outputs: int) -> Examples:
    """`examples` whose labels are indices into the `outputs` of a model; `labels` are the model's class names.

    Classes are matched by name; those of ImageNet also by WordNet id. They are matched by number if the names of the
    data or of the model are numbers, or if the model has no names. Raises `DataError` if images have a class that the
    model lacks.

    For one output, labels become 1 (positive) or 0. The positive class is the one with the name of the output; if the
    output has no name, it is the second one of two classes.
    """
    if examples.labels is None:
        return examples
    if outputs == 1:
        return _of_one_output(examples, labels)
    if examples.classes == tuple(labels):
        return examples
    number = outputs_of(examples.classes, labels, outputs)
    if unknown := _unknown(examples, number):
        if not labels:
            raise DataError(
                f"{examples.name}: has {len(examples.classes)} classes, but the model has {outputs} without names; "
                "give data with the classes of the model, or name its classes with: squeezenet convert --labels"
            )
        raise DataError(
            f"{examples.name}: the model's {outputs} classes do not include {few(unknown, labels)}; "
            f"rename them to classes of the model ({few(labels)}), or leave their images out"
        )
    names = tuple(labels)
    if not names:
        names = examples.classes if len(examples.classes) == outputs else tuple(map(str, range(outputs)))
    return replace(examples, labels=number[examples.labels], classes=names)


def _of_one_output(examples: Examples, labels: Sequence[str]) -> Examples:
    """`examples` with the labels 0 and 1, for one output that has the name `labels[0]` or no name."""
    classes, name = examples.classes, tuple(map(tidy, labels))
    if name and name[0] in map(tidy, classes):
        positive = list(map(tidy, classes)).index(name[0])
    elif len(classes) == 2 and (not name or all(map(_NUMBER.fullmatch, classes))):
        positive = 1
    else:
        wanted = f"no class {name[0]!r}, which the model's one output tells from all others" if name else (
            "not two classes, and the model's one output has no name; give it the name of the positive class with: "
            "squeezenet convert --labels"
        )  # fmt: skip
        raise DataError(f"{examples.name}: has {wanted}")
    others = [other for other in classes if other != classes[positive]]
    negative = others[0] if len(others) == 1 else f"not {classes[positive]}"
    labels_of = (examples.require_labels() == positive).astype(np.int64)
    return replace(examples, labels=labels_of, classes=(negative, classes[positive]))


def as_in_training(examples: Examples, train: Examples) -> Examples:
    """`examples` whose labels are indices into the classes of `train`. Raises `DataError` if these lack a class."""
    if examples.labels is None or train.labels is None or examples.classes == train.classes:
        return examples
    number = _by_name(examples.classes, train.classes)
    if unknown := _unknown(examples, number):
        raise DataError(_unknown_in_validation(examples.name, unknown, train.name, train.classes))
    return replace(examples, labels=number[examples.labels], classes=train.classes)


def outputs_of(classes: Sequence[str], labels: Sequence[str], outputs: int) -> Indices:
    """For each of `classes`, the index of the model's output, or -1. The model has `outputs`, named `labels`.

    They are matched by name; by number if the names of one side are numbers, or if the model has no names.

    >>> outputs_of(["cat", "ant"], ["ant", "bee", "cat"], 3).tolist(), outputs_of(["cat", "ant"], [], 2).tolist()
    ([2, 0], [0, 1])
    """
    if tuple(classes) == tuple(labels):  # even if two classes have the same name
        return np.arange(outputs)
    number = _by_name(classes, labels)
    numbered = _numbered(classes, labels, outputs) if (number < 0).all() else None
    return number if numbered is None else numbered


def _by_name(classes: Sequence[str], labels: Sequence[str]) -> Indices:
    """For each of `classes`, its index in `labels`, or -1."""
    place: dict[str, int] = {}
    for index, name in enumerate(map(tidy, labels)):
        place[name] = -1 if name in place else index  # two outputs with the same name: ambiguous
    number = np.array([place.get(tidy(name), -1) for name in classes], np.int64)
    if (number < 0).any():
        theirs = {known: index for index, known in enumerate(imagenet_numbers(labels)) if known is not None}
        for index, known in enumerate(imagenet_numbers(classes)):
            if number[index] < 0 and known is not None:
                number[index] = theirs.get(known, -1)
    return number


def _unknown(examples: Examples, number: Indices) -> list[str]:
    """The classes that have images, but no index."""
    return [examples.classes[i] for i in np.unique(examples.require_labels()).tolist() if number[i] < 0]


def _numbered(classes: Sequence[str], labels: Sequence[str], outputs: int) -> Indices | None:
    """For each class, the index of the output, matched by number; None if they cannot be."""
    digits = all(map(_NUMBER.fullmatch, classes))
    if len(classes) == outputs and (not labels or (not digits and all(map(_NUMBER.fullmatch, labels)))):
        return np.arange(outputs)  # in the order of the classes, as in training
    numbers = [int(name) for name in classes] if digits else [-1]
    return np.array(numbers, np.int64) if min(numbers) >= 0 and max(numbers) < outputs else None


def few(names: Sequence[str], near: Sequence[str] = ()) -> str:
    """The first of `names`, each with the nearest of `near`, and how many more there are.

    >>> few(["car"], ["cat", "dog"])
    "'car' (cat?)"
    """
    told = []
    for name in names[:_TOLD]:
        close = get_close_matches(name, near, n=1) if len(near) <= CLASSES // 10 else []
        told.append(f"{name!r} ({close[0]}?)" if close else repr(name))
    more = len(names) - len(told)
    return ", ".join(told) + (f" and {more} more" if more else "")


def first_classes(examples: Examples, count: int) -> Examples:
    """The examples of the first `count` classes. Raises `DataError` if there are fewer, or no labels."""
    labels = examples.require_labels()
    if count > len(examples.classes):
        raise DataError(f"{examples.name}: has {len(examples.classes)} classes, fewer than {count}")
    return replace(examples.take(np.flatnonzero(labels < count)), classes=examples.classes[:count])
