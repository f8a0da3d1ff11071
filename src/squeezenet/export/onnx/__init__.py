"""Models as ONNX files: `--to onnx`, `onnx-qdq`, `onnx-exact` and `qonnx` (docs/adr/0028-onnx.md, 0036-mixed.md).

>>> from squeezenet.export.onnx import encode
>>> data = encode(model, "onnx")                                # doctest: +SKIP

The input of the network is `image`: prepared images, float32 (N, channels, height, width). The output is `logits`,
float32 (N, classes). The metadata of the file are strings in JSON:

| key | what it holds |
|-|-|
| labels | a list of the names of the classes; empty if the model has none |
| outputs | `classes`: one of the classes is right; `labels`: each output is a yes or no of its own |
| preparation | how an image becomes the input, as `inspect --json` prints it |
| provenance | how the model was made |
| squeezenet | the version of squeezenet that wrote the file |
| target | `onnx`, `onnx-qdq`, `onnx-exact` or `qonnx` |
"""

import json

import numpy as np
import onnx_ir as ir

from squeezenet.errors import UnsupportedOperation
from squeezenet.export.onnx.exact import exact_network
from squeezenet.export.onnx.floats import float_network
from squeezenet.export.onnx.mixed import mixed_network
from squeezenet.export.onnx.nodes import Nodes
from squeezenet.export.onnx.qdq import qdq_network
from squeezenet.export.onnx.qonnx import qonnx_network
from squeezenet.export.targets import TARGETS
from squeezenet.model import Model
from squeezenet.version import __version__

OPSET = 20
"""The version of ONNX's operators; docs/adr/0028-onnx.md says why it is this one."""

IR_VERSION = 9
"""The version of the file format that came with this opset."""


def encode(model: Model, target: str) -> bytes:
    """The bytes of an ONNX file. Raises `UnsupportedOperation` if the target cannot take the model."""
    if reason := TARGETS[target](model):
        raise UnsupportedOperation(reason)
    nodes = Nodes(np.int64 if target == "onnx-exact" else np.float64)
    image = nodes.given("image", np.float32, model.graph.input_shape)
    integers = {
        "onnx": mixed_network, "onnx-qdq": qdq_network, "onnx-exact": exact_network, "qonnx": qonnx_network,
    }  # fmt: skip
    network = integers[target] if model.scales else float_network
    result = network(nodes, model, image)
    logits = nodes.given("logits", np.float32, (model.graph.classes,))
    nodes.nodes.append(ir.node("Identity", [result], outputs=[logits], name="logits"))
    domains = {node.domain: 1 for node in nodes.nodes} | {"": OPSET}
    graph = ir.Graph(
        [image], [logits], nodes=nodes.nodes, initializers=list(nodes.constants.values()),
        opset_imports=domains, name="classifier",
    )  # fmt: skip
    about = {
        "labels": list(model.labels),
        "outputs": model.outputs,
        "preparation": model.preparation.to_dict(),
        "provenance": dict(model.provenance),
        "squeezenet": __version__,
        "target": target,
    }
    file = ir.Model(
        graph, ir_version=IR_VERSION, producer_name="squeezenet", producer_version=__version__,
        metadata_props={key: json.dumps(value) for key, value in about.items()},
    )  # fmt: skip
    data: bytes = ir.to_proto(file).SerializeToString(deterministic=True)
    return data
