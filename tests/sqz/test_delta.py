"""Deltas give the new file byte for byte, and refuse whatever they were not made for."""

import dataclasses
import random
import struct
import tracemalloc
from binascii import crc32
from collections.abc import Iterator

import numpy as np
import pytest

from squeezenet import sqz, zoo
from squeezenet.errors import (
    BadGraph,
    BadStream,
    ChecksumMismatch,
    FormatError,
    LimitExceeded,
    NotDelta,
    TrailingBytes,
    Truncated,
    UnsupportedVersion,
    WrongOldFile,
)
from squeezenet.graph import Linear
from squeezenet.model import Grid, IntegerWeights, Model
from squeezenet.sqz import delta, delta_file, delta_reference
from support import ROOT
from support.hostile import varint

GOLDEN = ROOT / "tests" / "golden"
HEADER = 56  # bytes of the header of a delta
needs_engine = pytest.mark.skipif(not delta.HAS_ENGINE, reason="the C engine was not built here")
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
    assert delta_file.examine(made).kind == delta_file.LEVELS


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
    assert delta_file.examine(made).kind == delta_file.WHOLE
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
    return memoryview(made)[HEADER:]


@needs_engine
@pytest.mark.parametrize(("name", "old", "new"), list(pairs()), ids=[each[0] for each in pairs()])
def test_the_engine_reads_what_it_wrote(name: str, old: Model, new: Model) -> None:
    """Also under the sanitisers (tests/engine), which take too long for the next test."""
    before, after = sqz.encode(old), sqz.encode(new)
    body = delta.body_of(before, after, delta.plan_of(old, new))
    assert delta.apply(before, delta_file.packed(delta_file.LEVELS, before, after, body)) == after


@needs_engine
@pytest.mark.parametrize(("name", "old", "new"), list(pairs()), ids=[each[0] for each in pairs()])
def test_both_implementations_write_and_read_the_same(
    name: str, old: Model, new: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = sqz.encode(old), sqz.encode(new)
    plan = delta.plan_of(old, new)
    made = delta_file.packed(delta_file.LEVELS, before, after, delta.body_of(before, after, plan))
    assert delta.apply(before, made) == after
    monkeypatch.setattr(delta, "HAS_ENGINE", False)
    monkeypatch.setattr(delta_file, "HAS_ENGINE", False)
    assert delta.body_of(before, after, plan) == bytes(body_of(made))
    assert delta.apply(before, made) == after


def repaired(data: bytes) -> bytes:
    """`data` with the length and the checksum that its bytes should have."""
    return data[:8] + struct.pack("<II", len(data), crc32(data[16:])) + data[16:]


def with_body(body: bytes, new_bytes: int | None = None) -> bytes:
    """A delta from `OLD` to `NEW` whose body is given."""
    size = MADE[20:24] if new_bytes is None else struct.pack("<I", new_bytes)
    return repaired(MADE[:20] + size + MADE[24:HEADER] + body)


NEW = sqz.encode(moved(sqz.decode(OLD), 0.1))
MADE = delta.make(OLD, NEW)
BODY = MADE[HEADER:]
FRONT = delta_reference.after_front(NEW)[0].at
GRAPH_END = 24 + struct.unpack_from("<I", OLD, 16)[0]
SAME = b"\1\0" + varint(FRONT) + b"\0"  # the front of the old file, whose sections are as long as those of the new one

DAMAGE: dict[str, tuple[bytes, type[FormatError]]] = {
    "nothing": (b"", NotDelta),
    "a model": (OLD, NotDelta),
    "version 0": (MADE[:4] + b"\0" + MADE[5:], UnsupportedVersion),
    "version 3": (MADE[:4] + b"\3" + MADE[5:], UnsupportedVersion),
    "version 1, cut short": (MADE[:4] + b"\1" + MADE[5:87], Truncated),
    "another kind": (MADE[:5] + b"\2" + MADE[6:], UnsupportedVersion),
    "a reserved bit": (MADE[:7] + b"\1" + MADE[8:], UnsupportedVersion),
    "half a header": (MADE[:50], Truncated),
    "cut short": (MADE[:-1], Truncated),
    "longer": (MADE + b"\0", TrailingBytes),
    "another byte": (MADE[:-1] + bytes([MADE[-1] ^ 1]), ChecksumMismatch),
    "an old file over its limit": (repaired(MADE[:16] + struct.pack("<I", 2**30 + 1) + MADE[20:]), LimitExceeded),
    "a new file over its limit": (with_body(BODY, 4 * (len(OLD) + len(MADE)) + 4097), LimitExceeded),
    "another new file": (repaired(MADE[:40] + bytes(16) + MADE[HEADER:]), ChecksumMismatch),
    "no body": (with_body(b""), Truncated),
    "no pieces": (with_body(b"\0" + bytes(4)), Truncated),
    "a piece before the old file": (with_body(b"\1\1\4\0" + bytes(4)), BadStream),
    "a piece after the old file": (with_body(b"\1\0" + varint(len(OLD) + 1) + b"\0"), BadStream),
    "pieces longer than the new file": (with_body(b"\2\0" + varint(len(NEW)) + b"\0\0\1\0"), BadStream),
    "an insertion without bytes": (with_body(b"\1\0\0" + varint(100) + bytes(99)), Truncated),
    "no levels": (with_body(SAME), BadStream),
    "levels cut short": (with_body(BODY[:-3]), BadStream),
    "levels go on": (with_body(BODY + b"\0"), BadStream),
    "a graph cut short": (with_body(b"\1\0\x20\0" + bytes(4)), Truncated),
    "a graph longer than the file": (
        with_body(b"\1\0\x10\x08" + struct.pack("<II", 2**31, 0) + bytes(4)), Truncated,
    ),
    "an unknown operation": (with_body(b"\1\0" + varint(GRAPH_END - 3) + b"\3\x63\1\5" + bytes(4)), BadGraph),
}  # fmt: skip


@pytest.fixture(params=[pytest.param(True, marks=needs_engine), False], ids=["engine", "Python"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both implementations, one after the other."""
    monkeypatch.setattr(delta_file, "HAS_ENGINE", request.param)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("name", DAMAGE)
def test_each_kind_of_damage_has_its_error(name: str) -> None:
    data, error = DAMAGE[name]
    with pytest.raises(FormatError) as raised:
        delta.apply(OLD, data)
    assert raised.type is error


def damaged() -> Iterator[bytes]:
    """Deltas with wrong or missing bytes and right checksums."""
    chance = random.Random(0)
    for _ in range(300):
        data = bytearray(MADE)
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(HEADER, len(data))] = chance.randrange(256)
        if chance.random() < 0.2:
            del data[chance.randrange(HEADER, len(data)) :]
        if (hostile := repaired(bytes(data))) != MADE:
            yield hostile


@needs_engine
def test_the_engine_applies_no_damaged_delta() -> None:
    for hostile in damaged():
        with pytest.raises(FormatError):
            delta.apply(OLD, hostile)


@needs_engine
def test_both_implementations_refuse_a_damaged_delta_by_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for hostile in damaged():
        found = []
        for engine in (True, False):
            monkeypatch.setattr(delta_file, "HAS_ENGINE", engine)
            with pytest.raises(FormatError) as raised:
                delta.apply(OLD, hostile)
            found.append(raised.type.__name__)
        assert found[0] == found[1]


@needs_engine
def test_applying_a_delta_takes_little_memory() -> None:
    """Beyond both files: in the C engine, for SqueezeNet v1.0."""
    old, new = (zoo.find(name).read_bytes() for name in ("imagenet", "imagenet-small"))
    made = delta.make(old, new)
    assert len(made) < 0.2 * len(new)
    found, memory = delta_file._engine.delta_apply(old, made, len(new))
    assert found == new
    assert memory < 100_000


@pytest.mark.usefixtures("either")
def test_golden_deltas_are_applied_for_ever() -> None:
    new = (GOLDEN / "delta_v1.sqz").read_bytes()
    for version in (1, 2):
        assert delta.apply(OLD, (GOLDEN / f"delta_v{version}.sqzd").read_bytes()) == new
    assert delta.make(OLD, new) == (GOLDEN / "delta_v2.sqzd").read_bytes()


@needs_engine
@pytest.mark.parametrize(("name", "old", "new"), list(pairs()), ids=[each[0] for each in pairs()])
def test_deltas_of_version_1_are_read(name: str, old: Model, new: Model) -> None:
    before, after = sqz.encode(old), sqz.encode(new)
    parts = delta_reference.Parts.of(before), delta_reference.Parts.of(after)
    body = delta_reference.encode(*parts, delta.plan_of(old, new), version=1)
    assert delta.apply(before, delta_file.packed(delta_file.LEVELS, before, after, body, version=1)) == after


@pytest.mark.usefixtures("either")
def test_a_small_delta_takes_little_memory_and_time_whatever_it_promises() -> None:
    """All levels of a large layer stay as they are: no byte for each of them may be taken."""
    hostile = with_body(SAME + bytes(40), 4 * (len(OLD) + len(MADE)))
    tracemalloc.start()
    with pytest.raises(FormatError):
        delta.apply(OLD, hostile)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
