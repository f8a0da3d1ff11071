"""The symbol code under every stream of a .sqz file: exact, optimal, canonical, and deaf to damage."""

import heapq

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezenet.errors import BadStream, FormatError, Truncated
from squeezenet.sqz import huffman
from squeezenet.sqz.cursor import Cursor
from support.bit_by_bit import decode_bit_by_bit

skewed = st.one_of(
    st.lists(st.integers(0, 3), max_size=200),
    st.lists(st.integers(0, 300), max_size=200),
    st.lists(st.sampled_from([0, 0, 0, 0, 0, 1, 1, 7, 65535]), max_size=200),
)
counts_of_symbols = st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any).map(np.array)


def heap_bits(counts: np.ndarray) -> int:
    """Bits that the textbook's Huffman tree spends on symbols with these counts: the sum of its inner nodes."""
    heap = [int(c) for c in counts if c]
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        node = heapq.heappop(heap) + heapq.heappop(heap)
        total += node
        heapq.heappush(heap, node)
    return total


@given(skewed)
def test_a_stream_gives_back_what_was_coded(symbols: list[int]) -> None:
    array = np.array(symbols, np.int64)
    stream = huffman.encode(array)
    cursor = Cursor(stream + b"next")
    assert huffman.decode(cursor, len(symbols)).tolist() == symbols == decode_bit_by_bit(stream, len(symbols))
    assert bytes(cursor.take(cursor.left)) == b"next"
    assert len(stream) == huffman.coded_size(np.bincount(array) if symbols else np.zeros(0, np.int64))


def test_a_stream_longer_than_the_working_memory() -> None:
    symbols = np.random.default_rng(0).geometric(0.2, 5000)
    whole = huffman.encode(symbols)
    for chunk in (1, 2, 7, 64):
        assert huffman.encode(symbols, chunk) == whole
        assert (huffman.decode(Cursor(whole), symbols.size, chunk=chunk) == symbols).all()


def test_golden_stream() -> None:
    """alphabet 4, 3 bytes; lengths 0 2 2 1 as differences 0 +2 0 -1; then 0 (3), 10 (1), 11 (2) in canonical codes."""
    bits = "1001001011" + "0100110" + "0000000"
    expected = bytes([4, 3]) + int(bits, 2).to_bytes(3, "big")
    assert huffman.encode(np.array([3, 1, 3, 2, 3])) == expected


@given(counts_of_symbols)
def test_code_lengths_are_optimal_and_complete(counts: np.ndarray) -> None:
    lengths = huffman.code_lengths(counts)
    bits = int((lengths * counts).sum())
    assert ((lengths > 0) == (counts > 0)).all()
    assert bits == heap_bits(counts)
    used = np.flatnonzero(counts)
    if used.size > 1:
        tree = constriction.symbol.huffman.EncoderHuffmanTree(counts[used].astype(np.float32))
        coder = constriction.symbol.StackCoder()
        for symbol in range(used.size):
            for _ in range(int(counts[used[symbol]])):
                coder.encode_symbol(symbol, tree)
        assert bits == coder.get_compressed_and_bitrate()[1]
        assert sum(2.0 ** -lengths[used]) == 1


@given(counts_of_symbols, st.integers(6, 9))
def test_a_limit_is_kept_at_the_least_cost(counts: np.ndarray, limit: int) -> None:
    lengths = huffman.code_lengths(counts, limit)
    assert lengths.max() <= limit
    assert (lengths * counts).sum() >= heap_bits(counts)
    used = lengths[lengths > 0]
    assert used.size == 1 or sum(2.0**-used) == 1


def cheapest(counts: list[int], limit: int) -> int:
    """Least bits of any complete code with lengths up to `limit`, by trying them all."""
    ordered = sorted(counts, reverse=True)  # the more frequent, the shorter: only sorted lengths need trying

    def best(index: int, shortest: int, room: int) -> float:
        if index == len(ordered):
            return 0 if room == 0 else float("inf")
        tries = [n for n in range(shortest, limit + 1) if 1 << (limit - n) <= room]
        return min(
            (ordered[index] * n + best(index + 1, n, room - (1 << (limit - n))) for n in tries), default=float("inf")
        )

    return int(best(0, 1, 1 << limit))


@given(st.lists(st.sampled_from([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 1000]), min_size=2, max_size=7), st.integers(3, 4))
def test_a_limit_that_binds_costs_no_more_than_it_must(counts: list[int], limit: int) -> None:
    lengths = huffman.code_lengths(np.array(counts), limit)
    assert int((lengths * np.array(counts)).sum()) == cheapest(counts, limit)


def test_fibonacci_counts_meet_the_limit() -> None:
    counts = [1, 1]
    while len(counts) < 30:
        counts.append(counts[-1] + counts[-2])
    lengths = huffman.code_lengths(np.array(counts))
    assert lengths.max() == huffman.MAX_LENGTH < 29  # 29: what a tree without a limit gives
    assert sum(2.0**-lengths) == 1
    symbols = np.repeat(np.arange(15), counts[:15])
    assert (huffman.decode(Cursor(huffman.encode(symbols)), symbols.size) == symbols).all()


def test_more_symbols_than_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        huffman.code_lengths(np.ones(9, np.int64), limit=3)


@given(counts_of_symbols)
def test_codes_are_canonical(counts: np.ndarray) -> None:
    lengths = huffman.code_lengths(counts)
    codes = huffman.canonical_codes(lengths)
    words = [f"{codes[s]:0{lengths[s]}b}" for s in np.flatnonzero(lengths)]
    assert not any(a != b and b.startswith(a) for a in words for b in words)
    in_order = sorted(np.flatnonzero(lengths), key=lambda s: (lengths[s], s))
    assert in_order == sorted(in_order, key=lambda s: f"{codes[s]:0{lengths[s]}b}".ljust(16, "0"))


GOOD = huffman.encode(np.array([0, 1, 2, 0, 0, 1, 3]))


def stream(size: int, bits: str) -> bytes:
    padded = bits + "0" * (-len(bits) % 8)
    payload = bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8))
    return bytes([size, len(payload)]) + payload


@pytest.mark.parametrize(
    ("damage", "count", "error"),
    [
        pytest.param(b"", 1, Truncated, id="nothing at all"),
        pytest.param(GOOD[:-1], 7, Truncated, id="cut short"),
        pytest.param(GOOD, 9, BadStream, id="more symbols wanted"),
        pytest.param(stream(3, "01001011"), 1, BadStream, id="half a code"),
        pytest.param(GOOD, 700, BadStream, id="far more symbols wanted"),
        pytest.param(GOOD, 2, BadStream, id="symbols left over"),
        pytest.param(GOOD, 0, BadStream, id="contents where nothing is wanted"),
        pytest.param(b"\0\0", 1, BadStream, id="nothing where something is wanted"),
        pytest.param(b"\0\1\0", 0, BadStream, id="an empty stream with a payload"),
        pytest.param(b"\x84\x80\x04" + GOOD[1:], 7, BadStream, id="alphabet over the limit"),
        pytest.param(b"\x84\x00" + GOOD[1:], 7, BadStream, id="a number not in its shortest form"),
        pytest.param(b"\xff\xff\xff\xff\xff\x01", 7, BadStream, id="a number of six bytes"),
        pytest.param(stream(100, "1"), 7, BadStream, id="a table longer than its stream"),
        pytest.param(stream(2, "01000000"), 7, BadStream, id="a table that ends early"),
        pytest.param(stream(1, "1"), 7, BadStream, id="a table of no symbols"),
        pytest.param(stream(2, "010011"), 7, BadStream, id="an alphabet that is too large"),
        pytest.param(stream(1, "00100"), 7, BadStream, id="one symbol of two bits"),
        pytest.param(stream(3, "01011"), 7, BadStream, id="more codes than fit"),
        pytest.param(stream(2, "00100100000000"), 7, BadStream, id="fewer codes than fit"),
        pytest.param(stream(1, "011"), 7, BadStream, id="a negative length"),
        pytest.param(stream(1, "000010000"), 7, BadStream, id="a length over 15"),
        pytest.param(stream(1, "01000001"), 7, BadStream, id="padding that is not zero"),
        pytest.param(stream(1, "0100000000000000"), 7, BadStream, id="a needless byte"),
    ],
)
def test_each_damage_has_its_error(damage: bytes, count: int, error: type[FormatError]) -> None:
    with pytest.raises(error) as raised:
        huffman.decode(Cursor(damage), count)
    assert raised.type is error


@given(st.binary(max_size=40), st.integers(0, 100))
def test_random_bytes_give_symbols_or_a_format_error(data: bytes, count: int) -> None:
    try:
        symbols = huffman.decode(Cursor(data), count, 1000)
    except (BadStream, Truncated):
        return
    assert symbols.size == count
    assert not count or 0 <= symbols.min() <= symbols.max() < 1000


@given(skewed, st.data())
def test_a_flipped_bit_gives_other_symbols_or_a_format_error(symbols: list[int], data: st.DataObject) -> None:
    coded = bytearray(huffman.encode(np.array(symbols, np.int64)))
    bit = data.draw(st.integers(0, 8 * len(coded) - 1))
    coded[bit // 8] ^= 1 << bit % 8
    try:
        found = huffman.decode(Cursor(bytes(coded)), len(symbols))
    except (BadStream, Truncated):
        return
    assert len(found) == len(symbols)
