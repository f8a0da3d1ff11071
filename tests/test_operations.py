"""Every operation of `graph.Op` in every backend: each computes it as PyTorch does, or refuses it by its name.

A new operation fails here until MODULES has it and every backend that docs/ARCHITECTURE.md lists has decided.
"""

import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from squeezenet import sqz
from squeezenet.compression.squeeze.network import IntegerNetwork, from_integer_model
from squeezenet.compression.squeeze.ranges import calibrate
from squeezenet.errors import BadGraph
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
    Layer,
    LayerNorm,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Select,
    Upsample,
)
from squeezenet.importing import trace
from squeezenet.integer_graph import check_scales
from squeezenet.model import FloatArray, Model, Plain, Weights
from squeezenet.models.network import from_model
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import Runner
from squeezenet.scalar_functions import table
from squeezenet.sqz import graphs, integers
from support import ROOT, hostile
from support.engine_networks import Builder
from support.onnx_runtime import exported, in_onnx_runtime

SIDE = 7
NO_INTEGER_FORM: set[type[Op]] = {LRN, LayerNorm}


class Net(nn.Module):
    """A network whose `forward` is `body`."""

    def __init__(self, body: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Form(NamedTuple):
    """An operation that PyTorch modules have in many spellings, and one module that computes the same."""

    op: Op
    module: nn.Module


def form(op: Op, body: Callable[[Tensor], Tensor] | nn.Module) -> Callable[[], Form]:
    return lambda: Form(op, body if isinstance(body, nn.Module) else Net(body))


FUNCTIONS: list[tuple[Activation, Callable[[Tensor], Tensor]]] = [
    (Activation((0,), "clamp", -1.5, 2.0), nn.Hardtanh(-1.5, 2.0)),
    (Activation((0,), "leaky_relu", 0.3), nn.LeakyReLU(0.3)),
    (Activation((0,), "elu", 1.5, 1.0), nn.ELU(1.5)),
    (Activation((0,), "elu", 2.0, 0.5), nn.CELU(2.0)),
    (Activation((0,), "hard_sigmoid", 1 / 6, 0.5), nn.Hardsigmoid()),
    (Activation((0,), "hard_swish", 1 / 6, 0.5), nn.Hardswish()),
    (Activation((0,), "sigmoid"), nn.Sigmoid()),
    (Activation((0,), "silu", 1.0), nn.SiLU()),
    (Activation((0,), "silu", 1.702), lambda x: x * torch.sigmoid(1.702 * x)),
    (Activation((0,), "tanh"), nn.Tanh()),
    (Activation((0,), "gelu"), nn.GELU()),
    (Activation((0,), "gelu_tanh"), nn.GELU("tanh")),
    (Activation((0,), "mish"), nn.Mish()),
    (Activation((0,), "softplus", 2.0), nn.Softplus(2.0)),
    (Activation((0,), "power", 0.5), lambda x: x.relu().sqrt()),
    (Activation((0,), "power", -0.5, 0.25), lambda x: torch.rsqrt(x.relu() + 0.25)),
    (Activation((0,), "power", -1.0, 0.125), lambda x: 1 / (x.relu() + 0.125)),
]


def same_padding(x: Tensor) -> Tensor:
    """A max-pool as TensorFlow pads it: one row more below and to the right."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, 1)


def uncounted(x: Tensor) -> Tensor:
    """An average pool with dilation and padding on one side only, which does not count."""
    ones = torch.ones(3, 1, 2, 2)
    x, inside = F.pad(x, (2, 0, 0, 1)), F.pad(torch.ones_like(x), (2, 0, 0, 1))
    sums, counts = (F.conv2d(each, ones, stride=(1, 2), dilation=(2, 3), groups=3) for each in (x, inside))
    return sums / counts


def layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x.permute(0, 2, 3, 1), (3,), eps=1e-3).permute(0, 3, 1, 2)


MODULES: dict[type[Op], list[Callable[[], nn.Module | Form]]] = {
    Conv: [
        lambda: nn.Conv2d(3, 12, (3, 2), (2, 1), (1, 0)),
        lambda: nn.Conv2d(3, 20, 1),
        lambda: nn.Conv2d(3, 6, 3, groups=3),
        form(
            Conv((0,), "body", 5, (3, 2), (2, 1), (1, 0, 3, 2), 1, (2, 3)),
            nn.Sequential(nn.ZeroPad2d((0, 2, 1, 3)), nn.Conv2d(3, 5, (3, 2), (2, 1), dilation=(2, 3))),
        ),
        form(
            Conv((0,), "body", 3, (3, 3), (2, 2), (0, 0, 1, 1), 3),
            nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 3, 3, 2, groups=3)),
        ),
    ],
    Linear: [lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 9))],
    ReLU: [nn.ReLU, nn.ReLU6],
    Activation: [form(op, body) for op, body in FUNCTIONS],
    MaxPool: [
        lambda: nn.MaxPool2d((3, 2), 1, (1, 0)),
        lambda: nn.MaxPool2d(2, 2, ceil_mode=True),
        form(MaxPool((0,), (2, 2), (1, 1), (0, 0, 1, 1)), same_padding),
        form(
            MaxPool((0,), (2, 3), (1, 2), (1, 1), True, (2, 1)), nn.MaxPool2d((2, 3), (1, 2), 1, (2, 1), ceil_mode=True)
        ),
    ],
    AvgPool: [
        lambda: nn.AvgPool2d((2, 3), (1, 2), (1, 0)),
        form(AvgPool((0,), (3, 3), (3, 3), (1, 1), True), nn.AvgPool2d(3, 3, 1, ceil_mode=True)),
        form(AvgPool((0,), (3, 2), (2, 2), (1, 1), True, False), nn.AvgPool2d((3, 2), 2, 1, True, False)),
        form(AvgPool((0,), (2, 2), (1, 2), (0, 2, 1, 0), False, False, (2, 3)), uncounted),
    ],
    AdaptivePool: [
        form(AdaptivePool((0,), (3, 5)), nn.AdaptiveAvgPool2d((3, 5))),
        form(AdaptivePool((0,), (2, 6), True), nn.AdaptiveMaxPool2d((2, 6))),
    ],
    GlobalAvgPool: [lambda: nn.AdaptiveAvgPool2d(1)],
    LRN: [lambda: nn.LocalResponseNorm(3, 0.1, 0.75, 2.0), lambda: nn.LocalResponseNorm(2)],
    LayerNorm: [form(LayerNorm((0,), 1e-3), layer_norm)],
    Select: [
        form(Select((0,), 1, (1, 2)), lambda x: x[:, 1:]),
        form(Select((0,), 2, (2, 3), (0, -1)), lambda x: torch.cat([x.flip(1), x.flip(1)], 1)),
    ],
    Upsample: [form(Upsample((0,), (2, 3)), lambda x: F.interpolate(x, scale_factor=(2, 3), mode="nearest"))],
    Multiply: [form(Multiply((0, 0)), lambda x: x * x)],
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
        found = MODULES[kind][number]()
        self.module = nn.Sequential(found.module if isinstance(found, Form) else found, nn.Flatten()).eval()
        if isinstance(found, Form):
            self.graph = Graph((3, SIDE, SIDE), (found.op, Flatten((1,))))
            arrays = {op.name: only_layer(self.module) for op in self.graph.layers}
        else:
            self.graph, arrays = trace(self.module, (3, SIDE, SIDE))
        self.number = numbers_of(self.graph, kind)[0]
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
        tables = [
            table(op, self.scales[op.inputs[0]], self.scales[value])
            for value, op in enumerate(self.graph.ops, 1)
            if isinstance(op, Activation)
        ]
        return SimpleNamespace(**held, labels=(), tables=tables, outputs="classes")

    def file(self) -> bytes:
        """What `sqz.encode` would write of the integer network, without its checks."""
        rest = bytearray()
        integers.put_scales(rest, self.graph, self.scales)
        tables = iter(self.unchecked().tables)
        for op in self.graph.ops:
            if isinstance(op, Activation):
                integers.put_table(rest, next(tables))
            if isinstance(op, Layer):
                integers.put_layer(rest, self.weights[op.name])
        names = hostile.text([op.name for op in self.graph.layers])
        return hostile.sqz(graphs.pack(self.graph, self.preparation), names, bytes(rest), integer=True)


case = cache(Case)


def only_layer(module: nn.Module) -> tuple[FloatArray, FloatArray]:
    weight, bias = (parameter.detach().numpy() for parameter in module.parameters())
    return weight, bias


def numbers_of(graph: Graph, kind: type[Op]) -> list[int]:
    """The numbers in the file of the operations of this kind."""
    found = []
    for value, op in enumerate(graph.ops, 1):
        written = bytearray()
        graphs._put_op(written, op, value)
        if isinstance(op, kind):
            found.append(written[0])
    return found


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
    "ONNX Runtime": lambda c: in_onnx_runtime(exported(c.floats, "onnx"), c.images),
}
INTEGER: dict[str, Callable[[Case], FloatArray]] = {
    "model": lambda c: IntegerRunner(c.integers())(c.images),
    "integer reference": lambda c: IntegerRunner(c.unchecked())(c.images),
    "trainable integer network": lambda c: trained(in_float32(from_integer_model(c.unchecked())), c.images),
    "file writer": lambda c: IntegerRunner(sqz.decode(sqz.encode(c.integers())))(c.images),
    "ONNX Runtime": lambda c: in_onnx_runtime(exported(c.integers(), "onnx"), c.images),
    "ONNX Runtime, integers only": lambda c: in_onnx_runtime(exported(c.integers(), "onnx-exact"), c.images),
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
    written = case(kind, number).number
    text = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    floats, integers = (section(text, name) for name in ("Graph", "Integer networks"))
    assert re.search(rf"^\| {written} \| \S", floats, re.M)
    rows = re.findall(r"^\| ([\d, ]+) \| (.*) \|$", integers, re.M)
    (rule,) = [what for numbers, what in rows if str(written) in numbers.split(", ")]
    assert rule.startswith("refused") == (kind in NO_INTEGER_FORM)


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n")[1].split("\n## ")[0]
