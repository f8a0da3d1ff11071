"""Codes the levels of a layer in a delta, given the levels of the old file (docs/FORMAT.md, "Deltas").

    >>> old = Layer((2, 2, 1, 1), [0, 0], [3, 0, -1, 5], [7, 9])
    >>> new = Layer((2, 2, 1, 1), [0, 0], [3, 0, -2, 5], [7, 9])
    >>> writer = Writer()
    >>> _ = Differences(writer).levels(new, old, [0, 1])
    >>> stream = writer.finish(); len(stream)
    1
    >>> reader, found = Reader(stream), Layer((2, 2, 1, 1), [0, 0], [0, 0, 0, 0], [0, 0])
    >>> Differences(reader).levels(found, old, [0, 1]); found.levels
    [3, 0, -2, 5]

For each level, the *forecast* is the old level of the same weight, rescaled to the new grid step. The first bit says
whether the new level differs from the forecast. Several contexts predict this bit, and learned weights mix their
predictions, as in `mixed_text`. `engine/src/differences.c` does the same; a test compares the streams.
"""

from dataclasses import dataclass

from squeezenet.errors import BadStream
from squeezenet.model import MAX_LEVEL
from squeezenet.sqz.levels_reference import Dimensions, density_class, towards
from squeezenet.sqz.mixed_text import squash, stretched
from squeezenet.sqz.range_coder import CERTAIN, RATE, Context, Reader, Writer

ROOTS = (32768, 35734, 38968, 42495, 46341, 50535, 55109, 60097)
"""2^15 * 2^(i/8), rounded."""
MOST_RESCALING = 64
"""Largest distance between the old and the new step, in eighths of an octave. Beyond it, old levels are not used."""
NONE = -1
"""Stands in place of the number of an old output if there is no such output."""

_ONE = 1 << 14  # a density of 1, or the mean of signs that are all positive
_MOVE_BITS = 8
_FRESH = 6  # class of a magnitude where there is no old level
_STRETCHED = stretched()


@dataclass
class Layer:
    """What the three streams of a layer hold."""

    shape: Dimensions
    exponents: list[int]
    levels: list[int]
    biases: list[int]


class _Mixer:
    """Weighted sums of predictions, each by a context; the weights are learned. `inputs` predictions, some sets.

    The smaller `shift`, the faster the weights learn. `total`: the sum of the weights at first; 65536 is 1.
    """

    def __init__(self, inputs: int, sets: list[int], shift: int = 16, total: int = 98304) -> None:
        share = total // (inputs * len(sets))
        self.shift = shift
        self.weights = [[[share] * inputs for _ in range(count)] for count in sets]

    def bit(self, coder: Writer | Reader, contexts: list[Context], chosen: list[int], bit: int) -> int:
        inputs = [_STRETCHED[context.ones >> 10] for context in contexts]
        sets = [held[i] for held, i in zip(self.weights, chosen, strict=True)]
        total = sum(x * sum(weights) for x, *weights in zip(inputs, *sets, strict=True)) >> 16
        ones = squash(min(max(total, -2047), 2047))
        bit = coder.bit(min(max(ones, 32), 65504), bit)
        error = (bit << 16) - ones
        for weights in sets:
            for i, x in enumerate(inputs):
                weights[i] = min(
                    max(weights[i] + (x * error + (1 << self.shift - 1) >> self.shift), -(1 << 20)), 1 << 20
                )
        for context in contexts:
            context.learn(bit)
        return bit


def _contexts(count: int, ones: int = CERTAIN // 2, seen: int = 0) -> list[Context]:
    return [Context(ones, seen) for _ in range(count)]


class Numbers:
    """Whole numbers of any size, coded by their length; each `kind` has contexts of its own."""

    def __init__(self, coder: Writer | Reader) -> None:
        self.coder = coder
        self.lengths: dict[int, list[Context]] = {}
        self.digits: dict[int, list[Context]] = {}
        self.signs: dict[int, Context] = {}

    def bit(self, context: Context, bit: int) -> int:
        bit = self.coder.bit(context.chance, bit)
        context.learn(bit)
        return bit

    def natural(self, kind: int, value: int) -> int:
        """A number from 0 on, below 2^31 - 1: the length of `value` + 1 in unary, then the digits after the first."""
        lengths, digits = self.lengths.setdefault(kind, _contexts(32)), self.digits.setdefault(kind, _contexts(64))
        last, length, prefix = (value + 1).bit_length() - 1, 0, 1
        while self.bit(lengths[length], int(length < last)):
            length += 1
            if length > 30:
                raise BadStream("delta: a number is too large")
        for left in reversed(range(length)):
            bit = value + 1 >> left & 1
            near = prefix < 4 and length < 16
            bit = self.bit(digits[4 * length + prefix], bit) if near else self.coder.bit(32768, bit)
            prefix = prefix << 1 | bit
        return prefix - 1

    def whole(self, kind: int, value: int) -> int:
        """A number of either sign."""
        size = self.natural(kind, abs(value))
        if not size:
            return 0
        return -size if self.bit(self.signs.setdefault(kind, Context()), int(value < 0)) else size


class Differences(Numbers):
    """The statistics of a whole delta, which are learned while it is read or written."""

    def __init__(self, coder: Writer | Reader, version: int = 2) -> None:
        super().__init__(coder)
        self.version = version
        rare = CERTAIN // 16, 3
        self.changed = [_contexts(count, *rare) for count in (7 * 9, 33 * 5, 33 * 5, 8 * 5, 64 * 5, 8 * 17)]
        self.changed_mixer = _Mixer(6, [14, 11], 16 if version == 1 else 17)
        self.away = [_contexts(64), _contexts(12)]
        self.away_mixer = _Mixer(2, [4])
        self.negative = [_contexts(27), _contexts(17)]
        self.negative_mixer = _Mixer(2, [2])
        self.same_step = Context()
        self.moves = Moves(coder)

    def exponents(self, new: list[int], old: list[int], outputs: list[int]) -> None:
        """Fill `new` if the coder is a reader. `outputs`: the old output at the place of each new one, or `NONE`."""
        shift = 0
        for i, output in enumerate(outputs):
            if output == NONE:
                last = new[i - 1] if i else 0
                new[i] = last + self.whole(_FRESH_STEP, new[i] - last)
                continue
            moved = new[i] - old[output] - shift
            if self.bit(self.same_step, int(moved != 0)):
                shift += self.whole(_STEP, moved)
            new[i] = old[output] + shift

    def biases(self, new: list[int], old: list[int], outputs: list[int], rescaling: int) -> None:
        """Fill `new` if the coder is a reader. `rescaling` takes an old bias to the new step, as for levels."""
        recent = 0  # length of the mean magnitude of differences, nearly
        for i, output in enumerate(outputs):
            forecast = 0 if output == NONE else rescaled(old[output], rescaling)[0]
            kind = _FRESH_BIAS if output == NONE else _BIAS + min((recent >> 4).bit_length(), 15)
            difference = self.whole(kind, new[i] - forecast)
            new[i] = forecast + difference
            if output != NONE:
                recent += (abs(difference) << 4) - recent >> 2

    def levels(self, new: Layer, old: Layer, outputs: list[int]) -> None:
        """Fill `new.levels` if the coder is a reader; `new.exponents` are known."""
        _, inputs, height, width = new.shape
        places = height * width
        column, dense = [_ONE // 16] * inputs, [_ONE // 4] * inputs  # share of changed and of old levels that are not 0
        lean = [_ONE // 2] * (inputs * places)  # mean signs
        place = [_ONE // 16] * (inputs * places)  # share of changed levels
        self.moves.begin()
        changed = all_ = 0
        for output, source in enumerate(outputs):
            start, rescaling = output * inputs * places, 0
            if source != NONE:
                rescaling = old.exponents[source] - new.exponents[output]
            fresh = source == NONE or abs(rescaling) > MOST_RESCALING
            row = (changed * _ONE + _ONE * 2) // (all_ + 32)
            row_seen, last = 7, 0
            before = [0] * (inputs * places)
            if not fresh:
                before = old.levels[source * inputs * places : (source + 1) * inputs * places]
            kept = min(sum(1 for level in before if level) * 16 // (inputs * places), 7)
            rate = RATE[min(output * places + 3, 64)]
            for i in range(inputs):
                first = i * places
                flags = [0] * places
                count = signs = 0
                for k in range(places):
                    y, x = divmod(k, width)
                    cell = first + k
                    forecast, part = rescaled(before[cell], rescaling)
                    forecast = min(max(forecast, -MAX_LEVEL), MAX_LEVEL)
                    size = abs(forecast)
                    if places > 1:
                        near = (
                            (abs(before[cell - 1]) if x else 0)
                            + (abs(before[cell + 1]) if x + 1 < width else 0)
                            + (abs(before[cell - width]) if y else 0)
                            + (abs(before[cell + width]) if y + 1 < height else 0)
                        )
                    else:
                        near = (abs(before[i - 1]) if i else 0) + (abs(before[i + 1]) if i + 1 < inputs else 0)
                    some = _FRESH if fresh else min(size, 5)
                    few = 4 if fresh else min(size, 3)
                    beside = (flags[k - 1] if x else 0) + (flags[k - width] if y else 0)
                    contexts = [
                        self.changed[0][9 * some + 3 * beside + min(count, 2)],
                        self.changed[1][5 * density_class(row) + few],
                        self.changed[2][5 * density_class(column[i]) + few],
                        self.changed[3][5 * min(near, 7) + few],
                        self.changed[4][5 * (self._density(kept, dense[i], place[cell])) + few],
                        self.changed[5][16 if fresh else 17 * (part + 4) + min(size, 15)],
                    ]
                    sets = [2 * some + (places > 1), density_class(row) // 3]
                    level = new.levels[start + cell]
                    differs = self.changed_mixer.bit(self.coder, contexts, sets, int(level != forecast))
                    if differs:
                        flags[k] = 1
                        count += 1
                        if size == 0:
                            left = _sign(new.levels[start + cell - 1]) if x else 0
                            above = _sign(new.levels[start + cell - width]) if y else 0
                            hints = [
                                self.negative[0][9 * left + 3 * above + _sign(signs) + 13],
                                self.negative[1][lean[cell] >> 10],
                            ]
                            down = self.negative_mixer.bit(self.coder, hints, [int(places > 1)], int(level < 0))
                            kind = _SIZE + (10 if fresh else 1)
                        else:
                            hints = [self.away[0][8 * min(size, 7) + part + 4], self.away[1][3 * few + last]]
                            away = int((level > forecast) == (forecast > 0))
                            away = self.away_mixer.bit(self.coder, hints, [few], away)
                            last = 1 + away
                            down = int((forecast > 0) != (away == 1))
                            kind = _SIZE + 2 * min(size, 4) + away
                        if self.version == 1:
                            moved = self.natural(kind, abs(level - forecast) - 1) + 1
                        else:
                            way = 3 if fresh else 0 if size == 0 else 1 + away
                            moved = self.moves.code(size, way, abs(level - forecast) - 1) + 1
                        level = forecast - moved if down else forecast + moved
                        if abs(level) > MAX_LEVEL:
                            raise BadStream("delta: a level is over its limit")
                    else:
                        level = forecast
                    new.levels[start + cell] = level
                    row = towards(row, differs * _ONE, RATE[row_seen])
                    row_seen = min(row_seen + 1, 128)
                    if not fresh:
                        column[i] = towards(column[i], differs * _ONE, rate)
                        dense[i] = towards(dense[i], _ONE if before[cell] else 0, rate)
                        place[cell] = towards(place[cell], differs * _ONE, RATE[min(output + 3, 30)])
                    signs += _sign(level)
                    lean[cell] = towards(lean[cell], _ONE // 2 * (1 + _sign(level)), RATE[min(output, 64)])
                if not fresh:
                    changed += count
            if not fresh:
                all_ += inputs * places

    def _density(self, kept: int, dense: int, place: int) -> int:
        """The class of the fourth context of a change."""
        return 8 * kept + min(dense >> 10, 7) if self.version == 1 else density_class(place)


class Moves:
    """The distances of levels from their forecasts, minus 1. Two contexts predict each bit. Since version 2."""

    def __init__(self, coder: Writer | Reader) -> None:
        self.coder = coder
        self.lengths = [[_contexts(_MOVE_BITS) for _ in range(count)] for count in (4 * 7, 9 * 7)]
        self.digits = [[_contexts(_MOVE_BITS) for _ in range(count)] for count in (4 * 7, 9 * 7)]
        self.mixer = _Mixer(2, [5], 14, 65536)
        self.begin()

    def begin(self) -> None:
        """Begin a layer."""
        self.mean = self.seen = 0

    def code(self, size: int, kind: int, value: int) -> int:
        """`kind`: 0 for a forecast of 0, 1 towards zero, 2 away from zero, 3 without a forecast."""
        mean = min(((self.mean >> 6) + 1).bit_length(), 7) - 1
        places = (7 * kind + mean, 7 * (8 if kind == 3 else size.bit_length()) + mean)
        lengths, digits = ([each[i] for each, i in zip(held, places, strict=True)]
                           for held in (self.lengths, self.digits))  # fmt: skip
        last, length, prefix = (value + 1).bit_length() - 1, 0, 1
        while self.mixer.bit(self.coder, [each[length] for each in lengths], [min(length, 3)], int(length < last)):
            length += 1
            if length == _MOVE_BITS:
                raise BadStream("delta: a level is over its limit")
        for left in reversed(range(length)):
            bit = value + 1 >> left & 1
            if prefix == 1:
                bit = self.mixer.bit(self.coder, [each[length] for each in digits], [4], bit)
            else:
                bit = self.coder.bit(32768, bit)
            prefix = prefix << 1 | bit
        if kind < 3:
            self.mean = towards(self.mean, prefix - 1 << 6, RATE[self.seen])
            self.seen = min(self.seen + 1, 14)
        return prefix - 1


# Kinds of numbers. Those of the files and layers are in `delta_reference`.
_STEP, _FRESH_STEP, _FRESH_BIAS, _BIAS, _SIZE = 8, 9, 10, 16, 32


def rescaled(value: int, rescaling: int) -> tuple[int, int]:
    """`value` * 2^(rescaling / 8) to the nearest whole number, and the eighths (-4 to 3) that rounding left over.

    Both are for the magnitude; the whole number has the sign of `value`.
    """
    octaves, eighth = rescaling >> 3, rescaling & 7
    eighths = (abs(value) * ROOTS[eighth] << 9 + octaves) >> 21
    size = eighths + 4 >> 3
    return (-size if value < 0 else size), eighths - 8 * size


def _sign(level: int) -> int:
    return (level > 0) - (level < 0)
