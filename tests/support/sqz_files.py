"""Golden files, and models of one layer, for the tests of `.sqz` files."""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from squeezenet.graph import Flatten, Graph, Linear
from squeezenet.model import Model, Tensor, Weights
from squeezenet.preparation import Preparation
from squeezenet.sqz import graphs
from support import GOLDEN


def golden(name: str, version: int) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a golden file, and what any reader must get from it."""
    path = GOLDEN / f"{name}_v{version}.sqz"
    return path.read_bytes(), json.loads(path.with_suffix(".json").read_text())


TINY, _ = golden("tiny", 1)


def bits(values: np.ndarray) -> list[int]:
    return np.ascontiguousarray(values, np.float32).view(np.uint32).ravel().tolist()


def assert_same(found: Model, model: Model) -> None:
    # As float32, which is what the file holds: the reader gives the shortest decimal of each.
    assert graphs.pack(found.graph, found.preparation) == graphs.pack(model.graph, model.preparation)
    assert [op.name for op in found.graph.layers] == [op.name for op in model.graph.layers]
    assert found.labels == model.labels
    assert found.outputs == model.outputs
    assert found.provenance == model.provenance
    for name, held in model.weights.items():
        weight = found.weights[name].weight
        assert type(weight) is type(held.weight)
        assert weight.nonzero == held.weight.nonzero
        assert bits(weight.values()) == bits(held.weight.values())
        assert bits(found.weights[name].bias) == bits(held.bias)


def one_layer(weight: Tensor, **changes: object) -> Model:
    """One fully connected layer on an image whose pixels are as many as the layer has inputs."""
    out, inside = weight.shape
    side = int(inside**0.5)
    graph = Graph((1, side, side), (Flatten((0,)), Linear((1,), "fc", out)))
    held = {"fc": Weights(weight, np.zeros(out, np.float32))}
    return replace(Model(graph, held, Preparation(side, side, "stretch", "L", (0,), (1,))), **changes)
