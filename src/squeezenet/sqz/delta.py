"""Makes deltas: small files that turn one `.sqz` file into another one, byte for byte (docs/FORMAT.md, "Deltas").

    >>> delta = make(old, new)                                          # doctest: +SKIP
    >>> apply(old, delta) == new                                        # doctest: +SKIP
    True

Two files of integer networks are compared level by level (a level is an integer weight), because one changed level
changes all coded bytes after it. If the result is not smaller than the new file, or if one of the networks is a float
network, the delta holds the whole new file. `delta_file` has the header of a delta and `apply`, which a device uses
without NumPy.
"""

from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import chain

import numpy as np

from squeezenet.errors import FormatError
from squeezenet.graph import Activation, Layer
from squeezenet.limits import DELTA_BYTES_A_BYTE, FREE_DELTA
from squeezenet.model import Model
from squeezenet.sqz import delta_reference, file
from squeezenet.sqz.delta_file import LEVELS, WHOLE, apply, packed
from squeezenet.sqz.delta_reference import Parts, Plan, Reference
from squeezenet.sqz.differences import MOST_RESCALING
from squeezenet.sqz.levels import HAS_ENGINE, dimensions

if HAS_ENGINE:
    from squeezenet import _workshop

__all__ = ["apply", "make"]


def make(old: bytes, new: bytes) -> bytes:
    """A delta from the file `old` to the file `new`. Raises `ModelError` if one of them is no `.sqz` file."""
    models = file.decode(old), file.decode(new)
    whole = packed(WHOLE, old, new, new)
    if not all(model.scales for model in models):
        return whole
    body = body_of(old, new, plan_of(*models))
    delta = whole if body is None else packed(LEVELS, old, new, body)
    if len(delta) >= len(whole) or not _may_grow(old, new, delta):
        return whole
    try:
        return delta if apply(old, delta) == new else whole
    except FormatError:  # another writer coded the levels of `new` in another way
        return whole


def body_of(old: bytes, new: bytes, plan: Plan) -> bytes | None:
    """The body of a delta of the kind `LEVELS`, or None if it is clearly longer than `new`."""
    if not HAS_ENGINE:
        return delta_reference.encode(Parts.of(old), Parts.of(new), plan)
    numbers: list[int] = []
    for reference in plan:
        if reference is None:
            numbers += [0, 0, 0]
        else:
            numbers += [reference.part + 1, reference.rescaling, len(reference.runs), *chain(*reference.runs)]
    out = bytearray()
    delta_reference.put_front(out, old, new[: delta_reference.after_front(new)[0].at])
    levels = _workshop.delta_encode(old, new, np.array(numbers, np.int32))
    return None if levels is None else bytes(out) + levels


def _may_grow(old: bytes, new: bytes, delta: bytes) -> bool:
    return len(new) <= DELTA_BYTES_A_BYTE * (len(old) + len(delta)) + FREE_DELTA


def plan_of(old: Model, new: Model) -> Plan:
    """Which layers are compared: those of one name and shape; else, in order, those of one shape; then tables."""
    olds, news = list(_coded(old)), list(_coded(new))
    found: list[Reference | None] = []
    taken: set[int] = set()
    for name, shape, exponent in news:
        fitting = [i for i, each in enumerate(olds) if i not in taken and each[1][1:] == shape[1:]]
        if not fitting:
            found.append(None)
            continue
        named = [i for i in fitting if olds[i][0] == name]
        part = min(named or fitting)
        taken.add(part)
        runs: tuple[tuple[int, int, int], ...] = ()
        if shape and olds[part][1][0] != shape[0]:
            runs = _runs(old, new, olds[part][1][0], shape[0])
        moved = olds[part][2] - exponent
        found.append(Reference(part, runs, moved if abs(moved) <= MOST_RESCALING else 0))
    return found


def _coded(model: Model) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """For each layer: name, shape, exponent of its result. For each table: "", which no layer is called, (), 0."""
    shapes = model.graph.weight_shapes()
    for index, op in enumerate(model.graph.ops):
        if isinstance(op, Layer):
            yield op.name, dimensions(shapes[op.name]), model.scales[index + 1].exponent
        elif isinstance(op, Activation):
            yield "", (), 0


def _runs(old: Model, new: Model, before: int, after: int) -> tuple[tuple[int, int, int], ...]:
    """Which outputs belong together where their numbers differ: those of one label, else the first ones."""
    if (before, after) != (len(old.labels), len(new.labels)):
        both = min(before, after)
        return ((0, both, after - both),)
    runs: list[tuple[int, int, int]] = []
    read = made = 0
    blocks = SequenceMatcher(None, old.labels, new.labels, autojunk=False).get_matching_blocks()
    for start, begin, size in blocks:
        if begin > made:  # outputs that only the new file has belong to the run before
            skip, both, _ = runs.pop() if runs else (0, 0, 0)
            runs.append((skip, both, begin - made))
        if size:
            runs.append((start - read, size, 0))
        read, made = start + size, begin + size
    return tuple(runs)
