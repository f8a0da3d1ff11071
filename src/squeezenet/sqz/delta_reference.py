"""Codes and decodes the body of a delta in plain Python (docs/FORMAT.md, "Deltas"). The engine is much faster.

>>> body = encode(Parts.of(old), Parts.of(new), plan)              # doctest: +SKIP
>>> decode(Parts.of(old), body, len(new)) == new                   # doctest: +SKIP
True

A body holds the *front* of the new file (all bytes before its first level stream) as pieces that are copied from the
old file or inserted, and then one stream of the range coder, which holds the levels of each layer.
"""

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod

from squeezenet.errors import BadStream
from squeezenet.graph import Activation, Graph, Layer
from squeezenet.model import MAX_BIAS, MAX_LEVEL
from squeezenet.sqz import costs, graphs, integers
from squeezenet.sqz.cursor import Cursor, fold, put_varint, unfold
from squeezenet.sqz.differences import MOST_RESCALING, NONE, Differences
from squeezenet.sqz.differences import Layer as Levels
from squeezenet.sqz.levels import dimensions, levels_in, stream_of
from squeezenet.sqz.levels_reference import Dimensions
from squeezenet.sqz.range_coder import Context, Reader, Writer

# Kinds of numbers, below those of `differences`.
_REFERENCE, _RUNS, _RUN, _SIZE, _LENGTH, _BIAS_STEP = range(6)


@dataclass(frozen=True)
class Part:
    """A layer (three streams: exponents, levels, biases) or a table (one stream) of a file."""

    shape: Dimensions | None  # None: a table
    streams: tuple[bytes, ...]  # without their lengths

    def levels(self) -> Levels:
        """What the streams of a layer hold. Raises a subclass of `FormatError`."""
        assert self.shape is not None
        outputs = (self.shape[0], 1, 1, 1)
        steps, levels, biases = (
            levels_in(stream, shape, "delta").ravel().tolist()
            for stream, shape in zip(self.streams, (outputs, self.shape, outputs), strict=True)
        )
        return Levels(self.shape, list(accumulate(steps)), levels, biases)


@dataclass(frozen=True)
class Parts:
    """A file of an integer network in parts."""

    data: bytes
    front: int  # bytes before the first stream
    parts: tuple[Part, ...]

    @staticmethod
    def of(data: bytes) -> "Parts":
        """The parts of a file that a reader accepts."""
        cursor, shapes = after_front(data)
        front, parts = cursor.at, []
        for shape in shapes:
            streams = tuple(bytes(cursor.take(cursor.varint())) for _ in range(3 if shape else 1))
            parts.append(Part(shape, streams))
        return Parts(data, front, tuple(parts))


@dataclass(frozen=True)
class Reference:
    """The part of the old file that a part of the new one is compared with.

    `runs` say which outputs belong together, both from the first to the last: (old outputs to skip, outputs that both
    files have, outputs that only the new file has). No runs: each output belongs to the old one of its number.
    """

    part: int
    runs: tuple[tuple[int, int, int], ...] = ()
    rescaling: int = 0  # of biases, in eighths of an octave: old exponent of the result minus the new one


Plan = Sequence[Reference | None]
"""For each part of the new file."""


def after_front(data: bytes) -> tuple[Cursor, list[Dimensions | None]]:
    """A cursor behind the front of an integer network's file, and the shape of each of its parts."""
    cursor = Cursor(data, "delta")
    graph, text_bytes = _graph(cursor, len(data))
    cursor.take(text_bytes)
    integers.take_scales(cursor, graph)
    return cursor, list(_shapes(graph))


def _graph(front: Cursor, size: int) -> tuple[Graph, int]:
    """The graph in the front of a file of `size` bytes, within the limits, and the bytes of the text after it."""
    front.take(16)
    graph_bytes, text_bytes = struct.unpack("<II", front.take(8))
    section = Cursor(front.take(graph_bytes), "graph")
    graph, preparation = graphs.unpack(section)
    section.finish()
    costs.check_limits(graph, preparation.resize, size)
    return graph, text_bytes


def _shapes(graph: Graph) -> Iterator[Dimensions | None]:
    shapes = graph.weight_shapes()
    for op in graph.ops:
        if isinstance(op, Layer):
            yield dimensions(shapes[op.name])
        elif isinstance(op, Activation):
            yield None


def encode(old: Parts, new: Parts, plan: Plan, version: int = 2) -> bytes:
    """The body of a delta of this version."""
    out = bytearray()
    put_front(out, old.data, new.data[: new.front])
    return bytes(out) + encode_parts(old, new, plan, version)


def encode_parts(old: Parts, new: Parts, plan: Plan, version: int = 2) -> bytes:
    """The levels of all layers, as one stream of the range coder."""
    writer = Writer()
    walk = _Walk(old, writer, version)
    for part, reference in zip(new.parts, plan, strict=True):
        walk.part(part.shape, part, reference)
    return writer.finish()


def decode(old: Parts, body: memoryview, size: int, version: int = 2) -> bytes:
    """The new file of `size` bytes, not yet verified. `version`: of the delta. Raises a subclass of `FormatError`."""
    cursor = Cursor(body, "delta")
    out = bytearray(take_front(cursor, old.data, size))
    graph, _ = _graph(Cursor(bytes(out), "delta"), size)
    reader = Reader(cursor.take(cursor.left))
    walk = _Walk(old, reader, version)
    for shape in _shapes(graph):
        for stream in walk.part(shape, None, None):
            put_varint(out, len(stream))
            out += stream
            if len(out) > size:
                raise BadStream("delta: the new file is longer than it was promised to be")
    reader.finish()
    return bytes(out)


def put_front(out: bytearray, old: bytes, front: bytes) -> None:
    """Append pieces that make `front` from `old`: where to copy from, bytes to copy, bytes to insert."""
    pieces = _pieces(old, front)
    put_varint(out, len(pieces))
    expected = 0
    for start, copied, inserted in pieces:
        put_varint(out, fold(start - expected))
        put_varint(out, copied)
        put_varint(out, len(inserted))
        out += inserted
        expected = start + copied + len(inserted)


def take_front(cursor: Cursor, old: bytes, size: int) -> bytes:
    """The front that `put_front` wrote, of at most `size` bytes."""
    out, expected = bytearray(), 0
    for _ in range(cursor.varint(size)):
        start = expected + unfold(cursor.varint())
        copied, inserted = cursor.varint(size - len(out)), cursor.varint()
        if not 0 <= start <= len(old) - copied or len(out) + copied + inserted > size:
            raise BadStream("delta: a piece lies outside the old file")
        out += old[start : start + copied]
        out += cursor.take(inserted)
        expected = start + copied + inserted
    return bytes(out)


LEAST_COPY = 6  # bytes; a shorter copy is not shorter than its piece


def _pieces(old: bytes, front: bytes) -> list[tuple[int, int, bytes]]:
    """Greedy: at each place the longest copy, first at the expected place in `old`, else anywhere before its end."""
    places: dict[bytes, list[int]] = {}
    for i in range(len(old[: len(front) + 4096]) - LEAST_COPY + 1):
        places.setdefault(old[i : i + LEAST_COPY], []).append(i)

    def common(at: int, start: int) -> int:
        count = 0
        while at + count < len(front) and start + count < len(old) and front[at + count] == old[start + count]:
            count += 1
        return count

    pieces: list[tuple[int, int, bytes]] = []
    at = start = copied = begun = 0  # of the piece that is being made: its copy, and where its insertion began
    copied = common(0, 0)
    at = begun = copied
    while at < len(front):
        same = start + copied + at - begun  # a replacement: as many bytes of the old file were skipped
        best, length = same, common(at, same) if same < len(old) else 0
        if length < LEAST_COPY:
            found = places.get(front[at : at + LEAST_COPY], [])
            near = bisect_left(found, same)
            for candidate in found[max(0, near - 4) : near + 4]:
                if (count := common(at, candidate)) > length:
                    best, length = candidate, count
        if length >= LEAST_COPY:
            pieces.append((start, copied, front[begun:at]))
            start, copied = best, length
            at = begun = at + length
        else:
            at += 1
    pieces.append((start, copied, front[begun:at]))
    return pieces


class _Walk:
    """Codes the parts of the new file one after another: writes them, or finds their streams."""

    def __init__(self, old: Parts, coder: Writer | Reader, version: int) -> None:
        self.old = old
        self.coder = coder
        self.model = Differences(coder, version)
        self.next = 0  # the old part after the last one that was used
        self.follows, self.aligned = Context(), Context()
        self.kinds = [Context() for _ in range(4)]

    def part(self, shape: Dimensions | None, new: Part | None, reference: Reference | None) -> tuple[bytes, ...]:
        """The streams of the next part. `new` and `reference` are given if the coder is a writer."""
        reference = self._reference(shape, new, reference)
        if reference is None:
            count = 3 if shape else 1
            return tuple(self._raw(None if new is None else new.streams[i]) for i in range(count))
        old = self.old.parts[reference.part]
        if shape is None:
            return (self._table(old.streams[0], None if new is None else new.streams[0]),)
        return self._layer(shape, old, new, reference)

    def _reference(self, shape: Dimensions | None, new: Part | None, given: Reference | None) -> Reference | None:
        model, parts = self.model, self.old.parts
        number = 0 if given is None else given.part + 1
        if model.bit(self.follows, int(new is not None and number != self.next + 1)):
            number = model.natural(_REFERENCE, number)
            if number == 0:
                return None
        else:
            number = self.next + 1
        if number > len(parts) or (parts[number - 1].shape or ())[1:] != (shape or ())[1:]:
            raise BadStream("delta: a layer is compared with one of another shape")
        self.next = number
        if shape is None:
            return Reference(number - 1)
        runs = self._runs(shape[0], number - 1, () if given is None else given.runs)
        return Reference(number - 1, runs, 0 if given is None else given.rescaling)

    def _runs(self, count: int, part: int, given: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
        old = self.old.parts[part].shape
        assert old is not None
        if not self.model.bit(self.aligned, int(bool(given))):
            if old[0] != count:
                raise BadStream("delta: a layer has another number of outputs")
            return ()
        runs, read, made = [], 0, 0
        for i in range(self.model.natural(_RUNS, len(given) - 1) + 1):
            skip, both, fresh = (self.model.natural(_RUN, n) for n in (given[i] if given else (0, 0, 0)))
            read, made = read + skip + both, made + both + fresh
            if read > old[0] or made > count or not both + fresh:
                raise BadStream("delta: outputs that do not exist")
            runs.append((skip, both, fresh))
        if made != count:
            raise BadStream("delta: outputs that do not exist")
        return tuple(runs)

    def _raw(self, stream: bytes | None) -> bytes:
        """A stream as it is."""
        length = self.model.natural(_LENGTH, 0 if stream is None else len(stream))
        out = bytearray()
        for i in range(length):  # a reader that has no more bytes raises `BadStream` soon
            byte = 0
            for left in reversed(range(8)):
                byte = byte << 1 | self.coder.bit(32768, 0 if stream is None else stream[i] >> left & 1)
            out.append(byte)
        return bytes(out)

    def _table(self, old: bytes, new: bytes | None) -> bytes:
        if not self.model.bit(self.kinds[3], int(new is not None and new != old)):
            return old
        return self._raw(new)

    def _layer(
        self, shape: Dimensions, old: Part, new: Part | None, reference: Reference
    ) -> tuple[bytes, bytes, bytes]:
        before, after = old.levels(), _empty(shape) if new is None else new.levels()
        outputs, model = _sources(reference, shape[0]), self.model

        def rescaling() -> int:
            found = model.whole(_BIAS_STEP, reference.rescaling)
            if abs(found) > MOST_RESCALING:
                raise BadStream("delta: biases are rescaled too much")
            return found

        def stream(i: int, values: list[int], old_values: list[int], most: int, find: Callable[[], None]) -> bytes:
            same = not reference.runs and not model.bit(
                self.kinds[i], int(new is not None and new.streams[i] != old.streams[i])
            )
            if same:
                values[:] = old_values
                return old.streams[i]
            size = len(old.streams[i]) + model.whole(
                _SIZE, 0 if new is None else len(new.streams[i]) - len(old.streams[i])
            )
            find()
            if max(values) > most or min(values) < -most:
                raise BadStream("delta: a number is over its limit")
            if i == 0:
                values = [b - a for a, b in pairwise([0, *values])]
            made = stream_of(values, shape if i == 1 else (shape[0], 1, 1, 1))
            if len(made) != size:
                raise BadStream("delta: a stream has another size")
            return made

        return (
            stream(0, after.exponents, before.exponents, integers.MAX_EXPONENT,
                   lambda: model.exponents(after.exponents, before.exponents, outputs)),
            stream(1, after.levels, before.levels, MAX_LEVEL, lambda: model.levels(after, before, outputs)),
            stream(2, after.biases, before.biases, MAX_BIAS - 1,
                   lambda: model.biases(after.biases, before.biases, outputs, rescaling())),
        )  # fmt: skip


def _sources(reference: Reference, count: int) -> list[int]:
    """The old output at the place of each of `count` new ones, or `NONE`."""
    if not reference.runs:
        return list(range(count))
    found: list[int] = []
    read = 0
    for skip, both, fresh in reference.runs:
        read += skip
        found += [*range(read, read + both), *[NONE] * fresh]
        read += both
    return found


def _empty(shape: Dimensions) -> Levels:
    return Levels(shape, [0] * shape[0], [0] * prod(shape), [0] * shape[0])
