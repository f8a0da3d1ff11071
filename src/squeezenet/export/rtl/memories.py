"""What lies in the memories of a design, as files for `$readmemh`.

>>> hexadecimal([5, 18], bits=5)
'05\\n12\\n'
"""

from collections.abc import Iterable

import numpy as np

from squeezenet.export.rtl.layout import Lines
from squeezenet.export.rtl.stages import Convolution, Value

FACTOR_BITS = 16
"""Bits of the multiplier of a channel."""


def bits(count: int) -> int:
    """Bits of an index below `count`, at least 1."""
    return max((count - 1).bit_length(), 1)


def hexadecimal(words: Iterable[int], bits: int) -> str:
    """A line for each word."""
    digits = -(-bits // 4)
    return "".join(f"{word & ((1 << bits) - 1):0{digits}x}\n" for word in words)


def packed(fields: Iterable[tuple[int, int]]) -> int:
    """(number, bits) of each field, the first one in the highest bits."""
    word = 0
    for number, width in fields:
        word = word << width | number & ((1 << width) - 1)
    return word


def writes(held: Lines, channels: int, lanes: int) -> str:
    """The file of `sn_lines` that says where chunks go."""
    part = held.chunk // held.phases
    widths = (1, bits(lanes // part), bits(held.ring), bits(held.planes * channels))
    return hexadecimal((packed(zip(row, widths, strict=True)) for row in held.writes), sum(widths))


def taps(held: Lines, channels: int) -> str:
    """The file of `sn_lines` that says what each tap reads."""
    limits = bits(held.reads) + 1
    widths = (limits,) * 4 + (bits(held.ring), bits(held.planes * channels), bits(len(held.shifts)))
    return hexadecimal((packed(zip(row, widths, strict=True)) for row in held.taps), sum(widths))


def masks(held: Lines) -> str:
    """The file of `sn_lines` that says which lanes are in the image, at the address {strip, kind}."""
    kinds = bits(len(held.shifts))
    words = [0] * (1 << (bits(held.strips) + kinds))
    for strip, rows in enumerate(held.masks):
        for kind, lanes in enumerate(rows):
            words[strip << kinds | kind] = sum(1 << i for i, on in enumerate(lanes) if on)
    return hexadecimal(words, held.masks.shape[2])


def entries(stage: Convolution, level_bits: int) -> tuple[str, int]:
    """The weights that are not 0, output by output, and how many they are. An output without any has one of level 0."""
    _, count, channels = stage.levels.shape
    words = []
    for levels in stage.levels:
        tap, channel = np.nonzero(levels)
        found = [(int(levels[t, c]), int(c), int(t)) for t, c in zip(tap, channel, strict=True)] or [(0, 0, 0)]
        for number, (level, c, t) in enumerate(found):
            last = int(number + 1 == len(found))
            words.append(packed(((last, 1), (level, level_bits), (c, bits(channels)), (t, bits(count)))))
    return hexadecimal(words, 1 + level_bits + bits(channels) + bits(count)), len(words)


def shifts(factors: tuple[tuple[int, int, int], ...]) -> list[int]:
    """The different shifts of a layer, less the four bits of the bias."""
    return sorted({shift - 4 for _, shift, _ in factors})


def bias_bits(factors: tuple[tuple[int, int, int], ...]) -> int:
    """Bits of the biases of a layer, 8 added, with sign."""
    return max(max(abs(bias + 8) for _, _, bias in factors).bit_length() + 1, 5)


def channels(factors: tuple[tuple[int, int, int], ...]) -> str:
    """The file of `sn_rescale`: for each channel which shift, the bias, the multiplier."""
    found, biases = shifts(factors), bias_bits(factors)
    index = bits(len(found))
    words = (
        packed(((found.index(shift - 4), index), (bias + 8, biases), (multiplier, FACTOR_BITS)))
        for multiplier, shift, bias in factors
    )
    return hexadecimal(words, index + biases + FACTOR_BITS)


def mean_masks(value: Value, pitch: int, lanes: int, beat: int, period: int) -> str:
    """The file of `sn_mean`: which elements of a beat are in the image, at the address {word of the period, beat}."""
    beats = lanes // beat
    wide = bits(beats)
    words = [0] * (1 << (bits(period) + wide))
    for word in range(period):
        for at in range(beats):
            places = [(word * lanes + at * beat + i) % pitch for i in range(beat)]
            words[word << wide | at] = sum(1 << i for i, x in enumerate(places) if x < value.shape[2])
    return hexadecimal(words, beat)
