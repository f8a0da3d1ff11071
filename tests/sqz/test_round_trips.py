"""The .sqz file: every bit comes back, the same model gives the same bytes, and what no reader takes is not written."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden import make
from squeezenet import sqz
from squeezenet.errors import (
    BadGraph,
    BadStream,
    ModelError,
)
from squeezenet.graph import LRN, Add, AvgPool, Concat, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, Op, ReLU
from squeezenet.importing import trace
from squeezenet.model import Model, Plain, Shared, Tensor, Weights
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.sqz import floats, positions, tensors
from squeezenet.sqz.cursor import Cursor
from support.damage import (
    SMALL,
    small,
)
from support.sqz_files import assert_same, bits, one_layer

REALS = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 3.4e38, -0.1], np.float32)


@st.composite
def weights(draw: st.DrawFn, shape: tuple[int, ...]) -> Weights:
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    mask = random.random(shape) < draw(st.sampled_from([0, 0.02, 0.3, 1]))
    weight: Tensor
    if draw(st.booleans()):
        codebook = random.choice(REALS, draw(st.integers(1, 6)))
        weight = Shared(np.where(mask, random.integers(0, codebook.size + 1, shape), 0).astype(np.uint16), codebook)
    else:
        values = random.choice(REALS, shape) if draw(st.booleans()) else random.standard_normal(shape, np.float32)
        weight = Plain(np.where(mask, values, np.float32(0)))
    return Weights(weight, random.choice(REALS, shape[0]))


@st.composite
def graph_ops(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Op, ...]:
    ops: list[Op] = []
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    for value in range(draw(st.integers(0, 6))):
        c = shape[0]
        kernel = draw(pair)
        padding = (kernel[0] // 2, kernel[1] // 2)
        stride = draw(pair)
        op: Op = draw(
            st.sampled_from(
                [
                    Conv((value,), f"слой {value}", 2 * c, kernel, stride, padding, c),
                    Conv((value,), f"layer.{value}", draw(st.integers(1, 300)), (1, 1)),
                    ReLU((value,), draw(st.sampled_from([0.0, 6.0]))),
                    MaxPool((value,), kernel, stride, padding, draw(st.booleans())),
                    AvgPool((value,), kernel, stride, padding),
                    GlobalAvgPool((value,)),
                    LRN((value,), draw(st.integers(1, c)), 0.5, 0.75, 2.0),
                    Concat((value, value)),
                    Add((value, value)),
                ]
            )
        )
        try:
            Graph((3, 6, 6), (*ops, op, Flatten((value + 1,))))
        except BadGraph:  # a window that no longer fits
            op = ReLU((value,))
        ops.append(op)
        shape = Graph((3, 6, 6), (*ops, Flatten((value + 1,)))).shapes()[-2]
    ops.append(Flatten((len(ops),)))
    return (*ops, Linear((len(ops),), "fc", draw(st.integers(1, 4)))) if draw(st.booleans()) else tuple(ops)


real32 = st.floats(-300, 300, width=32)
string = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)


@st.composite
def models(draw: st.DrawFn) -> Model:
    graph = Graph((3, 6, 6), draw(graph_ops((3, 6, 6))))
    preparation = Preparation(
        draw(st.integers(6, 4096)),
        6,
        draw(st.sampled_from(["stretch", "shorter"])),
        draw(st.sampled_from(["RGB", "BGR"])),
        tuple(draw(st.lists(real32, min_size=3, max_size=3))),
        tuple(draw(st.lists(st.floats(0.125, 300, width=32), min_size=3, max_size=3))),
    )
    labels = draw(st.lists(string, min_size=graph.classes, max_size=graph.classes)) if graph.classes < 9 else []
    held = {name: draw(weights(shape)) for name, shape in graph.weight_shapes().items()}
    return Model(graph, held, preparation, tuple(labels), draw(st.dictionaries(string, string, max_size=3)))


@given(models())
def test_a_model_comes_back_and_gives_the_same_bytes(model: Model) -> None:
    data = sqz.encode(model)
    found = sqz.decode(data)
    assert_same(found, model)
    assert sqz.encode(found) == data == sqz.encode(model)


def test_layouts_in_memory_do_not_matter() -> None:
    values = np.arange(36, dtype=np.float32).reshape(4, 9)
    expected = sqz.encode(one_layer(Plain(values)))
    for same in (np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2], values.astype(">f4")):
        assert sqz.encode(one_layer(Plain(same))) == expected


def test_codebooks_are_written_in_one_way() -> None:
    """Order, duplicates and unused entries of a codebook do not reach the file."""
    indices = np.array([[0, 1, 2, 2], [3, 1, 0, 2]], np.uint16)
    shuffled = np.array([0, 4, 1, 3], np.uint16)[indices]
    shuffled[1, 3] = 5
    first = Shared(indices, np.array([-1, -0.0, 2], np.float32))
    second = Shared(shuffled, np.array([-0.0, 7, 2, -1, -0.0], np.float32))
    assert bits(first.values()) == bits(second.values())
    assert sqz.encode(one_layer(first)) == sqz.encode(one_layer(second))


def test_numbers_that_are_not_sparse_cost_no_more_than_they_are() -> None:
    noise = np.random.default_rng(0).standard_normal((16, 1024)).astype(np.float32)
    out = bytearray()
    tensors.put_weight(out, Plain(noise))
    assert len(out) < noise.nbytes


real = st.sampled_from(REALS.tolist()) | st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(real))
def test_floats(values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert bits(floats.take(Cursor(floats.planes(array)), array.size)) == bits(array)
    assert bits(floats.take(Cursor(floats.shortest(array)), array.size)) == bits(array)


@given(st.lists(real, min_size=1))
def test_floats_in_each_form_for_lists(values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert bits(floats.take(Cursor(floats._exponents(array)), array.size)) == bits(array)
    found, first = np.unique(floats.keys(array), return_index=True)
    assert bits(floats.take(Cursor(floats._gaps(found)), found.size)) == bits(array[first])


def test_biases_and_codebooks_take_the_form_that_is_smallest() -> None:
    noise = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    assert floats.shortest(noise)[0] == 255
    assert floats.shortest(np.sort(noise))[0] == 254
    assert floats.shortest(np.arange(300, dtype=np.float32))[0] < 254
    assert floats.shortest(np.resize(noise, floats.MAX_LIST + 1))[0] < 254
    for form in (b"\xfe\0", b"\xff\x7f\0"):
        with pytest.raises(BadStream, match="lists"):
            floats.take(Cursor(form), floats.MAX_LIST + 1)


def test_planes_of_zeros_cost_nothing() -> None:
    assert floats.planes(np.zeros(1000, np.float32)) == b"\xaa"  # four planes of mode 2
    rounded = floats.planes(np.array([1.0, 2.0, -0.5], np.float32))
    assert rounded == b"\xa0" + bytes([0x3F, 0x40, 0xBF]) + bytes([0x80, 0x00, 0x00])


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 9))
def test_relative_indices_are_those_of_a_slow_loop(gaps: list[int], longest: int) -> None:
    where, symbols, at = [], [], 0
    for gap in gaps:
        at += gap
        where.append(at)
        at += 1
        while gap >= longest:
            symbols.append(longest)
            gap -= longest
        symbols.append(gap)
    found = positions.to_symbols(np.array(where, np.int64), longest)
    assert found.tolist() == symbols
    assert positions.to_positions(found, longest).tolist() == where
    if where:
        assert positions.coded_size(np.array(where), longest) == len(positions.huffman.encode(found))


# Files


def test_sections_add_up(tmp_path: Path) -> None:
    path = tmp_path / "m.sqz"
    assert sqz.write(small(), path) == path.stat().st_size == len(SMALL)
    found = sqz.sections(path)
    assert [s.name for s in found] == ["header", "graph", "text", "a", "b"]
    assert sum(s.bytes for s in found) == len(SMALL)
    assert_same(sqz.read(path), small())


def test_overhead_of_squeezenet_is_small(tmp_path: Path) -> None:
    graph, arrays = trace(create_seeded("squeezenet1_0", 0), (3, 227, 227))
    held = {n: Weights(Plain(np.sign(w) * np.float32(0.5)), b) for n, (w, b) in arrays.items()}
    sqz.write(Model(graph, held, Preparation.imagenet_caffe()), tmp_path / "m.sqz")
    assert sum(s.bytes for s in sqz.sections(tmp_path / "m.sqz")[:3]) < 2000


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    path = tmp_path / "m.sqz"
    sqz.write(make.model(), path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"os.{fails}", full)
    with pytest.raises(OSError, match="No space left"):
        sqz.write(small(), path)
    assert sqz.read(path).labels == make.model().labels
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_and_a_folder_are_model_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.sqz", tmp_path):
        with pytest.raises(ModelError, match=path.name):
            sqz.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a\0b",)}, "zero byte"),
        ({"labels": ("\udc80",)}, "not Unicode"),
        ({"provenance": {str(i): "" for i in range(257)}}, "over its limit"),
        ({"preparation": Preparation(9000, 2, "stretch", "L", (0,), (1,))}, "over its limit"),
        ({"preparation": Preparation(2, 2, "stretch", "L", (1e300,), (1,))}, "range of float32"),
        ({"preparation": Preparation(2, 2, "stretch", "L", (0,), (float("inf"),))}, "not finite"),
        ({"preparation": Preparation(2, 2, "stretch", "L", (0,), (1e-60,))}, "positive"),
        ({"weights": {"fc": Weights(Plain(np.full((1, 4), np.nan, np.float32)), np.zeros(1, np.float32))}}, "finite"),
        ({"weights": {"fc": Weights(Plain(np.zeros((1, 4), np.float32)), np.full(1, -np.inf, np.float32))}}, "finite"),
    ],
)
def test_a_model_that_could_not_be_read_is_not_written(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        sqz.encode(one_layer(Plain(np.zeros((1, 4), np.float32)), **changes))


def test_too_large_codebooks_and_too_empty_networks_are_not_written() -> None:
    for size in (tensors.MAX_CODEBOOK + 1, 40000):  # the second has more symbols than codes
        indices = np.arange(1, 40001, dtype=np.uint16).reshape(100, 400) % size + 1
        with pytest.raises(ModelError, match="centroids"):
            sqz.encode(one_layer(Shared(indices, np.arange(size, dtype=np.float32))))
    with pytest.raises(ModelError, match="empty"):
        sqz.encode(one_layer(Plain(np.zeros((1000, 1024), np.float32))))
