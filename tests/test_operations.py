"""Every operation of `graph.Op` in every backend: each computes it as PyTorch does, or refuses it by its name.

A new operation fails here until MODULES has it and every backend that docs/ARCHITECTURE.md lists has decided.
"""

import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from squeezenet import sqz
from squeezenet.compression.squeeze.network import IntegerNetwork, from_integer_model
from squeezenet.compression.squeeze.ranges import calibrate
from squeezenet.errors import BadGraph
from squeezenet.graph import LRN, Add, AvgPool, Concat, Conv, Flatten, GlobalAvgPool, Layer, Linear, MaxPool, Op, ReLU
from squeezenet.integer_graph import check_scales
from squeezenet.model import FloatArray, Model, Plain, Weights
from squeezenet.models.network import from_model
from squeezenet.models.trace import trace
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import Runner
from squeezenet.sqz import graphs, integers
from support import ROOT, hostile
from support.engine_networks import Builder

SIDE = 7
NO_INTEGER_FORM: set[type[Op]] = {LRN}


class Net(nn.Module):
    """A network whose `forward` is `body`."""

    def __init__(self, body: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


MODULES: dict[type[Op], list[Callable[[], nn.Module]]] = {
    Conv: [
        lambda: nn.Conv2d(3, 12, (3, 2), (2, 1), (1, 0)),
        lambda: nn.Conv2d(3, 20, 1),
        lambda: nn.Conv2d(3, 6, 3, groups=3),
    ],
    Linear: [lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 9))],
    ReLU: [nn.ReLU, nn.ReLU6],
    MaxPool: [lambda: nn.MaxPool2d((3, 2), 1, (1, 0)), lambda: nn.MaxPool2d(2, 2, ceil_mode=True)],
    AvgPool: [lambda: nn.AvgPool2d((2, 3), (1, 2), (1, 0))],
    GlobalAvgPool: [lambda: nn.AdaptiveAvgPool2d(1)],
    LRN: [lambda: nn.LocalResponseNorm(3, 0.1, 0.75, 2.0), lambda: nn.LocalResponseNorm(2)],
    Concat: [lambda: Net(lambda x: torch.cat([x, torch.relu(x), x], 1))],
    Add: [lambda: Net(lambda x: x + torch.relu(x))],
    Flatten: [nn.Flatten],
}
"""PyTorch modules in which the tracer has to see the operation."""

CASES = [(kind, number) for kind in get_args(Op) for number in range(len(MODULES.get(kind, [()])))]
every_case = pytest.mark.parametrize(("kind", "number"), CASES, ids=[f"{kind.__name__}{n}" for kind, n in CASES])


class Case:
    """A module, the float network that it is, and an integer network of the same operations."""

    def __init__(self, kind: type[Op], number: int) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(MODULES[kind][number](), nn.Flatten()).eval()
        self.graph, arrays = trace(self.module, (3, SIDE, SIDE))
        builder = Builder(1, SIDE)
        for op in self.graph.ops:
            builder.layer(op) if isinstance(op, Layer) else builder.put(op)
        self.weights, self.scales, self.preparation = builder.weights, tuple(builder.scales), builder.preparation
        self.floats = Model(
            self.graph, {name: Weights(Plain(w), b) for name, (w, b) in arrays.items()}, self.preparation
        )
        image = self.scales[0]
        q = np.clip(np.rint(builder.images(2) / image.step), image.low, image.high)
        self.images = (q * image.step).astype(np.float32)

    def integers(self) -> Model:
        return Model(self.graph, self.weights, self.preparation, scales=self.scales)

    def unchecked(self) -> Any:
        """The integer network, though `Model` may refuse it."""
        held = {"graph": self.graph, "weights": self.weights, "preparation": self.preparation, "scales": self.scales}
        return SimpleNamespace(**held, labels=())

    def file(self) -> bytes:
        """What `sqz.encode` would write of the integer network, without its checks."""
        rest = bytearray()
        integers.put_scales(rest, self.graph, self.scales)
        for op in self.graph.layers:
            integers.put_layer(rest, self.weights[op.name])
        names = hostile.text([op.name for op in self.graph.layers])
        return hostile.sqz(graphs.pack(self.graph, self.preparation), names, bytes(rest), integer=True)


case = cache(Case)


def refusal(kind: type[Op]) -> str:
    return f"^{kind.__name__} has no integer form"


def trained(network: nn.Module, images: FloatArray) -> FloatArray:
    found: FloatArray = network(torch.from_numpy(images)).detach().numpy()
    return found


def in_float32(network: IntegerNetwork) -> IntegerNetwork:
    """The network with sums in float32: on processors with bfloat16 products, sums have 8 bits otherwise."""
    network.dtype = torch.float32
    return network


FLOAT: dict[str, Callable[[Case], FloatArray]] = {
    "tracer and float reference": lambda c: Runner(c.floats)(c.images),
    "trainable float network": lambda c: trained(from_model(c.floats), c.images),
    "file": lambda c: Runner(sqz.decode(sqz.encode(c.floats)))(c.images),
}
INTEGER: dict[str, Callable[[Case], FloatArray]] = {
    "model": lambda c: IntegerRunner(c.integers())(c.images),
    "integer reference": lambda c: IntegerRunner(c.unchecked())(c.images),
    "trainable integer network": lambda c: trained(in_float32(from_integer_model(c.unchecked())), c.images),
    "file writer": lambda c: IntegerRunner(sqz.decode(sqz.encode(c.integers())))(c.images),
    "file reader": lambda c: IntegerRunner(sqz.decode(c.file()))(c.images),
}


def test_every_operation_has_modules() -> None:
    assert set(MODULES) == set(get_args(Op))


@every_case
@pytest.mark.parametrize("backend", [*FLOAT, *PATHS])
def test_floats(kind: type[Op], number: int, backend: str) -> None:
    c = case(kind, number)
    assert any(isinstance(op, kind) for op in c.graph.ops)
    found = FLOAT.get(backend, lambda c: EngineRunner(sqz.encode(c.floats), 1, backend)(c.images))(c)
    expected = trained(c.module, c.images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@every_case
@pytest.mark.parametrize("backend", [*INTEGER, *PATHS])
def test_integers(kind: type[Op], number: int, backend: str) -> None:
    c = case(kind, number)
    compute = INTEGER.get(backend, lambda c: EngineRunner(c.file(), 1, backend)(c.images))
    if kind in NO_INTEGER_FORM:
        # An error of the engine is only of a kind, without a name.
        with pytest.raises(BadGraph, match=refusal(kind) if backend in INTEGER else None):
            compute(c)
        return
    found, model, last = compute(c), c.integers(), c.scales[-1]
    if backend != "trainable integer network":  # which may round halves the other way
        assert np.array_equal(found, IntegerRunner(model)(c.images))
    exact = np.clip(Runner(model.dequantised())(c.images), last.low * last.step, last.high * last.step)
    assert len(np.unique(found)) > 2
    assert np.abs(found - exact).max() <= 0.51 * last.step


@every_case
def test_scales_are_found_for_what_has_an_integer_form(kind: type[Op], number: int) -> None:
    c = case(kind, number)
    scales = calibrate(from_model(c.floats), torch.from_numpy(c.images))
    if kind in NO_INTEGER_FORM:
        with pytest.raises(BadGraph, match=refusal(kind)):
            check_scales(c.graph, scales)
    else:
        check_scales(c.graph, scales)


@every_case
def test_the_format_describes_it(kind: type[Op], number: int) -> None:
    ops, written = case(kind, number).graph.ops, bytearray()
    graphs._put_op(written, next(op for op in ops if isinstance(op, kind)), len(ops))
    text = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    floats, integers = (section(text, name) for name in ("Graph", "Integer networks"))
    assert re.search(rf"^\| {written[0]} \| \S", floats, re.M)
    rows = re.findall(r"^\| ([\d, ]+) \| (.*) \|$", integers, re.M)
    (rule,) = [what for numbers, what in rows if str(written[0]) in numbers.split(", ")]
    assert rule.startswith("refused") == (kind in NO_INTEGER_FORM)


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n")[1].split("\n## ")[0]
