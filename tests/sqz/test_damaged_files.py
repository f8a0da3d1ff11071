"""Damage: no damaged file gets past the reader, or costs it much."""

import tracemalloc
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezenet import sqz
from squeezenet.errors import (
    BadStream,
    FormatError,
    LimitExceeded,
)
from squeezenet.model import Grid, Shared
from squeezenet.sqz import costs, text
from support.damage import (
    BODY,
    BOMBS,
    DAMAGE,
    GRAPH,
    NAMES,
    SMALL,
    assemble,
    repaired,
    text_of,
    with_conv_weight,
    with_layer,
    with_text,
)
from support.sqz_files import TINY, one_layer


def test_the_parts_make_the_whole() -> None:
    """The table below damages what would otherwise be good files."""
    assert with_text(NAMES) == SMALL
    weight = sqz.decode(with_layer([0, 3], [64, -64], [0, 0])).weights["a"].weight
    assert isinstance(weight, Grid)
    assert weight.levels.ravel().tolist() == [64, -64]


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_has_its_error(name: str) -> None:
    data, error = DAMAGE[name]
    with pytest.raises(error) as raised:
        sqz.decode(data)
    assert raised.type is error


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_cannot_ask_for_much(name: str) -> None:
    data, message = BOMBS[name]
    assert len(data) < 10_000
    tracemalloc.start()
    with pytest.raises(LimitExceeded, match=message):
        sqz.decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    "data",
    [assemble(GRAPH, text_of(1 << 24), BODY), assemble(GRAPH, text_of(10_000), BODY), with_conv_weight(b"\0\x7f")],
    ids=["text", "some text", "planes"],
)
def test_streams_without_codes_cannot_ask_for_much(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(BadStream):
        sqz.decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_the_emptiest_file_costs_a_known_amount_of_memory() -> None:
    """The limits bound the weights a file may declare; this holds the bytes that each of them takes to read."""
    shape = (64, 1024)
    data = sqz.encode(one_layer(Shared(np.zeros(shape, np.uint16), np.zeros(0, np.float32))))
    assert len(data) < 100
    tracemalloc.start()
    sqz.decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    text_memory = 470_000  # of the engine, for the text of any file
    assert peak < 9 * prod(shape) + text_memory


@pytest.mark.parametrize("data", [SMALL, TINY], ids=["small", "tiny"])
def test_no_part_of_a_file_is_a_file(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(FormatError):
            sqz.decode(data[:length])


def test_one_flipped_bit_anywhere_is_found() -> None:
    for bit in range(8 * len(TINY)):
        damaged = bytearray(TINY)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            sqz.decode(bytes(damaged))


def reads_or_refuses(data: bytes) -> bool:
    try:
        model = sqz.decode(data)
    except FormatError:
        return False
    costs.check_limits(model.graph, model.preparation.resize, len(data))
    return True


def test_behind_the_checksum_every_flipped_bit_is_another_model_or_refused() -> None:
    outcomes = set()
    for bit in range(8 * 16, 8 * len(SMALL)):
        damaged = bytearray(SMALL)
        damaged[bit // 8] ^= 1 << bit % 8
        outcomes.add(reads_or_refuses(repaired(bytes(damaged))))
    assert outcomes == {True, False}


@given(st.lists(st.tuples(st.integers(16, len(TINY) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=300)
def test_behind_the_checksum_any_changed_bytes_are_another_model_or_refused(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(TINY)
    for at, value in changes:
        damaged[at] = value
    reads_or_refuses(repaired(bytes(damaged)))


@given(st.binary(max_size=200), st.binary(max_size=100), st.binary(max_size=100))
def test_random_sections_are_refused(graph: bytes, strings: bytes, weights: bytes) -> None:
    for data in (
        assemble(graph, strings, weights),
        assemble(GRAPH, strings, weights),
        assemble(GRAPH, text.pack(NAMES), weights),
    ):
        reads_or_refuses(data)
