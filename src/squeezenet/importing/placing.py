"""Operations that put elements of a value into the places where the next operation reads them.

>>> draft = Draft((4, 2, 2))
>>> shuffled = np.arange(16).reshape(2, 2, 2, 2).transpose(1, 0, 2, 3).reshape(4, 2, 2)
>>> draft.ops[place(draft, 0, shuffled)]
Select(inputs=(0,), start=0, counts=(2, 2), steps=(1, 2))
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import Concat, Conv, MaxPool, Select, Shape, Upsample
from squeezenet.importing.draft import Draft

Order = NDArray[np.int64]
MOST_SELECTS = 8
"""Most slices that a list of channels is written as. Other lists become a 1x1 convolution."""


def place(draft: Draft, number: int, order: Order, origin: str = "") -> int:
    """The value whose element i is element `order[i]` of value `number`, or 0 where that is -1.

    Both are (channels, height, width). Raises `UnsupportedOperation`.
    """
    channels, height, width = draft.shapes[number]
    holes = order < 0
    empty = np.asarray(holes.all((1, 2)))
    if (holes.any((1, 2)) != empty).any():
        raise UnsupportedOperation("zeros at some positions of a channel")
    planes = np.where(empty[:, None, None], 0, order)
    picked = planes[:, 0, 0] // (height * width)
    places = planes - (picked * height * width)[:, None, None]
    if (places < 0).any() or (places >= height * width).any():
        raise UnsupportedOperation("a channel of elements of several channels")
    picked = np.where(empty, -1, picked)
    rows, columns = places[:, :, 0] // width, places[:, 0, :] % width
    if (places != rows[:, :, None] * width + columns[:, None, :]).any():
        raise UnsupportedOperation("positions of an image in another order (transposed?)")
    known = np.flatnonzero(~empty)
    same = (rows[known] == rows[known[:1]]).all() and (columns[known] == columns[known[:1]]).all()
    if same and len(known):
        row, column = rows[known[0]], columns[known[0]]
        if len(row) == height and len(column) == width and _step(row) == _step(column) == 1:
            return _channels(draft, number, picked, origin)
        repeats = len(row) // height, len(column) // width
        if _repeated(row, height) and _repeated(column, width):
            return draft.put(Upsample((_channels(draft, number, picked, origin),), repeats), origin)
        steps = (_step(row) or 1, _step(column) or 1)
        op = MaxPool((number,), (1, 1), steps)
        if row[0] == column[0] == 0 and op.shape(channels, height, width)[1:] == order.shape[1:]:
            return _channels(draft, draft.put(op, origin), picked, origin)
        if _spread(row, height) and _spread(column, width):  # repeat, then leave out
            down, right = gcd(len(row), height), gcd(len(column), width)
            repeats = len(row) // down, len(column) // right
            large = draft.put(Upsample((_channels(draft, number, picked, origin),), repeats), origin)
            return draft.put(MaxPool((large,), (1, 1), (height // down, width // right)), origin)
    return _sampled(draft, number, picked, rows, columns, origin)


def _step(positions: Order) -> int | None:
    """The distance of neighbours, if it is the same everywhere and not negative."""
    steps = np.unique(np.diff(positions))
    return 1 if not len(steps) else int(steps[0]) if len(steps) == 1 and steps[0] > 0 else None


def _repeated(positions: Order, count: int) -> bool:
    factor, rest = divmod(len(positions), count)
    return not rest and bool((positions == np.repeat(np.arange(count), factor)).all())


def _spread(positions: Order, count: int) -> bool:
    """Whether `count` positions are spread evenly over n others, as the nearest neighbours of enlargements are."""
    n = len(positions)
    return bool((positions == np.arange(n) * count // n).all())


def _channels(draft: Draft, number: int, picked: Order, origin: str) -> int:
    """The channels `picked`, by as few operations as possible."""
    channels = draft.shapes[number][0]
    if len(picked) == channels and (picked == np.arange(channels)).all():
        return number
    if (picked >= 0).all():
        if (two := _loops(picked)) is not None:
            return draft.put(Select((number,), *two), origin)
        runs = _runs(picked)
        if len(runs) <= MOST_SELECTS:
            parts = [draft.put(Select((number,), *run), origin) for run in runs]
            return draft.put(Concat(tuple(parts)), origin)
    weight = np.zeros((len(picked), channels, 1, 1))
    known = np.flatnonzero(picked >= 0)
    weight[known, picked[known]] = 1
    return _fixed(draft, Conv((number,), draft.name("channels"), len(picked), (1, 1)), weight, origin)


def _loops(picked: Order) -> tuple[int, tuple[int, int], tuple[int, int]] | None:
    """Start, counts and steps of a `Select`, if two loops give the list."""
    n = len(picked)
    for inner in [n, *(d for d in range(n // 2, 0, -1) if n % d == 0)]:
        outer = n // inner
        right = int(picked[1] - picked[0]) if inner > 1 else (0 if outer > 1 else 1)
        down = int(picked[inner] - picked[0]) if outer > 1 else 0
        grid = picked[0] + down * np.arange(outer)[:, None] + right * np.arange(inner)
        if (grid.ravel() == picked).all():
            return int(picked[0]), (outer, inner), (down, right)
    return None


def _runs(picked: Order) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Slices that give the list, one after the other."""
    runs, start = [], 0
    while start < len(picked):
        end = start + 1
        step = int(picked[end] - picked[start]) if end < len(picked) else 1
        while end < len(picked) and picked[end] - picked[end - 1] == step:
            end += 1
        runs.append((int(picked[start]), (1, end - start), (0, step)))
        start = end
    return runs


def _sampled(draft: Draft, number: int, picked: Order, rows: Order, columns: Order, origin: str) -> int:
    """Channels whose rows and columns lie at equal distances: a convolution in which each kernel has one 1."""
    shape: Shape = draft.shapes[number]
    if not rows.shape[1] or not columns.shape[1] or not len(picked):
        raise UnsupportedOperation("an empty tensor")
    offsets = np.stack([rows[:, 0], columns[:, 0]], 1)
    steps = [np.unique(np.diff(each, axis=1)) for each in (rows[picked >= 0], columns[picked >= 0])]
    if any(len(step) > 1 or (step <= 0).any() for step in steps):
        raise UnsupportedOperation("positions of an image in another order")
    down, right = (int(step[0]) if len(step) else 1 for step in steps)
    kernel = int(offsets[:, 0].max()) + 1, int(offsets[:, 1].max()) + 1
    depthwise = len(picked) == shape[0] and bool((picked == np.arange(shape[0])).all())
    weight = np.zeros((len(picked), 1 if depthwise else shape[0], *kernel))
    known = np.flatnonzero(picked >= 0)
    weight[known, 0 if depthwise else picked[known], offsets[known, 0], offsets[known, 1]] = 1
    op = Conv(
        (number,), draft.name("positions"), len(picked), kernel, (down, right), groups=shape[0] if depthwise else 1
    )
    if op.shape(*shape)[1:] != (rows.shape[1], columns.shape[1]):
        raise UnsupportedOperation("a part of an image that ends before its edge")
    return _fixed(draft, op, weight, origin)


def _fixed(draft: Draft, op: Conv, weight: NDArray[np.float64], origin: str) -> int:
    draft.weights[op.name] = weight, np.zeros(len(weight))
    return draft.put(op, origin)
