"""A network whose steps are powers of two as QONNX: floats between `Quant` nodes, with the logits of the model itself.

QONNX (Pappalardo et al. 2022, 2206.07527) is ONNX with the operator `Quant`: divide by a scale, limit to integers of
some bits, round, and multiply again. All numbers of such a network are integers times a power of two. float32 holds
them exactly if no sum needs more than 24 bits, so the order of additions does not matter (`targets.py` refuses others).
"""

from typing import Any

import numpy as np
import onnx_ir as ir

from squeezenet.export.fixed import Convolution, Join, Pool, Value, fixed
from squeezenet.export.onnx.moving import LOWEST, padded, windows
from squeezenet.export.onnx.nodes import Nodes
from squeezenet.fixed_point import Integers
from squeezenet.model import FloatArray, Model


def qonnx_network(nodes: Nodes, model: Model, image: ir.Value) -> ir.Value:
    """The logits of a network that `fixed.refusal` lets pass."""
    network = fixed(model)
    nodes.scope = nodes.scope_of(0, "image")
    results = [_quantised(nodes, image, network.image, "ROUND")]
    for number, stage in enumerate(network.stages, 1):
        nodes.scope = nodes.scope_of(number, stage.name)
        match stage:
            case Convolution():
                results.append(_convolution(nodes, stage, results[stage.source]))
            case Pool():
                x, padding = padded(nodes, results[stage.source], stage.kernel, stage.padding, LOWEST)
                results.append(nodes("MaxPool", x, **windows(stage.kernel, stage.stride, (1, 1), padding)))
            case Join():
                results.append(nodes("Concat", *(results[i] for i in stage.sources), axis=1))
            case _:
                half = nodes.constant("half", np.float32(2.0 ** (stage.result.point - 1)))
                total = nodes("Add", nodes("Add", *(results[i] for i in stage.sources)), half)
                results.append(_quantised(nodes, total, stage.result, "FLOOR"))
    nodes.scope = ""
    return nodes("Flatten", results[network.output], axis=1)


def _convolution(nodes: Nodes, stage: Convolution, x: ir.Value) -> ir.Value:
    """Weights pass through a Quant node that leaves them as they are, so that programs know their bits."""
    column = (-1, *[1] * (stage.weights.ndim - 1))
    steps = _floats(np.ones_like(stage.points), stage.points).reshape(column)
    weight = nodes.constant("weight", _floats(stage.weights, stage.points.reshape(column)))
    bits = max(2, 1 + int(np.abs(stage.weights).max()).bit_length())
    weight = _quant(nodes, weight, steps, bits, True, False, "ROUND")
    bias = nodes.constant("bias", _floats(stage.biases, stage.bias_points))
    kernel = (stage.weights.shape[2], stage.weights.shape[3])
    how = windows(kernel, stage.stride, (1, 1), stage.padding)
    return _quantised(nodes, nodes("Conv", x, weight, bias, group=stage.groups, **how), stage.result, "FLOOR")


def _floats(integers: Integers, points: Integers) -> FloatArray:
    found: FloatArray = np.ldexp(integers.astype(np.float64), points).astype(np.float32)
    return found


def _quantised(nodes: Nodes, x: ir.Value, value: Value, rounding: str) -> ir.Value:
    step = np.float32(2.0**value.point)
    return _quant(nodes, x, step, value.bits, value.signed, value.narrow, rounding)


def _quant(nodes: Nodes, x: ir.Value, step: Any, bits: int, signed: bool, narrow: bool, rounding: str) -> ir.Value:
    ends = [nodes.constant(name, np.float32(n)) for name, n in (("scale", step), ("zero", 0), ("bits", bits))]
    how = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": rounding}
    return nodes("Quant", x, *ends, **how)
