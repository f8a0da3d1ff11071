"""The targets of `squeezenet export`, and which models each of them takes. `inspect` uses it, so it needs NumPy only.

>>> targets(model)                                              # doctest: +SKIP
{'onnx': None, 'onnx-qdq': None, 'onnx-exact': 'a float network has no exact form; ...', 'c': ...}
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from squeezenet.export.fixed import Convolution, Join, Pool, fixed
from squeezenet.export.fixed import refusal as not_fixed
from squeezenet.export.rtl.stages import refusal as rtl_refusal
from squeezenet.fixed_point import BIAS_BITS, Scale, step
from squeezenet.graph import AvgPool, Conv, Graph, Layer
from squeezenet.model import IntegerWeights, Model

MAX_SUM = (1 << 31) - 1
"""The largest sum of products that a runtime with 32-bit accumulators can hold, biases included."""

FLOAT_BITS = 24
"""Bits of the integers that float32 holds exactly."""


def targets(model: Model) -> dict[str, str | None]:
    """For each target, why it cannot take the model, or None if it can."""
    return {name: refusal(model) for name, refusal in TARGETS.items()}


def is_matrix_product(graph: Graph, op: Conv) -> bool:
    """Whether a convolution has one position only and reads the whole value: it is then a fully connected layer."""
    return graph.shapes()[op.inputs[0]][1:] == op.kernel and not any(op.padding) and op.groups == 1


def _onnx(model: Model) -> str | None:
    """ONNX takes every model."""
    return None


def _web(model: Model) -> str | None:
    """The engine runs every model."""
    return None


def _onnx_qdq(model: Model) -> str | None:
    """Why an integer network has a layer that 8-bit kernels of runtimes cannot compute, or None if it has none."""
    if not model.scales:
        return None
    for index, op in enumerate(model.graph.ops):
        source, target = model.scales[op.inputs[0]], model.scales[index + 1]
        if isinstance(op, AvgPool) and op.dilation != (1, 1):
            return "AvgPool: ONNX Runtime has no 8-bit mean over elements that are not neighbours; use onnx"
        if isinstance(op, Conv) and target.wide and not is_matrix_product(model.graph, op):
            return f"{op.name}: with logits of 24 bits, this convolution would stay float; use onnx"
        if isinstance(op, Layer) and largest_sums(model, op, source, target).max() > MAX_SUM:
            return f"{op.name}: a bias in steps of the products needs more than 32 bits; use onnx"
    return None


def largest_sums(model: Model, op: Layer, source: Scale, target: Scale) -> NDArray[np.float64]:
    """The largest sum of products and bias that each output of a layer can have, in steps of the products."""
    held = model.weights[op.name]
    assert isinstance(held, IntegerWeights)
    bias = np.abs(held.bias.astype(np.float64)) / (1 << BIAS_BITS) + 255 * target.nine_bit
    products = np.abs(held.weight.levels.astype(np.int64)).reshape(op.out, -1).sum(1) * source.span
    steps = np.array([step(int(e)) for e in held.weight.exponents]) * source.step
    sums: NDArray[np.float64] = products + bias * target.step / steps
    return sums


def _onnx_exact(model: Model) -> str | None:
    return None if model.scales else "a float network has no exact form; squeeze it first (squeezenet compress)"


def _qonnx(model: Model) -> str | None:
    """Why the sums of a network are not exact in float32, or None if they are."""
    if reason := not_fixed(model):
        return reason
    network = fixed(model)
    for stage in network.stages:
        if not isinstance(stage, Convolution):
            continue
        bits = int(stage.largest(network.values[stage.source]).max()).bit_length()
        if bits > FLOAT_BITS:
            return f"{stage.name}: its sums may need {bits} bits, and QONNX computes in float32, which holds 24"
    return None


def _hls4ml(model: Model) -> str | None:
    """Why hls4ml has no layer for a stage of the network, or None if it has one for each."""
    if reason := not_fixed(model):
        return reason
    network = fixed(model)
    for stage in network.stages:
        if isinstance(stage, Join) and len(stage.sources) != 2:
            return f"{stage.name}: joins {len(stage.sources)} values; hls4ml joins two"
        if isinstance(stage, Pool) and stage.result.signed and any(stage.padding):
            return f"{stage.name}: pads signed values; hls4ml pads with zeros, which may be the maximum"
    return None


def _c(model: Model) -> str | None:
    return None if model.scales else "only integer networks become C; squeeze it first (squeezenet compress)"


TARGETS: dict[str, Callable[[Model], str | None]] = {
    "onnx": _onnx, "onnx-qdq": _onnx_qdq, "onnx-exact": _onnx_exact, "qonnx": _qonnx, "c": _c, "hls4ml": _hls4ml,
    "rtl": rtl_refusal, "web": _web,
}  # fmt: skip
"""Each target, with the function that says why it cannot take a model."""
