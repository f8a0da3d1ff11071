"""Deltas give the new file byte for byte, and refuse whatever they were not made for."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from squeezenet import sqz, zoo
from squeezenet.errors import WrongOldFile
from squeezenet.graph import Linear
from squeezenet.model import Grid, IntegerWeights, Model
from squeezenet.sqz import delta
from support import ROOT

GOLDEN = ROOT / "tests" / "golden"
OLD = (GOLDEN / "operations_integers_v2.sqz").read_bytes()


def moved(model: Model, share: float, seed: int = 0) -> Model:
    """A network of which this share of all levels, biases and exponents is one larger or smaller."""
    rng = np.random.default_rng(seed)

    def other(numbers: np.ndarray, most: int) -> np.ndarray:
        step = rng.choice([-1, 1], numbers.shape) * (rng.random(numbers.shape) < share)
        return np.clip(numbers + step, -most, most).astype(numbers.dtype)

    weights = {
        name: IntegerWeights(
            Grid(other(held.weight.levels, 100), other(held.weight.exponents, 4096)), other(held.bias, 2**20)
        )
        for name, held in model.weights.items()
        if isinstance(held, IntegerWeights)
    }
    return dataclasses.replace(model, weights=weights, provenance={**model.provenance, "note": f"seed {seed}"})


def relabelled(model: Model, labels: tuple[str, ...]) -> Model:
    """A network with other labels; new ones have weights of their own."""
    last = model.graph.layers[-1]
    held = model.weights[last.name]
    assert isinstance(held, IntegerWeights)
    rows = [model.labels.index(label) if label in model.labels else 0 for label in labels]
    levels, exponents, bias = held.weight.levels[rows].copy(), held.weight.exponents[rows], held.bias[rows].copy()
    for i, label in enumerate(labels):
        if label not in model.labels:
            levels[i] = levels[i][::-1]
            bias[i] += 5
    ops = tuple(dataclasses.replace(op, out=len(labels)) if op is last else op for op in model.graph.ops)
    graph = dataclasses.replace(model.graph, ops=ops)
    weights = {**model.weights, last.name: IntegerWeights(Grid(levels, exponents), bias)}
    return dataclasses.replace(model, graph=graph, weights=weights, labels=labels)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_a_delta_gives_the_new_file(share: float) -> None:
    old = sqz.decode(OLD)
    new = sqz.encode(moved(old, share))
    made = delta.make(OLD, new)
    assert delta.apply(OLD, made) == new
    assert delta.examine(made).kind == delta.LEVELS


def test_a_delta_of_few_changes_is_small() -> None:
    old = zoo.find("digits").read_bytes()
    new = sqz.encode(moved(sqz.decode(old), 0.001))
    assert len(delta.make(old, new)) < 0.15 * len(new)


def test_labels_are_matched_by_name() -> None:
    old = zoo.find("digits").read_bytes()
    model = sqz.decode(old)
    assert isinstance(model.graph.layers[-1], Linear) or model.graph.layers[-1].out == 10
    new = sqz.encode(relabelled(model, ("zero?", *model.labels[:4], "new", *model.labels[5:])))
    made = delta.make(old, new)
    assert delta.apply(old, made) == new
    assert len(made) < 1000


def test_files_of_different_networks_come_back_whole() -> None:
    new = (GOLDEN / "tiny_v2.sqz").read_bytes()
    made = delta.make(OLD, new)
    assert delta.examine(made).kind == delta.WHOLE
    assert delta.apply(OLD, made) == new


def test_another_old_file_is_refused() -> None:
    new = sqz.encode(moved(sqz.decode(OLD), 0.02))
    made = delta.make(OLD, new)
    with pytest.raises(WrongOldFile, match="SHA-256"):
        delta.apply(new, made)


def pairs() -> Iterator[tuple[str, Model, Model]]:
    """Old and new networks that differ in every way that a delta knows."""
    old = sqz.decode(OLD)
    table = bytes(reversed(old.tables[0])) if old.tables else b""
    yield "levels", old, moved(old, 0.1)
    yield "everything", old, moved(old, 1.0)
    yield "coarser", old, rescaled(old, 3)
    yield "much finer", old, rescaled(old, -66)
    yield "a table", old, dataclasses.replace(old, tables=(table, *old.tables[1:]))
    integers = sqz.decode((GOLDEN / "integers_v2.sqz").read_bytes())
    yield "9-bit values", integers, moved(integers, 0.1)
    yield "another network", integers, old
    yield "more labels", old, relabelled(old, (*labels(old), "one more", "and another"))
    yield "fewer labels", old, relabelled(old, labels(old)[1:])
    yield "labels in between", old, relabelled(old, (labels(old)[0], "between", *labels(old)[2:], "last"))


def labels(model: Model) -> tuple[str, ...]:
    return model.labels or tuple(str(i) for i in range(model.graph.classes))


def rescaled(model: Model, eighths: int) -> Model:
    """Coarser steps, and levels to match."""
    weights = {}
    for name, held in model.weights.items():
        assert isinstance(held, IntegerWeights)
        levels = np.rint(np.clip(held.weight.levels / 2 ** (eighths / 8), -90, 90)).astype(np.int16)
        weights[name] = IntegerWeights(Grid(levels, held.weight.exponents + np.int16(eighths)), held.bias)
    return dataclasses.replace(model, weights=weights)


def body_of(made: bytes) -> memoryview:
    return memoryview(made)[88:]


@pytest.mark.skipif(not delta.HAS_ENGINE, reason="the C engine was not built here")
@pytest.mark.parametrize(("name", "old", "new"), list(pairs()), ids=[each[0] for each in pairs()])
def test_both_implementations_write_and_read_the_same(
    name: str, old: Model, new: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = sqz.encode(old), sqz.encode(new)
    plan = delta.plan_of(old, new)
    made = delta.packed(delta.LEVELS, before, after, delta.body_of(before, after, plan))
    assert delta.apply(before, made) == after
    monkeypatch.setattr(delta, "HAS_ENGINE", False)
    assert delta.body_of(before, after, plan) == bytes(body_of(made))
    assert delta.apply(before, made) == after
