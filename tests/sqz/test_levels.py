"""Level streams: exact, the same bytes from Python and from C, close to the entropy or below it, deaf to damage."""

import tracemalloc
from math import prod
from pathlib import Path

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezenet.errors import BadStream, FormatError, ModelError, Truncated
from squeezenet.formats import authors_net
from squeezenet.sqz import levels, levels_reference
from squeezenet.sqz.cursor import Cursor, put_varint
from squeezenet.sqz.levels import levels_size, put_levels, take_levels
from squeezenet.sqz.levels_reference import LARGEST

needs_engine = pytest.mark.skipif(not levels.HAS_ENGINE, reason="the C engine was not built here")


def coded(array: np.ndarray) -> bytes:
    out = bytearray()
    put_levels(out, array)
    return bytes(out)


def framed(stream: bytes) -> bytes:
    out = bytearray()
    put_varint(out, len(stream))
    return bytes(out) + stream


def in_python(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """`take_levels` where there is no engine."""
    cursor = Cursor(data)
    return np.array(levels_reference.decode(cursor.take(cursor.varint()), levels.dimensions(shape))).reshape(shape)


shapes = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.integers(1, 9), st.integers(1, 30)),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    shape = draw(shapes)
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    scale = draw(st.sampled_from([0.3, 1, 3, 50, 3000, LARGEST / 3]))
    array = np.rint(random.standard_normal(shape) * scale).clip(-LARGEST, LARGEST).astype(np.int64)
    array[random.random(shape) >= draw(st.sampled_from([0.02, 0.3, 1]))] = 0
    if draw(st.booleans()):
        array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from([1, -1, LARGEST, -LARGEST]))
    return abs(array) if draw(st.booleans()) else array


@given(arrays())
@settings(max_examples=60)
def test_levels_come_back_from_the_bytes_that_both_implementations_write(array: np.ndarray) -> None:
    data = coded(array)
    assert data == framed(levels_reference.encode(array.ravel().tolist(), levels.dimensions(array.shape)))
    assert len(data) == levels_size(array)
    cursor = Cursor(data + b"next")
    found = take_levels(cursor, array.shape)
    assert bytes(cursor.take(cursor.left)) == b"next"
    assert found.dtype == np.int32
    assert found.tolist() == array.tolist() == in_python(data, array.shape).tolist()


def test_without_the_engine_everything_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).integers(-2, 3, (4, 3, 3, 3))
    data, size = coded(array), levels_size(array)
    monkeypatch.setattr(levels, "HAS_ENGINE", False)
    assert (coded(array), levels_size(array)) == (data, size)
    assert take_levels(Cursor(data), array.shape).tolist() == array.tolist()
    with pytest.raises(BadStream):
        take_levels(Cursor(framed(data[1:-1])), array.shape)


def test_golden_streams() -> None:
    """Once released, a stream is read for ever. If this fails, the coder is wrong, not the bytes."""
    kernels = np.array([(7 * i * i + 3 * i) % 11 - 5 for i in range(72)]).reshape(2, 4, 3, 3)
    kernels[abs(kernels) < 3] = 0
    assert coded(kernels).hex() == GOLDEN_KERNELS
    assert coded(np.array([0, 3, -1, 1000, -LARGEST])).hex() == GOLDEN_LIST
    assert coded(np.zeros((1000, 1000), np.int8)) == b"\0"


GOLDEN_KERNELS = "160e6b6e24c9e34f34c90f5a852a378af40756c36da9b9"
GOLDEN_LIST = "09a88e4fa71600000000"


def test_layouts_in_memory_do_not_matter() -> None:
    array = np.arange(-12, 12).reshape(4, 6)
    data = coded(array)
    for same in (np.asfortranarray(array), array.astype(np.int8), np.repeat(array, 2, axis=1)[:, ::2]):
        assert coded(same) == data


def test_a_large_kernel_is_coded_as_inputs() -> None:
    array = np.random.default_rng(0).integers(-1, 2, (2, 3, 33, 33))
    assert take_levels(Cursor(coded(array)), array.shape).tolist() == array.tolist()
    assert coded(array) == coded(array.reshape(2, -1))


def test_levels_over_the_limit_are_not_written() -> None:
    for level in (LARGEST + 1, -LARGEST - 1, 2**40):
        with pytest.raises(ModelError, match="level"):
            put_levels(bytearray(), np.array([0, level]))
        with pytest.raises(ModelError, match="level"):
            levels_size(np.array([0, level]))


# How small


def ideal_bytes(array: np.ndarray) -> int:
    """constriction's range coder with the array's own frequencies, which are known to it for nothing."""
    _, symbols = np.unique(array, return_inverse=True)
    frequencies = np.bincount(symbols.ravel()) / array.size
    model = constriction.stream.model.Categorical(frequencies, perfect=False)
    coder = constriction.stream.queue.RangeEncoder()
    coder.encode(symbols.ravel().astype(np.int32), model)
    return coder.get_compressed().nbytes


@pytest.mark.parametrize("density", [0.01, 0.1, 0.3, 1])
@pytest.mark.parametrize("scale", [0.5, 1.5, 20])
def test_levels_without_any_structure_cost_their_entropy(density: float, scale: float) -> None:
    random = np.random.default_rng(1)
    array = np.rint(random.laplace(0, scale, (128, 128, 3, 3))).astype(np.int64)
    array[random.random(array.shape) >= density] = 0
    _, counts = np.unique(array, return_counts=True)
    entropy = float(-(counts * np.log2(counts / array.size)).sum()) / 8
    size = levels_size(array)
    learning = 64  # bytes, in place of the table of frequencies that the others need and do not count
    assert size < 1.02 * entropy + learning
    assert size < 1.02 * ideal_bytes(array) + learning


def test_structure_is_found() -> None:
    """Channels of different density, kernels of one sign: what trained weights look like."""
    random = np.random.default_rng(2)
    scale = random.exponential(1, (128, 1, 1, 1)) * random.exponential(1, (1, 64, 1, 1))
    array = np.rint(abs(random.laplace(0, scale, (128, 64, 3, 3)))).clip(0, 100).astype(np.int64)
    array *= random.choice([-1, 1], (128, 64, 1, 1))
    assert levels_size(array) < 0.8 * ideal_bytes(array)


def test_the_authors_weights_cost_less_than_their_entropy(shared: Path) -> None:
    model = authors_net.read(shared / "reference" / "compressed_SqueezeNet.net")
    ours = ideal = 0
    for held in model.weights.values():
        values = held.weight.values()
        array = np.rint(values / values[values != 0].std()).astype(np.int64)
        ours += levels_size(array)
        ideal += ideal_bytes(array)
    assert ours < 0.95 * ideal


# Damage

SOME = np.random.default_rng(3).integers(-3, 4, (4, 5, 3, 3)) * (np.random.default_rng(4).random((4, 5, 3, 3)) < 0.4)
STREAM = coded(SOME)[1:]


def outcome(data: bytes, shape: tuple[int, ...]) -> list[int] | type[FormatError]:
    """What either implementation makes of it: the same levels or the same error."""
    results = []
    for take in (lambda: take_levels(Cursor(data), shape), lambda: in_python(data, shape)):
        try:
            results.append(take().ravel().tolist())
        except (BadStream, Truncated) as error:
            results.append(type(error))
    assert results[0] == results[1]
    return results[0]


def test_a_stream_cut_short_and_one_that_goes_on_are_refused() -> None:
    for length in range(1, len(STREAM)):
        assert outcome(framed(STREAM[:length]), SOME.shape) in (Truncated, BadStream)
    assert outcome(framed(STREAM[:-1]), SOME.shape) is BadStream
    assert outcome(framed(STREAM + b"\0"), SOME.shape) is BadStream
    assert outcome(framed(STREAM)[:-1], SOME.shape) is Truncated
    assert outcome(framed(STREAM), (4, 5, 3, 2)) is BadStream
    assert outcome(framed(STREAM), (5, 5, 3, 3)) is BadStream
    assert outcome(b"\1\0", (1,)) in (Truncated, BadStream)
    assert outcome(b"", (1,)) is Truncated


@given(st.binary(max_size=60), shapes)
def test_random_bytes_give_levels_or_a_format_error(stream: bytes, shape: tuple[int, ...]) -> None:
    found = outcome(framed(stream), shape)
    assert isinstance(found, type) or (len(found) == prod(shape) and max(map(abs, found)) <= LARGEST)


@given(st.integers(0, 8 * (len(STREAM) - 4) - 1))
@settings(max_examples=40)
def test_a_flipped_bit_gives_other_levels_or_a_format_error(bit: int) -> None:
    """But for the last word, of which any value within the coder's last interval says the same."""
    damaged = bytearray(STREAM)
    damaged[bit // 8] ^= 1 << bit % 8
    assert outcome(framed(bytes(damaged)), SOME.shape) != SOME.ravel().tolist()


@needs_engine
def test_working_memory_does_not_grow_with_the_outputs() -> None:
    array = np.random.default_rng(5).integers(-1, 2, (1000, 512))
    data = coded(array)
    tracemalloc.start()
    take_levels(Cursor(data), array.shape)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * array.size + 50_000


@needs_engine
def test_the_engine_touches_no_buffer_of_another_size() -> None:
    from squeezenet import _engine, _workshop

    for shape in ((3, 1, 1, 1), (1, 1, 1, 1), (2**31, 2**31, 2**31, 2**31), (2**16, 2**16, 1, 1)):
        with pytest.raises(ValueError, match="buffer"):
            _workshop.levels_encode(np.zeros(2, np.int32), shape)
        with pytest.raises(ValueError, match="buffer"):
            _engine.levels_decode(b"1234", np.zeros(2, np.int32), shape)
    read_only = np.zeros(2, np.int32)
    read_only.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        _engine.levels_decode(b"1234", read_only, (2, 1, 1, 1))
    with pytest.raises(ValueError, match="too large"):
        _workshop.levels_encode(np.full(2, LARGEST + 1, np.int32), (2, 1, 1, 1))
