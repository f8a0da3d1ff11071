"""The .sqz file: every bit comes back, the same model gives the same bytes, and no damage gets past the reader."""

import json
import struct
import tracemalloc
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import make
from squeezenet import sqz
from squeezenet.errors import (
    BadGraph,
    BadStream,
    FormatError,
    LimitExceeded,
    ModelError,
)
from squeezenet.graph import LRN, Add, AvgPool, Concat, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, Op, ReLU
from squeezenet.importing import trace
from squeezenet.model import Grid, Model, Outputs, Plain, Shared, Tensor, Weights
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.sqz import costs, floats, graphs, positions, tensors, text
from squeezenet.sqz.cursor import Cursor
from support import GOLDEN
from support.bit_by_bit import decode_bit_by_bit
from support.damage import (
    BODY,
    BOMBS,
    DAMAGE,
    GRAPH,
    NAMES,
    SMALL,
    assemble,
    repaired,
    small,
    text_of,
    with_conv_weight,
    with_layer,
    with_text,
)


def golden(name: str, version: int) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a golden file, and what any reader must get from it."""
    path = GOLDEN / f"{name}_v{version}.sqz"
    return path.read_bytes(), json.loads(path.with_suffix(".json").read_text())


TINY, _ = golden("tiny", 1)


def bits(values: np.ndarray) -> list[int]:
    return np.ascontiguousarray(values, np.float32).view(np.uint32).ravel().tolist()


def assert_same(found: Model, model: Model) -> None:
    # As float32, which is what the file holds: the reader gives the shortest decimal of each.
    assert graphs.pack(found.graph, found.preparation) == graphs.pack(model.graph, model.preparation)
    assert [op.name for op in found.graph.layers] == [op.name for op in model.graph.layers]
    assert found.labels == model.labels
    assert found.outputs == model.outputs
    assert found.provenance == model.provenance
    for name, held in model.weights.items():
        weight = found.weights[name].weight
        assert type(weight) is type(held.weight)
        assert weight.nonzero == held.weight.nonzero
        assert bits(weight.values()) == bits(held.weight.values())
        assert bits(found.weights[name].bias) == bits(held.bias)


# Round trips

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


def one_layer(weight: Tensor, **changes: object) -> Model:
    """One fully connected layer on an image whose pixels are as many as the layer has inputs."""
    out, inside = weight.shape
    side = int(inside**0.5)
    graph = Graph((1, side, side), (Flatten((0,)), Linear((1,), "fc", out)))
    held = {"fc": Weights(weight, np.zeros(out, np.float32))}
    return replace(Model(graph, held, Preparation(side, side, "stretch", "L", (0,), (1,))), **changes)


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


def written_again(model: Model) -> bytes:
    """The file in today's version, which holds the same model; writing that again gives the same bytes."""
    data = sqz.encode(model)
    assert data[4] == sqz.VERSION
    found = sqz.decode(data)
    assert_same(found, model)
    assert found.scales == model.scales
    assert sqz.encode(found) == data
    return data


@pytest.mark.parametrize("version", [1, 2])
def test_golden_file(version: int) -> None:
    """Once released, a version is read for ever. If this fails, the reader is wrong, not the file."""
    data, expected = golden("tiny", version)
    found = sqz.decode(data)
    facts = json.loads(json.dumps(make.facts(found)))
    np.testing.assert_allclose(facts.pop("logits"), expected.pop("logits"), rtol=1e-5)
    assert facts == expected
    assert_same(found, make.model())
    again = written_again(found)
    assert again == data if version == sqz.VERSION else len(again) <= len(data)  # today's writer knows smaller codings


@pytest.mark.parametrize("version", [1, 2])
def test_golden_file_with_levels(version: int) -> None:
    data, expected = golden("levels", version)
    found = sqz.decode(data)
    facts = json.loads(json.dumps(make.facts(found)))
    np.testing.assert_allclose(facts.pop("logits"), expected.pop("logits"), rtol=1e-5)
    assert facts == expected
    assert_same(found, make.levels_model())
    assert written_again(found) == data or version < sqz.VERSION


@pytest.mark.parametrize("version", [1, 2])
def test_golden_file_of_integers(version: int) -> None:
    """Every bit of the logits, on every path."""
    data, expected = golden("integers", version)
    found = sqz.decode(data)
    assert json.loads(json.dumps(make.facts(found))) == expected
    made = make.integer_model()
    assert_same(found, made)
    assert found.scales == made.scales
    assert written_again(found) == data or version < sqz.VERSION
    for path in PATHS:
        assert EngineRunner(data, 1, path)(make.image())[0].tolist() == expected["logits"]


@pytest.mark.parametrize("name", ["labels", "oblong"])
def test_golden_file_of_what_came_later(name: str) -> None:
    data, expected = golden(name, 2)
    found = sqz.decode(data)
    facts = json.loads(json.dumps(make.facts(found)))
    np.testing.assert_allclose(facts.pop("logits"), expected.pop("logits"), rtol=1e-5)
    assert facts == expected
    assert_same(found, {"labels": make.labels_model, "oblong": make.oblong_model}[name]())
    assert written_again(found) == data


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("outputs", ["classes", "labels"])
def test_what_the_outputs_mean_is_in_the_file(classes: int, outputs: Outputs) -> None:
    graph = Graph((1, 4, 4), (GlobalAvgPool((0,)), Flatten((1,)), Linear((2,), "fc", classes)))
    held = {"fc": Weights(Plain(np.ones((classes, 1), np.float32)), np.zeros(classes, np.float32))}
    model = Model(graph, held, Preparation(4, 4, "stretch", "L", (0,), (1,)), outputs=outputs)
    data = sqz.encode(model)
    means = outputs if classes > 1 else "labels"
    assert data[5] == (2 if outputs == "labels" and classes > 1 else 0)  # old files of one output keep their bytes
    assert model.outputs == sqz.decode(data).outputs == means
    flagged = repaired(data[:5] + b"\2" + data[6:])
    assert sqz.decode(flagged).outputs == "labels"
    for file in [data, flagged] * bool(PATHS):
        assert EngineRunner(file).outputs == sqz.decode(file).outputs


def test_golden_file_of_operations() -> None:
    data, expected = golden("operations", 2)
    found = sqz.decode(data)
    facts = json.loads(json.dumps(make.facts(found)))
    logits = expected.pop("logits")
    np.testing.assert_allclose(facts.pop("logits"), logits, rtol=1e-5, atol=1e-5)
    assert facts == expected
    assert_same(found, make.operations_model())
    assert written_again(found) == data
    for path in PATHS:
        np.testing.assert_allclose(EngineRunner(data, 1, path)(make.image())[0], logits, rtol=1e-5, atol=1e-5)


def test_golden_file_of_operations_with_integers() -> None:
    data, expected = golden("operations_integers", 2)
    found = sqz.decode(data)
    assert json.loads(json.dumps(make.facts(found))) == expected
    made = make.operations_integer_model()
    assert_same(found, made)
    assert (found.scales, found.tables) == (made.scales, made.tables)
    assert len(set(expected["logits"])) > 5
    assert written_again(found) == data
    for path in PATHS:
        assert EngineRunner(data, 1, path)(make.image())[0].tolist() == expected["logits"]


def test_the_golden_files_hold_every_operation_and_coding(monkeypatch: pytest.MonkeyPatch) -> None:
    operations, codings, forms = set(), set(), set()
    take_op, take_weight, take_floats = graphs._take_op, tensors.take_weight, floats.take

    def operation(cursor: Cursor, value: int) -> Op:
        operations.add(cursor.data[cursor.at])
        return take_op(cursor, value)

    def coding(cursor: Cursor, shape: tuple[int, ...]) -> Tensor:
        codings.add(cursor.data[cursor.at])
        return take_weight(cursor, shape)

    def form(cursor: Cursor, count: int) -> np.ndarray:
        forms.add(cursor.data[cursor.at])
        return take_floats(cursor, count)

    monkeypatch.setattr(graphs, "_take_op", operation)
    monkeypatch.setattr(tensors, "take_weight", coding)
    monkeypatch.setattr(floats, "take", form)
    sqz.decode(TINY)
    sqz.decode((GOLDEN / "levels_v1.sqz").read_bytes())
    sqz.decode((GOLDEN / "operations_v2.sqz").read_bytes())
    assert operations == set(range(1, 22))
    assert codings == {0, 1, 2, 3, 6}
    assert forms > {254, 255}


# What is never written


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


# Damage


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


def test_a_reader_written_from_the_specification_gets_the_same_weights() -> None:
    """docs/FORMAT.md, "Weights", read one symbol after the other."""
    cursor = Cursor(TINY)
    graph_bytes, text_bytes = struct.unpack("<II", cursor.take(24)[16:])
    cursor.take(graph_bytes + text_bytes)

    def stream(count: int) -> list[int]:
        start = cursor.at
        cursor.varint()
        cursor.take(cursor.varint())
        return decode_bit_by_bit(bytes(cursor.data[start : cursor.at]), count)

    def floats(count: int) -> list[float]:
        modes = cursor.byte()
        planes = []
        for i in range(4):
            mode = modes >> 2 * i & 3
            planes.append(list(cursor.take(count)) if mode == 0 else stream(count) if mode == 1 else [0] * count)
        return [struct.unpack(">f", bytes(b))[0] for b in zip(*planes, strict=True)]

    expected = json.loads((GOLDEN / "tiny_v1.json").read_text())
    for name, shape in make.GRAPH.weight_shapes().items():
        size = prod(shape)
        coding = cursor.byte()
        where = list(range(size))
        if coding & 1:
            kept, gap, at, where = cursor.varint(), cursor.varint(), 0, []
            for symbol in stream(cursor.varint()):
                at += symbol
                if symbol < gap:
                    where.append(at)
                    at += 1
            assert len(where) == kept
        if coding & 2:
            codebook = floats(cursor.varint())
            values = [*codebook] if coding & 1 else [0.0, *codebook]
            kept_values = [values[i] for i in stream(len(where))]
        else:
            kept_values = floats(len(where))
        full = [0.0] * size
        for i, value in zip(where, kept_values, strict=True):
            full[i] = value
        assert str(full) == str(expected["weights"][name])  # -0.0 is not 0.0
        assert floats(shape[0]) == expected["biases"][name]
    cursor.finish()
