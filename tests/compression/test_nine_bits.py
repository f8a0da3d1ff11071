"""Deep values: which ones are worth it, what they are good for, and where there are none."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from squeezenet import sqz
from squeezenet.compression.squeeze.hessian import LayerHessian
from squeezenet.compression.squeeze.nine_bits import with_nine_bits
from squeezenet.compression.squeeze.prepared import as_model, prepare
from squeezenet.compression.squeeze.rounding import round_network
from squeezenet.data import Pixels
from squeezenet.errors import BadGraph
from squeezenet.fixed_point import Scale
from squeezenet.graph import Add, Concat, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, Op, ReLU
from squeezenet.integer_graph import check_scales
from squeezenet.model import Grid, IntegerWeights, Model
from squeezenet.preparation import Preparation
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.runtime.run import runner
from support.integer_networks import coloured_noise, little_model, prepared

READERS: dict[str, tuple[bool, tuple[Op, ...]]] = {
    "a convolution": (True, (Conv((2,), "read", 4, (3, 3)),)),
    "two": (True, (Conv((2,), "read", 4, (3, 3)), Conv((2,), "too", 4, (3, 3)), Concat((3, 4)))),
    "behind a pool": (True, (MaxPool((2,), (2, 2), (2, 2)), Conv((3,), "read", 4, (3, 3)))),
    "behind a flat value": (True, (Flatten((2,)), Linear((3,), "read", 4))),
    "groups": (False, (Conv((2,), "read", 4, (3, 3), groups=2),)),
    "a cap": (False, (ReLU((2,), 6.0), Conv((3,), "read", 4, (3, 3)))),
    "joined": (False, (Concat((2, 2)), Conv((3,), "read", 4, (3, 3)))),
    "a sum": (False, (Add((2, 2)), Conv((3,), "read", 4, (3, 3)))),
    "also a mean": (False, (Conv((2,), "read", 4, (3, 3)), GlobalAvgPool((2,)), Conv((3,), "too", 4, (1, 1)))),
    "nobody": (False, (Conv((0,), "read", 4, (3, 3)),)),
}


def graph_with(readers: tuple[Op, ...]) -> Graph:
    ops = (Conv((0,), "made", 4, (1, 1)), ReLU((1,)), *readers)
    return Graph((3, 9, 9), ops if isinstance(ops[-1], Linear) else (*ops, Flatten((len(ops),))))


def scales_of(graph: Graph) -> tuple[Scale, ...]:
    scales = [Scale(-30, 100)]
    for op in graph.ops:
        scales.append(Scale(0) if isinstance(op, Conv | Linear | Add) else scales[op.inputs[0]])
    return tuple(scales)


def costing(graph: Graph, **traces: float) -> dict[str, LayerHessian]:
    return {op.name: LayerHessian(1.0, traces.get(op.name, 1.0), (), np.zeros((1, 1))) for op in graph.layers}


@pytest.mark.parametrize("name", READERS)
def test_a_value_is_deep_where_that_is_worth_it_and_can_be(name: str) -> None:
    possible, readers = READERS[name]
    graph = graph_with(readers)
    scales = scales_of(graph)
    found = with_nine_bits(
        graph, scales, costing(graph, made=1e6), worth=1.0
    )  # there is little else in so small a network
    check_scales(graph, found)
    assert found[1].nine_bit == found[2].nine_bit == possible
    for before, after in zip(scales, found, strict=True):
        assert after in (before, replace(before, exponent=before.exponent - 8, nine_bit=True))
    assert with_nine_bits(graph, scales, costing(graph, made=1e-6), worth=1.0)[1] == scales[1]  # little is lost there


def test_what_takes_too_long_to_read_is_not_deep() -> None:
    """A quarter of what is lost, a fortieth or half of all products."""
    for out, last in ((1, True), (40, False)):
        readers = (Conv((2,), "read", out, (1, 1)), Conv((0,), "other", 10, (2, 2)), Conv((4,), "last", 1, (1, 1)))
        graph = graph_with(readers)
        found = with_nine_bits(graph, scales_of(graph), costing(graph))
        assert found[1].nine_bit == last


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return coloured_noise()


@pytest.mark.parametrize("name", ["squeezenet", "vgg", "residual"])
def test_nine_bits_are_as_good_as_half_the_step_and_ship_as_they_were_trained(name: str, pixels: Pixels) -> None:
    """The first layer's values in up to 32 times the step they could have, so that rounding them costs most."""
    model = little_model(name, pixels)
    known, images = prepare(model, pixels), prepared(pixels)
    plain = tuple(replace(s, exponent=s.exponent + 8 * s.nine_bit, nine_bit=False) for s in known.scales)
    deep = with_nine_bits(model.graph, plain, costing(model.graph, **{model.graph.layers[0].name: 1e9}), worth=1.0)
    assert deep[1].nine_bit

    def found(scales: tuple[Scale, ...], eighths: int) -> np.ndarray:
        """What the file gives with the deep values' steps so much larger than `plain` says."""
        moved = tuple(replace(s, exponent=p.exponent + eighths) if d.nine_bit else s
                      for s, p, d in zip(scales, plain, deep, strict=True))  # fmt: skip
        network = round_network(known.network, moved, known.hessians, multiplier=1e-9)
        network.dtype = torch.float32
        logits = runner(sqz.decode(sqz.encode(as_model(model, network))))(images)
        trained = network(torch.from_numpy(images)).detach().numpy()
        if eighths <= 0:  # of coarse steps, one that is rounded the other way is too many
            assert np.abs(trained - logits).max() < 0.05 * np.abs(logits).max()
        return logits

    exact = runner(model)(images)
    coarse, fine = found(plain, 40), found(deep, 32)
    assert np.square(fine - exact).mean() < 0.9 * np.square(coarse - exact).mean()
    assert np.array_equal(fine, found(plain, 32))  # whose values stay below 255
    assert np.abs(found(deep, -8) - exact).max() < 2 * np.abs(found(plain, 0) - exact).max()  # as far as it reaches


def two_layers(first: Scale, op: Op) -> Model:
    """A file that says `first` of what its first layer gives, whether that is allowed or not."""
    graph = Graph((3, 5, 5), (Conv((0,), "a", 4, (1, 1)), op, Conv((2,), "b", 8, (5, 5)), Flatten((3,))))
    weights = {
        name: IntegerWeights(Grid(np.ones(shape, np.int16), np.zeros(shape[0], np.int16)), np.zeros(shape[0], np.int32))
        for name, shape in graph.weight_shapes().items()
    }
    preparation = Preparation(5, 5, "stretch", "RGB", (0.0,) * 3, (1.0,) * 3)
    scales = (Scale(0), replace(first, nine_bit=False), Scale(0), Scale(50), Scale(50))
    model = Model(graph, weights, preparation, scales=scales)
    object.__setattr__(model, "scales", (Scale(0), first, first if isinstance(op, ReLU) else Scale(0), *scales[3:]))
    return model


@pytest.mark.parametrize(
    ("op", "allowed"),
    [(ReLU((1,)), True), (ReLU((1,), 6.0), False), (Add((1, 1)), False), (Conv((1,), "c", 4, (1, 1), groups=2), False)],
    ids=["ReLU", "cap", "sum", "groups"],
)
def test_files_with_deep_values_where_there_are_none_are_refused(op: Op, allowed: bool) -> None:
    model = two_layers(Scale(0, nine_bit=True), op)
    data = sqz.encode(model)
    with nullcontext() if allowed else pytest.raises(BadGraph):
        sqz.decode(data)
    for path in PATHS:
        with nullcontext() if allowed else pytest.raises(BadGraph):
            EngineRunner(data, 1, path)
