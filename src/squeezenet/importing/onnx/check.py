"""Compares a graph with the ONNX file that it was read from, by ONNX's own reference evaluator.

>>> check(network, Preparation.imagenet_torchvision(), Path("mobilenet.onnx"))           # doctest: +SKIP
"""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import UnsupportedOperation
from squeezenet.importing.builder import Value
from squeezenet.importing.onnx.read import OnnxNetwork
from squeezenet.model import FloatArray, Model, Plain, Weights
from squeezenet.preparation import Preparation
from squeezenet.printable import printable
from squeezenet.runtime.reference import Runner

_log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference of two logits, relative to the largest logit. Another order of sums gives about 1e-6."""
HALF_TOLERANCE = 3e-2
"""The same for networks that compute with 16-bit floats."""
IMAGES = 2
SECONDS = 3.0
"""After this time no further image is compared: the evaluator's pools are loops in Python."""


def check(network: OnnxNetwork, preparation: Preparation, path: Path) -> None:
    """Raise `UnsupportedOperation`, which names the first operation that differs, if the logits are not the same."""
    weights = {name: Weights(Plain(weight), bias) for name, (weight, bias) in network.weights.items()}
    runner = Runner(Model(network.graph, weights, preparation))
    reference = _evaluator(network, path)
    generator = np.random.default_rng(0)
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (preparation.mean, preparation.std))
    start = time.monotonic()
    for done in range(max(1, IMAGES // network.batch)):
        if done and time.monotonic() - start > SECONDS:
            break
        pixels = generator.integers(0, 256, (network.batch, *network.graph.input_shape))
        images = (pixels.astype(np.float32) - mean) / std
        fed = _tensor(network.image, images).astype(network.input.dtype.numpy())
        try:
            expected = reference.run(None, {network.input.name: fed}, intermediate=True)
        except Exception as error:  # the evaluator lacks old versions of some operators
            _log.warning("%s: not compared with ONNX's reference evaluator, which cannot run it (%s)",
                         path, printable((str(error).splitlines() or [""])[0])[:200])  # fmt: skip
            return
        found = [runner.values(image) for image in images]
        differences = {index: _difference(network, found, index, expected) for index in sorted(network.seen)}
        tolerance = TOLERANCE if expected[network.proto.graph.output[0].name].dtype.itemsize > 2 else HALF_TOLERANCE
        if not differences[max(differences)] <= tolerance:
            first = next(index for index, error in differences.items() if not error <= tolerance)
            raise UnsupportedOperation(
                f"{path}: {network.seen[first].node}: its result differs from that of ONNX's reference evaluator by "
                f"{differences[first]:.2g} of the largest; please report this network"
            )


def _difference(network: OnnxNetwork, found: list[list[FloatArray]], index: int, expected: dict[str, Any]) -> float:
    """The largest difference of a value to its tensor, relative to the largest number of the tensor."""
    seen = network.seen[index]
    tensor = np.asarray(expected[seen.tensor], np.float64)
    value = _tensor(seen.value, np.stack([values[index] for values in found])).astype(np.float64)
    largest = float(np.abs(tensor).max())
    return float(np.abs(value - tensor).max()) / max(largest, 1e-30)


def _tensor(value: Value, held: NDArray[Any]) -> NDArray[Any]:
    """The tensor of the ONNX network whose elements are in `held`."""
    return held.reshape(value.shape) if value.order is None else held.ravel()[value.order]


def _evaluator(network: OnnxNetwork, path: Path) -> Any:
    import onnx
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class BatchNormalization(OpRun):  # type: ignore[misc]
        """The evaluator computes the operator of opsets 7 to 13 as in training; this one does not."""

        op_domain = ""

        def _run(self, x, scale, shift, mean, variance, epsilon=1e-5, **_):  # type: ignore[no-untyped-def]
            wanted = (-1, *[1] * (x.ndim - 2))
            scale, shift, mean, variance = (each.reshape(wanted) for each in (scale, shift, mean, variance))
            return (((x - mean) / np.sqrt(variance + epsilon) * scale + shift).astype(x.dtype),)

    class LRN(OpRun):  # type: ignore[misc]
        """The evaluator normalises only as many channels as there are images; this one normalises all."""

        op_domain = ""

        def _run(self, x, alpha=1e-4, beta=0.75, bias=1.0, size=None):  # type: ignore[no-untyped-def]
            before, after = (size - 1) // 2, size // 2
            squares = np.pad(x * x, ((0, 0), (before, after), (0, 0), (0, 0)))
            summed = sum(squares[:, i : i + x.shape[1]] for i in range(size))
            return ((x / (bias + alpha / size * summed) ** beta).astype(x.dtype),)

    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    onnx.external_data_helper.load_external_data_for_model(proto, str(path.parent))
    kept, needed = [], {proto.graph.output[0].name}
    for node in reversed(proto.graph.node):
        if needed.isdisjoint(node.output):
            continue
        needed.update(node.input)
        replaced = network.rounded.get(node.output[0])
        if isinstance(replaced, np.ndarray):
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(replaced), node.output[0]))
            continue
        if replaced is not None:
            node.op_type = replaced
            del node.input[1:]
            del node.attribute[:]
        if (pads := network.pads.get(node.output[0])) is not None:  # SAME_LOWER of the evaluator is not that of ONNX
            others = [each for each in node.attribute if each.name not in ("auto_pad", "pads")]
            explicit = [onnx.AttributeProto.FromString(each.SerializeToString()) for each in others]
            explicit.append(onnx.helper.make_attribute("pads", pads))
            node.CopyFrom(onnx.helper.make_node(node.op_type, node.input, node.output, node.name))
            node.attribute.extend(explicit)
        kept.append(node.SerializeToString())
    del proto.graph.node[:]
    proto.graph.node.extend(onnx.NodeProto.FromString(data) for data in reversed(kept))
    return ReferenceEvaluator(proto, new_ops=[BatchNormalization, LRN])
