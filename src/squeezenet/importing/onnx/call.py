"""A node of an ONNX graph with the values of its inputs: what the translation of an operator reads.

>>> call.ints("strides", (1, 1)), call.constant(1)                         # doctest: +SKIP
((2, 2), array([...], dtype=float32))
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import LimitExceeded, UnsupportedOperation
from squeezenet.graph import Sides
from squeezenet.importing.builder import Builder, Value
from squeezenet.importing.scalars import Scalar
from squeezenet.limits import MAX_ONNX_VIEW
from squeezenet.printable import printable

Array = NDArray[Any]
Argument = Array | Value | Scalar


@dataclass(frozen=True)
class Call:
    """One node. `settle` turns an expression of one value into a value; the reader keeps it until it is used.

    `pads` has, by the name of a result, the padding of windows that the file gives by a rule (`auto_pad`).
    """

    node: Any
    opset: int
    arguments: tuple[Argument | None, ...]
    builder: Builder
    settle: Callable[[Scalar], Value]
    pads: dict[str, Sides]

    @property
    def label(self) -> str:
        """The operator and the name of the node, for messages and names of layers."""
        return label(self.node)

    @property
    def name(self) -> str:
        """A name for a layer: that of its weight in PyTorch, or that of the node."""
        weight = self.node.inputs[1].name if len(self.node.inputs) > 1 and self.node.inputs[1] is not None else None
        named: str = (weight or "").removesuffix(".weight")
        if not named or named == weight:
            named = self.node.name or self.node.outputs[0].name
        return printable(named)[:200]

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.arguments) and self.arguments[index] is not None

    def value(self, index: int = 0) -> Value:
        """Input `index`, which depends on the image. Raises `UnsupportedOperation` if it is a constant."""
        found = self.arguments[index] if self.has(index) else None
        if isinstance(found, Scalar):
            return self.settle(found)
        if not isinstance(found, Value):
            raise UnsupportedOperation(f"input {index} is a constant or missing")
        return found

    def scalar(self, index: int = 0) -> Scalar:
        """Input `index` as an expression."""
        found = self.arguments[index]
        return found if isinstance(found, Scalar) else Scalar(self.value(index))

    def constant(self, index: int) -> Array | None:
        """Input `index` as a constant, or None if it is not given. Raises `UnsupportedOperation` for any other."""
        found = self.arguments[index] if self.has(index) else None
        if found is not None and not isinstance(found, np.ndarray):
            raise UnsupportedOperation(f"input {index} depends on the image, and must be a constant")
        return found

    def given(self, index: int) -> Array:
        """Input `index`, which must be a constant."""
        found = self.constant(index)
        if found is None:
            raise UnsupportedOperation(f"input {index} is missing")
        return found

    def weight(self, index: int) -> Array:
        """Input `index` as the weight of a layer. An array that a node fills with one number takes 8 bytes."""
        found = self.given(index)
        if found.size > 1 and not any(found.strides):
            return np.broadcast_to(np.float64(found.flat[0]), found.shape)
        return found

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as Python's own type."""
        held = self.node.attributes.get(name)
        return default if held is None else held.value

    def number(self, name: str, default: float) -> float:
        return float(self.attribute(name, default))

    def integer(self, name: str, default: int) -> int:
        return int(self.attribute(name, default))

    def text(self, name: str, default: str) -> str:
        held = self.attribute(name, default)
        return held.decode() if isinstance(held, bytes) else str(held)

    def ints(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...] | None:
        held = self.attribute(name, default)
        return None if held is None else tuple(int(i) for i in held)

    def numbers(self, name: str, index: int) -> tuple[float, ...] | None:
        """Numbers that are an attribute in old versions of an operator and an input in new ones."""
        held = self.attribute(name)
        if held is None and (found := self.constant(index)) is not None:
            held = found.ravel()[:64].tolist()
        return None if held is None else tuple(held)

    def axes(self, index: int, rank: int, name: str = "axes") -> tuple[int, ...] | None:
        """The axes that an attribute or input `index` lists, counted from the first."""
        held = self.numbers(name, index)
        return None if held is None else tuple(axis_of(int(i), rank) for i in held)

    def axis(self, default: int, rank: int) -> int:
        """The attribute `axis`, counted from the first."""
        return axis_of(self.integer("axis", default), rank)

    def arranged(self, value: Value) -> Value:
        """`value`, if the list of the places of its elements is within the limit. Otherwise raises `LimitExceeded`."""
        if prod(value.shape) > MAX_ONNX_VIEW:
            raise LimitExceeded(f"an array of {prod(value.shape):,} elements; the limit is {MAX_ONNX_VIEW:,}")
        return value


def label(node: Any) -> str:
    """The operator and the name of a node."""
    name = node.name or (node.outputs[0].name if node.outputs else "")
    return printable(f"{node.op_type} {name!r}"[:200])


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the first. Raises `UnsupportedOperation` if there is none of this number."""
    if not -rank <= axis < rank:
        raise UnsupportedOperation(f"axis {axis} of {rank}")
    return axis % rank
