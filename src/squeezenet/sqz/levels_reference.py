"""Level streams in plain Python: the model of docs/FORMAT.md.

    >>> stream = encode([0, 1, 0, -2], (2, 2, 1, 1))
    >>> decode(stream, (2, 2, 1, 1))
    [0, 1, 0, -2]

`engine/src/levels.c` writes the same bytes some hundred times faster. A level is coded as a zero flag and, if it is not
zero, a sign, the number of bits of its magnitude, and these bits. All are coded as bits; for each bit a context has a
learned probability. Contexts depend on the density of kernel, row and column and on levels beside it; the context of a
sign depends on a linear prediction from the signs already coded. The factors of the prediction are learned, too.
"""

from collections.abc import Sequence

from squeezenet.sqz.range_coder import CERTAIN, RATE, Context, Reader, Writer

LARGEST = (1 << 21) - 1
"""Largest magnitude of a level."""
LARGEST_KERNEL = 1024
"""Most positions of a kernel. The positions of a larger kernel are coded as if they were inputs of a 1x1 kernel."""

Dimensions = tuple[int, int, int, int]
"""Outputs, inputs, height and width of the kernel."""

_ONE = 1 << 14  # stands for the density 1, or for a positive sign
_LENGTHS = 20  # most flags that give the number of bits of a magnitude
_DIGITS = 16  # contexts for the first four bits of a magnitude after its leading 1
_PLACES = 64  # positions of a kernel that have their own factors
_FACTOR = 1 << 19  # largest factor of a prediction
_SURE = 12  # an initial probability counts as so many observed bits


class _Model:
    """The statistics that are learned while a stream is read or written."""

    def __init__(self, coder: Writer | Reader) -> None:
        self.coder = coder
        guesses = [min((_bound(i) + _bound(i + 1)) << 12, CERTAIN - CERTAIN // 64) for i in range(33)]
        self.zero = [[Context(guess, _SURE) for _ in range(4)] for guess in guesses]
        self.sign = [Context(CERTAIN // 32 + i * (CERTAIN * 15 // 16 // 64), _SURE) for i in range(64)]
        self.length = [[Context() for _ in range(_LENGTHS)] for _ in range(22)]
        self.digit = [
            [Context(seen=16 * max(prefix.bit_length() - 1, 0)) for prefix in range(_DIGITS)]
            for _ in range(_LENGTHS + 1)
        ]
        self.factor = [[0] + [-10000] * 6 for _ in range(_PLACES)]

    def bit(self, context: Context, bit: int) -> int:
        bit = self.coder.bit(context.chance, bit)
        context.learn(bit)
        return bit

    def negative(self, features: list[int], factor: list[int], negative: int) -> int:
        """The sign of a level that is not zero."""
        forecast = sum(f * x for f, x in zip(factor, features, strict=False))
        context = self.sign[min(max((forecast >> 22) + 32, 0), 63)]
        expected = context.chance
        negative = self.bit(context, negative)
        for i, feature in enumerate(features):
            step = (negative * 65536 - expected) * feature >> 13
            factor[i] = min(max(factor[i] + step, -_FACTOR), _FACTOR)
        return negative

    def magnitude(self, neighbours: int, value: int) -> int:
        """A magnitude from 1 on: flags give the number of bits after the leading 1; then these bits, highest first."""
        digits, last = 0, value.bit_length() - 1
        while digits < _LENGTHS and self.bit(self.length[neighbours][digits], int(digits < last)):
            digits += 1
        prefix = 1
        for left in reversed(range(digits)):
            bit = value >> left & 1
            bit = self.bit(self.digit[digits][prefix], bit) if prefix < _DIGITS else self.coder.bit(32768, bit)
            prefix = prefix << 1 | bit
        return prefix


def encode(levels: Sequence[int], shape: Dimensions) -> bytes:
    """The stream of levels; no bytes if all levels are zero."""
    if not any(levels):
        return b""
    writer = Writer()
    _walk(_Model(writer), list(levels), shape)
    return writer.finish()


def decode(data: bytes | memoryview, shape: Dimensions) -> list[int]:
    """The levels in a whole stream. Raises `BadStream`."""
    outputs, inputs, height, width = shape
    levels = [0] * (outputs * inputs * height * width)
    if data:
        reader = Reader(data)
        _walk(_Model(reader), levels, shape)
        reader.finish()
    return levels


def _walk(model: _Model, levels: list[int], shape: Dimensions) -> None:
    """Write `levels` if the coder is a writer; fill `levels` if it is a reader."""
    outputs, inputs, height, width = shape
    places = height * width
    fast, slow = [_ONE // 2] * (inputs * places), [_ONE // 2] * (inputs * places)  # mean signs, 0 to _ONE
    column = [0] * inputs
    kept = at = 0
    for output in range(outputs):
        row, row_seen = (kept + 1) * _ONE // (at + 2), 7
        column_rate = RATE[min(output * places + 3, 64)]
        for i in range(inputs):
            mean = column[i] if output else row
            kernel = signs = 0
            for k in range(places):
                y, x = divmod(k, width)
                left, above = levels[at - 1] if x else 0, levels[at - width] if y else 0
                density = (2 * (mean + row) + kernel * _ONE) * RATE[k + 2] >> 16
                beside = 1 + (left != 0) + (above != 0) if k else 0
                some = model.bit(model.zero[density_class(density)][beside], int(levels[at] != 0))
                cell = i * places + k
                negative = 0
                if some:
                    features = [256, (fast[cell] >> 5) - 256, (slow[cell] >> 4) - 512]
                    if places > 1:
                        before = levels[at - width - 1] if x and y else 0
                        after = levels[at - width + 1] if y and x + 1 < width else 0
                        corners = _sign(before) + _sign(after)
                        features += [256 * _sign(left), 256 * _sign(above), 128 * corners, 256 * _sign(signs)]
                    negative = model.negative(features, model.factor[min(k, _PLACES - 1)], int(levels[at] < 0))
                    size = model.magnitude((abs(left) + abs(above) >> 1).bit_length(), abs(levels[at]))
                    levels[at] = -size if negative else size
                    kernel += 1
                    signs += -1 if negative else 1
                    kept += 1
                row = towards(row, some * _ONE, RATE[row_seen])
                row_seen = min(row_seen + 1, 128)
                mean = towards(mean, some * _ONE, column_rate)
                lean = (_ONE, 0)[negative] if some else _ONE // 2
                fast[cell] = towards(fast[cell], lean, RATE[min(output, 3)])
                slow[cell] = towards(slow[cell], lean, RATE[min(output, 64)])
                at += 1
            column[i] = mean


def _bound(i: int) -> int:
    """Bounds between classes of densities: 0, 1, 2, 3, then four in each octave."""
    return i if i < 4 else (4 + i % 4) << (i // 4 - 1)


def density_class(density: int) -> int:
    """The class of a density: the largest i for which `_bound(i)` is at most `density` / 32."""
    value = density >> 5
    bits = value.bit_length()
    return value if bits < 3 else (bits - 2) * 4 + (value >> (bits - 3) & 3)


def towards(value: int, target: int, rate: int) -> int:
    """`value`, moved towards `target` by the share `rate` / 2^16 of their distance."""
    step = abs(target - value) * rate >> 16
    return value + step if target > value else value - step


def _sign(level: int) -> int:
    return (level > 0) - (level < 0)
