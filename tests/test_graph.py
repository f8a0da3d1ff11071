"""Graphs against the numbers of the papers, and every graph that must be refused."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F

from squeezenet.errors import BadGraph
from squeezenet.fire import fire_modules, paper_names
from squeezenet.graph import (
    LRN,
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Select,
    Upsample,
)
from squeezenet.importing import trace
from squeezenet.model import Model
from squeezenet.models import create_model
from squeezenet.preparation import Preparation
from squeezenet.runtime.reference import Runner


def graph_of(name: str, size: int = 227, **overrides: object) -> Graph:
    return trace(create_model(name, **overrides), (3, size, size))[0]


def parameters(graph: Graph) -> int:
    return sum(int(np.prod(shape)) + shape[0] for shape in graph.weight_shapes().values())


@pytest.fixture(scope="module")
def squeezenet() -> Graph:
    return graph_of("squeezenet1_0")


# Table 1: parameters of conv1, fire2 to fire9, conv10.
TABLE_1 = [14_208, 11_920, 12_432, 45_344, 49_440, 104_880, 111_024, 188_992, 197_184, 513_000]
FIRES = [(16, 64, 64)] * 2 + [(32, 128, 128)] * 2 + [(48, 192, 192)] * 2 + [(64, 256, 256)] * 2


def test_table_1(squeezenet: Graph) -> None:
    weights = squeezenet.weight_shapes()
    names = {paper: name for name, paper in paper_names(squeezenet).items()}
    assert list(names) == [
        "conv1",
        *(f"fire{i}/{part}" for i in range(2, 10) for part in ("squeeze1x1", "expand1x1", "expand3x3")),
        "conv10",
    ]
    found: dict[str, int] = {}
    for paper, name in names.items():
        module = paper.split("/")[0]
        found[module] = found.get(module, 0) + int(np.prod(weights[name])) + weights[name][0]
    assert list(found.values()) == TABLE_1
    widths = [tuple(weights[n][0] for n in (f.squeeze1x1, f.expand1x1, f.expand3x3)) for f in fire_modules(squeezenet)]
    assert widths == FIRES

    shapes = squeezenet.shapes()
    assert shapes[1] == (96, 111, 111)
    pools = [shapes[i + 1] for i, op in enumerate(squeezenet.ops) if isinstance(op, MaxPool)]
    assert pools == [(96, 55, 55), (256, 27, 27), (512, 13, 13)]
    assert squeezenet.classes == 1000


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("squeezenet1_0", 1_248_424),
        ("squeezenet1_1", 1_235_496),
        ("squeezenet1_0_simple", 1_248_424),
        ("squeezenet1_0_complex", 1_248_424 + 341_248),
        ("alexnet", 60_965_224),
    ],
)
def test_parameters(name: str, count: int) -> None:
    assert parameters(graph_of(name)) == count


@pytest.mark.parametrize(("name", "millions"), [("squeezenet1_0", 818.9), ("squeezenet1_1", 349.2)])
def test_multiply_accumulates_at_224(name: str, millions: float) -> None:
    assert round(sum(graph_of(name, 224).macs()) / 1e6, 1) == millions


@pytest.mark.parametrize(("sr", "millions"), [(0.125, 1.248), (0.25, 1.967), (0.5, 3.404), (0.75, 4.842), (1.0, 6.279)])
def test_squeeze_ratio_sweep(sr: float, millions: float) -> None:
    assert round(parameters(graph_of("squeezenet1_0", sr=sr)) / 1e6, 3) == millions


@pytest.mark.parametrize(("percent", "mebibytes"), [(1, 5.64), (25, 9.24), (75, 16.74), (99, 20.33)])
def test_share_of_3x3_filters_sweep(percent: int, mebibytes: float) -> None:
    graph = graph_of("squeezenet1_0", sr=0.5, pct3x3=percent / 100)
    assert round(4 * parameters(graph) / 2**20, 2) == mebibytes


def test_bypasses_are_named() -> None:
    graph = graph_of("squeezenet1_0_complex", classes=10)
    assert [bool(fire.bypass) for fire in fire_modules(graph)] == [True, False] * 4
    assert [p for p in paper_names(graph).values() if p.endswith("bypass")] == [f"fire{i}/bypass" for i in (2, 4, 6, 8)]
    assert not any(fire.bypass for fire in fire_modules(graph_of("squeezenet1_0_simple", classes=10)))


def test_a_network_without_fire_modules_keeps_its_names() -> None:
    graph = graph_of("alexnet_32", 32, classes=10)
    assert fire_modules(graph) == []
    assert all(name == paper for name, paper in paper_names(graph).items())


def test_memory_can_be_given_back_after_the_last_use() -> None:
    ops = (Conv((0,), "a", 3, (1, 1)), ReLU((1,)), Add((0, 2)), GlobalAvgPool((3,)), Flatten((4,)))
    graph = Graph((3, 4, 4), ops)
    assert graph.last_use() == [2, 1, 2, 3, 4, 5]
    assert graph.macs() == [3 * 3 * 16, 0, 0, 0, 0]


def test_renamed() -> None:
    graph = Graph((1, 1, 1), (Flatten((0,)), Linear((1,), "a", 2), ReLU((2,)), Linear((3,), "b", 2)))
    assert [op.name for op in graph.renamed(["x", "y"]).layers] == ["x", "y"]
    with pytest.raises(BadGraph, match="share a name"):
        graph.renamed(["x", "x"])


END = (Flatten((1,)),)
DOUBLED = tuple(Concat((i,) * 2) for i in range(40))


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ((), "at least one"),
        ((GlobalAvgPool((0,)),), "row of logits"),
        ((Flatten((1,)),), "does not exist yet"),
        ((Flatten((-1,)),), "does not exist yet"),
        ((Flatten(()),), "does not exist yet"),
        ((Flatten((0, 0)),), "takes one input"),
        ((Linear((0,), "a", 2),), "cannot read a value of shape"),
        ((Flatten((0,)), Conv((1,), "a", 2, (1, 1))), "cannot read a value of shape"),
        ((Flatten((0,)), Linear((1,), "a", 0)), "needs outputs"),
        ((Conv((0,), "a", 0, (1, 1)), *END), "cannot be split"),
        ((Conv((0,), "a", 4, (1, 1), groups=3), *END), "cannot be split"),
        ((Conv((0,), "a", 3, (1, 1), groups=2), *END), "cannot be split"),
        ((Conv((0,), "a", 3, (1, 1), groups=0), *END), "cannot be split"),
        ((Conv((0,), "a", 3, (0, 1)), *END), "window"),
        ((Conv((0,), "a", 3, (1, 1), stride=(0, 1)), *END), "window"),
        ((Conv((0,), "a", 3, (1, 1), padding=(0, -1)), *END), "window"),
        ((Conv((0,), "a", 3, (9, 9)), *END), "does not fit"),
        ((MaxPool((0,), (3, 3), (1, 1), (3, 0)), *END), "window"),
        ((MaxPool((0,), (2, 2), (1, 1), (9, 9), dilation=(9, 9)), *END), "window"),
        ((AvgPool((0,), (3, 3), (1, 1), (0, 0, 3, 0)), *END), "window"),
        ((Conv((0,), "a", 3, (3, 3), dilation=(4, 1)), *END), "does not fit"),
        ((AdaptivePool((0,), (9, 8)), *END), "pooling"),
        ((Activation((0,), "clamp", 1.0, 0.0), *END), "clamp"),
        ((Activation((0,), "tanh", 1.0), *END), "0 parameters"),
        ((Activation((0,), "softplus"), *END), "softplus"),
        ((Activation((0,), "power", -1.0), *END), "power"),
        ((Activation((0,), "power", 1.0, -0.5), *END), "power"),
        ((Select((0,), 1, (1, 3)), *END), "channels 1 to 3 of 3"),
        ((Select((0,), 1, (1, 3), (0, -1)), *END), "channels -1 to 1 of 3"),
        ((Upsample((0,), (0, 1)), *END), "repetition"),
        ((MaxPool((0,), (2, 2), (2, 2)), Multiply((0, 1)), Flatten((2,))), "cannot multiply"),
        ((GlobalAvgPool((0,)), Flatten((1,)), Multiply((2, 1))), "cannot multiply"),
        ((GlobalAvgPool((0,)), Flatten((1,)), Add((1, 2)), Flatten((3,))), "cannot add"),
        ((AvgPool((0,), (9, 9), (1, 1)), *END), "does not fit"),
        ((LRN((0,), size=4), *END), "normalisation"),
        ((LRN((0,), size=0), *END), "normalisation"),
        ((MaxPool((0,), (2, 2), (2, 2)), Concat((0, 1)), Flatten((2,))), "cannot join"),
        ((Flatten((0,)), Concat((1, 1))), "cannot join"),
        ((MaxPool((0,), (2, 2), (2, 2)), Add((0, 1)), Flatten((2,))), "cannot add"),
        ((Add((0, 0, 0)), *END), "cannot add"),
        ((Flatten((0,)), Linear((1,), "a", 2), Linear((2,), "a", 2)), "share a name"),
        ((*DOUBLED, Flatten((40,))), "more than"),
    ],
)
def test_impossible_graphs_are_refused(ops: tuple[Op, ...], message: str) -> None:
    with pytest.raises(BadGraph, match=message):
        Graph((3, 8, 8), ops)


@pytest.mark.parametrize("shape", [(3, 8), (0, 8, 8), (3, 8, -1)])
def test_impossible_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadGraph, match="image"):
        Graph(shape, END)


pairs = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(st.integers(1, 13), pairs, pairs, st.data(), st.booleans())
def test_pooling_is_that_of_pytorch(
    size: int, kernel: tuple[int, int], stride: tuple[int, int], data: st.DataObject, ceil: bool
) -> None:
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    assume(all(size + 2 * p >= k for k, p in zip(kernel, padding, strict=True)))
    images = np.random.default_rng(size).standard_normal((1, 3, size, size), np.float32)
    torch_images = torch.from_numpy(images)
    preparation = Preparation(size, size)

    for op, expected in (
        (MaxPool((0,), kernel, stride, padding, ceil), F.max_pool2d(torch_images, kernel, stride, padding, 1, ceil)),
        (AvgPool((0,), kernel, stride, padding), F.avg_pool2d(torch_images, kernel, stride, padding)),
    ):
        graph = Graph((3, size, size), (op, Flatten((1,))))
        assert graph.shapes()[1] == tuple(expected.shape[1:])
        pooled = Runner(Model(graph, {}, preparation))(images)
        np.testing.assert_allclose(pooled, expected.flatten(1).numpy(), atol=1e-6)
