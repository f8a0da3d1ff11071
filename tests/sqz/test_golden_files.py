"""Golden files: what was written once is read for ever, and a reader written from the specification agrees."""

import json
import struct
from math import prod
from typing import get_args

import numpy as np
import pytest

from golden import make
from squeezenet import sqz
from squeezenet.graph import Flatten, Function, GlobalAvgPool, Graph, Linear, Op
from squeezenet.model import Model, Outputs, Plain, Tensor, Weights
from squeezenet.preparation import Preparation
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.sqz import floats, graphs, tensors
from squeezenet.sqz.cursor import Cursor
from support import GOLDEN
from support.bit_by_bit import decode_bit_by_bit
from support.damage import (
    repaired,
)
from support.sqz_files import TINY, assert_same, golden


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


LATER = {"labels": make.labels_model, "oblong": make.oblong_model, "functions": make.functions_model}


@pytest.mark.parametrize("name", LATER)
def test_golden_file_of_what_came_later(name: str) -> None:
    data, expected = golden(name, 2)
    found = sqz.decode(data)
    facts = json.loads(json.dumps(make.facts(found)))
    np.testing.assert_allclose(facts.pop("logits"), expected.pop("logits"), rtol=1e-5)
    assert facts == expected
    assert_same(found, LATER[name]())
    assert written_again(found) == data
    for path in PATHS:
        logits = EngineRunner(data, 1, path)(make.image(found.graph.input_shape))[0]
        np.testing.assert_allclose(logits, golden(name, 2)[1]["logits"], rtol=1e-4, atol=1e-5)


def test_a_golden_file_has_every_scalar_function() -> None:
    assert {name for name, *_ in make.FUNCTIONS} == set(get_args(Function))


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
