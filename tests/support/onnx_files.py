"""ONNX files of a few nodes, and what reading them gives or costs."""

import contextlib
import resource
import time

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from squeezenet.errors import ModelError
from squeezenet.formats import About, from_onnx
from squeezenet.preparation import Preparation
from squeezenet.runtime.run import runner

MEMORY = 200 << 20  # bytes that a refusal may take
SECONDS = 2.0  # of CPU time, likewise
NODE = helper.make_node
X = ["x"]
SMALL = About(Preparation(16, 16, channels="RGB", mean=(127.5,) * 3, std=(127.5,) * 3))


@contextlib.contextmanager
def cheaply():
    """Neither memory nor time."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - start < SECONDS
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MEMORY


def saved(path, nodes, weights=(), image=(1, 3, 16, 16), opset=17, outputs=("y",), kind=TensorProto.FLOAT, **metadata):
    """A file with these nodes, whose input is "x"."""
    graph = helper.make_graph(
        nodes, "network", [helper.make_tensor_value_info("x", kind, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(weights).items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def head(source, channels=3, opset=17, classes=5):
    """Nodes and weights of a global pool and a fully connected layer behind `source`."""
    nodes = [
        helper.make_node("GlobalAveragePool", [source], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["y"], transB=1, name="fc"),
    ]
    numbers = np.random.default_rng(3)
    weight = numbers.standard_normal((classes, channels)).astype(np.float32)
    return nodes, {"fc.weight": weight, "fc.bias": numbers.standard_normal(classes).astype(np.float32)}


def logits_of_onnx(path, images):
    from onnx.reference import ReferenceEvaluator

    found = ReferenceEvaluator(str(path)).run(None, {"x": images})[0]
    return found.reshape(len(found), -1)


def answers_are_the_same(path, about=SMALL):
    """The model that a file becomes, after its logits were compared with the file on another image."""
    model = from_onnx(path, about)
    images = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(runner(model)(images), logits_of_onnx(path, images), 1e-4, 1e-4)
    return model


def refused(path, *words, kind=ModelError, about=SMALL):
    """The file is refused by a message with these words, for next to nothing."""
    with cheaply(), pytest.raises(kind) as caught:
        from_onnx(path, about)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert all(word in message for word in words), message
