"""Puts one node of a test case of ONNX into a classifier of images, in the ways that such a network can hold it."""

from collections.abc import Iterator
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from squeezenet.importing.onnx.read import OnnxNetwork
from squeezenet.model import Plain, Weights
from squeezenet.preparation import Preparation
from squeezenet.runtime.reference import Runner

MOST = 12_000
"""Outputs of a classifier; its last layer has as many weights as their square."""

SEVERAL = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Pow", "Concat", "MatMul", "Gemm")
"""Operators whose further inputs may be values of the network."""


LAST = (0, 2, 3, 1)
"""The order of axes that puts the channels last."""


def images_of(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The shapes of images that hold an array of `shape`, and the order of axes in which they hold it."""
    usual = (0, 1, 2, 3)
    match len(shape):
        case 4:
            yield shape, usual
            yield (shape[0], shape[3], shape[1], shape[2]), LAST
        case 3:
            yield (1, *shape), usual
            yield (1, shape[2], shape[0], shape[1]), LAST
        case 2:
            yield (*shape, 1, 1), usual
            yield (1, *shape, 1), usual
    yield (1, prod(shape), 1, 1), usual  # each element is a channel


def classifiers(model: ModelProto, inputs: list[Any], outputs: list[Any]) -> Iterator[tuple[bytes, Any, Any]]:
    """Files with the node in it, the images, and what the outputs of the classifier should be."""
    (node,) = model.graph.node
    names = [value.name for value in model.graph.input]
    arrays = dict(zip(names, inputs, strict=False))
    x = arrays[node.input[0]]
    alike = [name for name in node.input if name and np.shape(arrays[name]) == np.shape(x)]
    values = [[node.input[0]]]
    if node.op_type in SEVERAL and len(node.input) > 1:
        values.append(alike if len(alike) > 1 else [node.input[1]])
    for data in values:
        for shape, order in images_of(np.shape(arrays[data[0]])):
            for index, expected in enumerate(outputs):
                held = min(shape) and 0 < expected.size < MOST and not expected.size % shape[0]
                if held and (index == 0 or node.op_type == "Split"):
                    yield _file(model, arrays, data, shape, order, index, expected)


def _file(
    model: ModelProto,
    arrays: dict[str, Any],
    data: list[str],
    shape: tuple[int, ...],
    order: tuple[int, ...],
    index: int,
    expected: Any,
) -> tuple[bytes, Any, Any]:
    """One file: image -> split and reshape -> the node -> a product with the identity."""
    (node,) = model.graph.node
    n, c, h, w = shape
    constants = {name: array for name, array in arrays.items() if name not in data and name in node.input}
    nodes = []
    parts = [f"part{i}" for i in range(len(data))]
    if len(data) > 1:
        constants["sizes"] = np.full(len(data), c, np.int64)
        nodes.append(helper.make_node("Split", ["image", "sizes"], parts, axis=1))
    else:
        parts = ["image"]
    for name, part in zip(data, parts, strict=True):
        constants[f"{name}_shape"] = np.array(np.shape(arrays[name]), np.int64)
        nodes.append(helper.make_node("Transpose", [part], [f"{part}_turned"], perm=order))
        nodes.append(helper.make_node("Reshape", [f"{part}_turned", f"{name}_shape"], [name]))
    nodes.append(node)
    count = expected.size // n
    constants["row"] = np.array([n, count], np.int64)
    nodes.append(helper.make_node("Reshape", [node.output[index], "row"], ["rows"]))
    last = "rows"
    if "oftmax" not in node.op_type:
        constants["identity"] = np.eye(count, dtype=np.float32)
        nodes.append(helper.make_node("MatMul", ["rows", "identity"], ["logits"]))
        last = "logits"
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    old = opset < 13
    if old and len(data) > 1:
        nodes[0] = helper.make_node("Split", ["image"], parts, axis=1, split=[c] * len(data))
    graph = helper.make_graph(
        nodes, "case",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (n, c * len(data), h, w))],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, (n, count))],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    turned = tuple(shape[axis] for axis in order)
    back = tuple(np.argsort(order))
    images = np.concatenate([np.asarray(arrays[name], np.float32).reshape(turned).transpose(back) for name in data], 1)
    return file.SerializeToString(), images, np.asarray(expected).reshape(n, count)


def answers(network: OnnxNetwork, images: Any) -> Any:
    """The logits of a network that was read, whatever the size of its images, which are as the ONNX file reads them."""
    held = np.empty(images.size, np.float32)
    held[np.arange(images.size).reshape(images.shape) if network.image.order is None else network.image.order] = images
    images = held.reshape(-1, *network.graph.input_shape)
    weights = {name: Weights(Plain(weight), bias) for name, (weight, bias) in network.weights.items()}
    held = SimpleNamespace(
        graph=network.graph, weights=weights, labels=(), preparation=Preparation(1, 1), outputs="classes"
    )
    return Runner(held)(images)
