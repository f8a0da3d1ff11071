"""A graph during the translation of another program's network: operations by number, which can be replaced.

    >>> from squeezenet.graph import Flatten, ReLU
    >>> draft = Draft((3, 8, 8))
    >>> draft.output = draft.put(Flatten((draft.put(ReLU((0,))),)))
    >>> len(draft.graph().ops)
    2

Five operations exist only in a draft. The rewrites of `importing.rewrites` turn them into operations of `graph.Op`.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import BadGraph, UnsupportedOperation
from squeezenet.graph import Conv, Graph, Joining, Layer, Linear, Op, Shape, Sides
from squeezenet.model import FloatArray

Real = NDArray[Any]
"""float32 for weights of layers, which may be large, float64 for everything else."""
Arrays = dict[str, tuple[FloatArray, FloatArray]]
"""Layer name -> (weight, bias)."""


@dataclass(frozen=True)
class Affine:
    """x * scale + shift for each channel: BatchNorm, LayerScale, x * 2 - 1. `Draft.weights` has scale and shift."""

    inputs: tuple[int, ...]
    name: str

    def shape(self, *shape: int) -> Shape:
        return shape


@dataclass(frozen=True)
class Pad:
    """A border of `value` around each channel."""

    inputs: tuple[int, ...]
    sides: Sides
    value: float = 0.0

    def shape(self, c: int, h: int, w: int) -> Shape:
        top, left, bottom, right = self.sides
        return (c, h + top + bottom, w + left + right)


@dataclass(frozen=True)
class Unflatten:
    """(features,) -> (features, 1, 1)."""

    inputs: tuple[int, ...]

    def shape(self, features: int) -> Shape:
        return (features, 1, 1)


@dataclass(frozen=True)
class Softmax:
    """Softmax over all features, or its logarithm. Only the last operation may be one."""

    inputs: tuple[int, ...]
    logarithm: bool = False

    def shape(self, *shape: int) -> Shape:
        return shape


@dataclass(frozen=True)
class Erf:
    """The error function of each element. It is understood as a part of GELU."""

    inputs: tuple[int, ...]

    def shape(self, *shape: int) -> Shape:
        return shape


NOTHING = -1
Ending = Literal["", "softmax", "log_softmax", "sigmoid"]
"""What a network computes from its logits at its end, and a graph does not."""

Step = Op | Affine | Pad | Unflatten | Softmax | Erf


@dataclass
class Draft:
    """Operations in the order they run, by the number of the value that each computes. Value 0 is the image."""

    input_shape: Shape
    ops: dict[int, Step] = field(default_factory=dict)
    shapes: dict[int, Shape] = field(default_factory=dict)
    weights: dict[str, tuple[Real, Real]] = field(default_factory=dict)
    origins: dict[int, str] = field(default_factory=dict)
    """What computed a value in the program that it comes from."""
    meanings: dict[int, int] = field(default_factory=dict)
    """Values that are what another value was before a rewrite: a convolution into which BatchNorm was folded. Or
    `NOTHING`: they are what no value was."""
    output: int = 0

    def __post_init__(self) -> None:
        self.shapes[0] = self.input_shape

    def put(self, op: Step, origin: str = "") -> int:
        """Append an operation. Returns the number of its value. Raises `UnsupportedOperation`."""
        operands = [self.shapes[i] for i in op.inputs]
        try:
            shape = op.shape_of(operands) if isinstance(op, Joining) else op.shape(*operands[0])
        except (BadGraph, TypeError) as error:
            raise UnsupportedOperation(str(error)) from None
        number = len(self.shapes)
        self.ops[number], self.shapes[number], self.origins[number] = op, shape, origin
        return number

    def put_after(self, number: int, op: Step) -> int:
        """Insert an operation after the one that computes value `number`. Returns the number of the new value."""
        new = self.put(op, self.origins.get(number, ""))
        op = self.ops.pop(new)
        ordered: dict[int, Step] = {}
        if number == 0:
            ordered[new] = op
        for each, held in self.ops.items():
            ordered[each] = held
            if each == number:
                ordered[new] = op
        self.ops = ordered
        return new

    def name(self, wanted: str) -> str:
        """`wanted`, or the first of `wanted`_2, `wanted`_3, ... that no layer has yet."""
        name, number = wanted or "layer", 1
        while name in self.weights:
            number += 1
            name = f"{wanted or 'layer'}_{number}"
        return name

    def readers(self) -> dict[int, list[int]]:
        """For each value, the operations that read it, once for each input; -1 stands for the network's output."""
        readers: dict[int, list[int]] = {number: [] for number in self.shapes}
        for number, op in self.ops.items():
            for i in op.inputs:
                readers[i].append(number)
        readers[self.output].append(-1)
        return readers

    def replace(self, number: int, by: int) -> None:
        """Let all operations that read value `number` read value `by` instead."""
        for reader, op in self.ops.items():
            if number in op.inputs:
                self.ops[reader] = replace(op, inputs=tuple(by if i == number else i for i in op.inputs))
        if self.output == number:
            self.output = by

    def drop_unused(self) -> None:
        """Remove what the output does not depend on, such as auxiliary classifiers."""
        used = {self.output}
        for number in reversed(self.ops):
            if number in used:
                used.update(self.ops[number].inputs)
        self.ops = {number: op for number, op in self.ops.items() if number in used}
        names = {op.name for op in self.ops.values() if isinstance(op, Layer | Affine)}
        self.weights = {name: arrays for name, arrays in self.weights.items() if name in names}

    def arrays(self) -> Arrays:
        """The weights as float32."""
        return {
            name: (weight.astype(np.float32, copy=False), bias.astype(np.float32, copy=False))
            for name, (weight, bias) in self.weights.items()
        }

    def graph(self) -> Graph:
        """The finished graph. Raises `UnsupportedOperation` if an operation is left that only drafts may have."""
        numbers = {0: 0}
        ops: list[Op] = []
        for number, op in self.ops.items():
            if isinstance(op, Affine | Pad | Unflatten | Softmax | Erf):
                what = f"{type(op).__name__.lower()} at this place cannot be expressed"
                raise UnsupportedOperation(f"{what} ({self.origins[number]})")
            ops.append(replace(op, inputs=tuple(numbers[i] for i in op.inputs)))
            numbers[number] = len(ops)
        if numbers.get(self.output, 0) != len(ops) or not ops:
            raise UnsupportedOperation("the network computes no logits from the image")
        try:
            return Graph(self.input_shape, tuple(ops))
        except BadGraph as error:
            raise UnsupportedOperation(str(error)) from None


def depthwise(number: int, draft: Draft) -> None:
    """Turn the `Affine` that computes value `number` into a depthwise 1x1 convolution, or a diagonal `Linear`."""
    op = draft.ops[number]
    assert isinstance(op, Affine)
    scale, shift = draft.weights[op.name]
    if len(draft.shapes[number]) == 1:
        draft.weights[op.name] = np.diag(scale), shift
        draft.ops[number] = Linear(op.inputs, op.name, len(scale))
        return
    draft.weights[op.name] = scale.reshape(-1, 1, 1, 1), shift
    draft.ops[number] = Conv(op.inputs, op.name, len(scale), (1, 1), groups=len(scale))
