"""Where the elements of a stream lie in the lines of a stage, and in which order they arrive.

A value of (channels, height, width) is a stream of words. Its places are numbered row by row, with `pitch` places in a
row (at least `width`; the others hold nothing). A word has `lanes` neighbouring places, either a part of a row or whole
rows. The stream has, word by word, and within a word channel by channel, `lanes / beat` beats of `beat` elements.

The lines of a stage hold words of the places of its *result*. With a stride, the rows and columns of the input that
fall on the same place are planes of their own: tap (row, column) of the window at place (y, x) reads plane
(row % stride, column % stride) at place (y + row // stride, x + column // stride). So L places of the result always
read L neighbouring places of a plane.
"""

from dataclasses import dataclass
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

from squeezenet.export.rtl.stages import Tap


@dataclass(frozen=True)
class Stream:
    """How a value travels."""

    shape: tuple[int, int, int]
    pitch: int
    lanes: int
    beat: int

    @property
    def rows(self) -> int:
        """Rows of a word; 0 if it is a part of one."""
        return self.lanes // self.pitch

    @property
    def words(self) -> int:
        """Words of an image."""
        return self.shape[1] * self.pitch // self.lanes

    @property
    def beats(self) -> int:
        """Beats of an image."""
        return self.words * self.shape[0] * (self.lanes // self.beat)


@dataclass(frozen=True, eq=False)
class Lines:
    """The parameters of `sn_lines`, with the contents of its three files."""

    chunk: int
    phases: int
    chunks: int
    words: int
    period: int
    done: int
    last_done: int
    strips: int
    """Words of a block of the result."""
    width: int
    """Words of a block in the ring: more, if windows reach columns that the result does not have."""
    ring: int
    planes: int
    pair: bool
    blocks: int
    reads: int
    before: int
    after: int
    limit: int
    shifts: tuple[int, ...]
    writes: list[tuple[int, int, int, int]]
    """Whether to write, group of lanes, word of the ring, first row of the plane."""
    taps: list[tuple[int, int, int, int, int, int, int]]
    """For each tap: blocks from, to (first word), from, to (second word), word of the ring, row of the plane, kind."""
    masks: NDArray[np.bool_]  # (strips, kinds, lanes)
    rows_of_block: int
    """Rows of the input that make a block."""
    source: Stream

    def needed(self, word: int) -> int:
        """How many words of the input are needed before word `word` of the result."""
        block = min(word // self.strips + self.after, self.blocks - 1)
        rows = min((block + 1) * self.rows_of_block, self.source.shape[1])
        return -(-rows * self.source.pitch // self.source.lanes)


def flat(source: Stream, result: Stream, taps: tuple[Tap, ...], stride: tuple[int, int]) -> tuple[Stream, Stream]:
    """The same streams with words as rows, if a window is a single place: no word waits for the rest of its row."""
    if taps != ((0, 0),) or stride != (1, 1) or source.pitch != result.pitch or source.shape[1:] != result.shape[1:]:
        return source, result
    lanes = result.lanes
    height = result.shape[1] * result.pitch // lanes
    return (
        Stream((source.shape[0], height, lanes), lanes, source.lanes, source.beat),
        Stream((result.shape[0], height, lanes), lanes, lanes, result.beat),
    )


def chunk(source: Stream, result: Stream, stride: tuple[int, int]) -> tuple[int, int]:
    """How many elements of the stream are written together, and in how many writes (one for each plane)."""
    if stride == (1, 1) and source.pitch == result.pitch:
        return gcd(source.lanes, result.lanes), 1
    across = stride[1]
    run = gcd(min(source.lanes, source.pitch), min(result.lanes, result.pitch) * across)
    if across == 1:
        return run, 1
    return (run, across) if run % across == 0 else (1, 1)


def columns(width: int, result: int, taps: tuple[Tap, ...], across: int) -> int:
    """How many columns of a plane windows read."""
    return max(result, min(ceil(width / across), result + max(column // across for _, column in taps)))


def allowed(source: Stream, result: Stream, taps: tuple[Tap, ...], stride: tuple[int, int]) -> bool:
    """Whether lines can be laid out for these two streams."""
    source, result = flat(source, result, taps, stride)
    size, _ = chunk(source, result, stride)
    if size % source.beat:
        return False
    if result.rows > 1:
        if columns(source.shape[2], result.shape[2], taps, stride[1]) > result.pitch:
            return False
        whole = result.lanes == result.shape[1] * result.pitch
        phases = {-(-(source.shape[1] - phase) // stride[0]) for phase in range(stride[0])}
        if not whole and any(rows % result.rows for rows in phases):
            return False
    block = stride[0] * max(result.rows, 1)
    if source.rows > 1 and source.words > 1:
        return source.rows % block == 0 or block % source.rows == 0
    return True


def lines(source: Stream, result: Stream, taps: tuple[Tap, ...], stride: tuple[int, int]) -> Lines:
    """The layout."""
    source, result = flat(source, result, taps, stride)
    (down, across), rows = stride, max(result.rows, 1)
    channels, height, _ = source.shape
    reads = result.shape[1] // rows
    blocks = ceil(ceil(height / down) / rows)
    strips = max(result.pitch // result.lanes, 1)
    reached = columns(source.shape[2], result.shape[2], taps, across)
    width = max(strips, ceil(reached / result.lanes)) if result.rows <= 1 else 1
    size, phases = chunk(source, result, stride)
    block_rows = down * rows
    rows_in = max(source.rows, 1)
    strips_in = max(source.pitch // source.lanes, 1)
    whole = source.words == 1
    period = 1 if whole else min(max(block_rows // rows_in, 1) * strips_in, source.words)
    done = 0 if whole else max(rows_in // block_rows, 1)
    last_done = blocks if whole else blocks - done * ((source.words - 1) // period)
    read, pair = _taps(result, taps, stride, source, reads, blocks, strips, width)
    before = max(min(0, *(r.first for r in read)), 1 - reads)
    after = min(max(0, *(r.last for r in read)), blocks - 1)
    placed, touched = _writes(source, result, stride, size, phases, period, width)
    ring_blocks = after - before + 2 * touched  # one word of the input is read while the next one is written
    if pair and ring_blocks * width % 2:
        ring_blocks += 1
    ring = ring_blocks * width
    planes = down * across
    kinds: list[tuple[int, bytes]] = []
    found = []
    for r in read:
        key = (r.shift, r.mask.tobytes())
        if key not in kinds:
            kinds.append(key)
        found.append((*r.inside, r.word % ring, r.plane * channels, kinds.index(key)))
    masks = np.zeros((strips, len(kinds), result.lanes), bool)
    for r in read:
        masks[:, kinds.index((r.shift, r.mask.tobytes()))] = r.mask
    return Lines(
        chunk=size, phases=phases, chunks=source.lanes // size, words=source.words, period=period, done=done,
        last_done=last_done, strips=strips, width=width, ring=ring, planes=planes, pair=pair, blocks=blocks,
        reads=reads, before=before, after=after, limit=ring_blocks + before - touched,
        shifts=tuple(shift for shift, _ in kinds),
        writes=[(on, group, word % ring, plane * channels) for on, group, word, plane in placed], taps=found,
        masks=masks, rows_of_block=block_rows, source=source,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Read:
    """What a tap reads."""

    inside: tuple[int, int, int, int]
    first: int
    last: int
    """The first and the last block, from the current one."""
    word: int
    plane: int
    shift: int
    mask: NDArray[np.bool_]  # (strips, lanes)


def _taps(
    result: Stream, taps: tuple[Tap, ...], stride: tuple[int, int], source: Stream, reads: int, blocks: int,
    strips: int, ring_width: int,
) -> tuple[list[_Read], bool]:  # fmt: skip
    (down, across), (_, height, width) = stride, source.shape
    lanes, pitch = result.lanes, result.pitch
    by_rows = result.rows > 1
    place = np.arange(strips * lanes).reshape(strips, lanes)
    y, x = place // pitch, place % pitch
    distances = [(row // down * pitch if by_rows else 0) + column // across for row, column in taps]
    single = (blocks == reads == 1) if by_rows else ring_width == 1
    pair = not single and any(distance % lanes for distance in distances)
    found = []
    for (row, column), distance in zip(taps, distances, strict=True):
        block = row // down
        at = across * (x + column // across) + column % across
        mask = (at >= 0) & (at < width) & (x < result.shape[2])
        if by_rows and reads == 1:
            above = down * (y + block) + row % down
            mask &= (above >= 0) & (above < height)
        words, shift = (0, distance) if single else divmod(distance, lanes)
        if by_rows:
            first, last = words, words + pair
            inside = (*_inside(words, reads, blocks), *_inside(words + 1, reads, blocks))
            word = words
        else:
            first = last = block
            inside = _inside(block, reads, -(-(height - row % down) // down)) * 2
            word = block * ring_width + words
        reach = np.arange(lanes) + shift
        assert not (mask & ((reach < 0) | (reach >= lanes * (1 + pair)))).any()
        plane = row % down * across + column % across
        found.append(_Read(inside, first, last, word, plane, shift, mask))
    return found, pair


def _inside(block: int, reads: int, blocks: int) -> tuple[int, int]:
    """The blocks of the result, from and to, for which the block `block` further exists."""
    start, stop = max(0, -block), min(reads, blocks - block)
    return (start, stop) if start < stop else (0, 0)


def _writes(
    source: Stream, result: Stream, stride: tuple[int, int], size: int, phases: int, period: int, width: int
) -> tuple[list[tuple[int, int, int, int]], int]:
    """Where each chunk of each word of the period goes; how many blocks a word touches at most."""
    (down, across), part, rows = stride, size // phases, max(result.rows, 1)
    row_places = result.pitch if result.rows > 1 else width * result.lanes
    found, touched = [], 1
    for word in range(period):
        for start in range(0, source.lanes, size):
            place = word * source.lanes + start
            row, column = divmod(place, source.pitch)
            for phase in range(phases):
                x = (column + phase) // across
                block, within = divmod(row // down, rows)
                on = x < row_places and column < source.shape[2] and row < source.shape[1]
                if on:
                    touched = max(touched, block + 1)
                strip, lane = divmod(within * row_places + x, result.lanes)
                plane = row % down * across + (column + phase) % across
                found.append((int(on), lane // part if on else 0, block * width + strip if on else 0, plane))
    return found, touched
