"""Layer normalisation that an exporter wrote out in seven nodes.

    y = (x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + epsilon)

The operator `LayerNormalization` exists from opset 17 on. For older opsets, PyTorch and TensorFlow write this
composition. Its parts, such as a mean over channels, cannot be translated well one by one.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Norm:
    """The value `x` that is normalised, the node that computes its mean, and the value that holds epsilon."""

    x: Any
    mean: Any
    epsilon: Any

    @property
    def inputs(self) -> list[Any]:
        """The values of the ONNX graph that are still needed."""
        return [self.x, self.epsilon, *self.mean.inputs[1:]]


def written_norm(node: Any) -> Norm | None:
    """The normalisation whose last node is `node` (a division, or a product with a reciprocal), or None."""
    if node.op_type == "Div":
        centred, deviation = node.inputs
    elif node.op_type == "Mul" and (inverse := _made(node.inputs[1], "Reciprocal")):
        centred, deviation = node.inputs[0], inverse.inputs[0]
    else:
        return None
    difference, root = _made(centred, "Sub"), _made(deviation, "Sqrt")
    total = _made(root.inputs[0], "Add") if root else None
    if difference is None or total is None:
        return None
    x, mean = difference.inputs[0], _made(difference.inputs[1], "ReduceMean")
    for variance, epsilon in (total.inputs, total.inputs[::-1]):
        averaged = _made(variance, "ReduceMean")
        square = averaged and (_made(averaged.inputs[0], "Pow") or _made(averaged.inputs[0], "Mul"))
        if mean is None or not square or mean.inputs[0] is not x:
            continue
        base, exponent = square.inputs
        twice = base is exponent if square.op_type == "Mul" else _number(exponent) == 2
        other = _made(base, "Sub")  # some exporters subtract the mean twice
        same = base is centred or (other is not None and other.inputs[0] is x and _is_mean(other.inputs[1], x))
        if twice and same and _options(mean) == _options(averaged):
            return Norm(x, mean, epsilon)
    return None


def _made(value: Any, kind: str) -> Any:
    """The node of this operator that computes a value, or None."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == kind else None


def _is_mean(value: Any, x: Any) -> bool:
    mean = _made(value, "ReduceMean")
    return mean is not None and mean.inputs[0] is x


def _number(value: Any) -> float | None:
    """A constant of one element: an initializer of the file, or the result of a node Constant."""
    held = value.const_value
    if held is None and (node := _made(value, "Constant")) and "value" in node.attributes:
        held = node.attributes["value"].value
    return float(held.numpy().item()) if held is not None and held.size == 1 else None


def _options(mean: Any) -> tuple[Any, ...]:
    """The axes over which a node takes the mean."""
    held = [mean.attributes[name].value for name in ("axes", "keepdims") if name in mean.attributes]
    axes = [value.const_value and value.const_value.numpy().tolist() for value in mean.inputs[1:] if value is not None]
    return (*map(str, held), *map(str, axes))
