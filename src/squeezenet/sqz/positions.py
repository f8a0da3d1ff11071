"""Positions of the weights that are not zero: relative indices with filler zeros (Deep Compression, section 2).

    >>> symbols = to_symbols(np.array([0, 1, 9]), longest=3)    # gaps 0, 0, 7 = 3 + 3 + 1
    >>> symbols.tolist(), to_positions(symbols, longest=3).tolist()
    ([0, 0, 3, 3, 1], [0, 1, 9])

A gap is the number of zeros before a weight. A symbol below `longest` is a gap and the weight after it. The symbol
`longest` is a filler: `longest` zeros without a weight after them. (The authors' files have a zero weight after it.)
Zeros after the last weight are not coded, since the shape gives their number.
"""

import numpy as np
from numpy.typing import NDArray

from squeezenet.sqz import huffman

CANDIDATES = (7, 15, 31, 63, 127, 255)
"""Values of `longest` that the writer tries. It takes the one whose stream has the fewest bytes."""

Integers = NDArray[np.int64]


def to_symbols(positions: Integers, longest: int) -> Integers:
    """Relative indices of increasing `positions`."""
    gaps = np.diff(positions, prepend=-1) - 1
    fillers = gaps // longest
    symbols = np.full(int(positions.size + fillers.sum()), longest, np.int64)
    symbols[np.cumsum(fillers + 1) - 1] = gaps % longest
    return symbols


def to_positions(symbols: NDArray[np.integer], longest: int) -> Integers:
    """The inverse of `to_symbols`."""
    advance = np.where(symbols == longest, longest, symbols.astype(np.int64) + 1)
    ends = np.cumsum(advance) - 1
    kept: Integers = ends[symbols != longest]
    return kept


def choose_longest(positions: Integers) -> int:
    """The value of `longest` whose Huffman-coded stream has the fewest bytes."""
    return min(CANDIDATES, key=lambda longest: coded_size(positions, longest))


def coded_size(positions: Integers, longest: int) -> int:
    """Bytes of the Huffman-coded relative indices."""
    gaps = np.diff(positions, prepend=-1) - 1
    counts = np.bincount(gaps % longest, minlength=longest + 1)
    counts[longest] = (gaps // longest).sum()
    return huffman.coded_size(counts)
