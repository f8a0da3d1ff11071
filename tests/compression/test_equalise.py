"""Rescaled channels: they are undone, the logits stay the same, and the squeezed network is as good as without."""

import numpy as np
import pytest
import torch

from squeezenet.compression import CompressionRecipe, compress
from squeezenet.compression.squeeze.equalise import equalise
from squeezenet.data import Pixels
from squeezenet.graph import (
    Activation,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    ReLU,
    Select,
)
from squeezenet.model import Model, Plain, Weights
from squeezenet.models.network import Network, from_model
from squeezenet.preparation import Preparation
from squeezenet.runtime.run import runner

SIDE = 12
GRAPH = Graph(
    (3, SIDE, SIDE),
    (
        Conv((0,), "stem", 8, (3, 3), padding=(1, 1)),
        ReLU((1,)),
        Conv((2,), "depthwise", 8, (3, 3), padding=(1, 1), groups=8),
        Activation((3,), "leaky_relu", 0.1),
        MaxPool((4,), (2, 2), (2, 2)),
        Select((5,), 0, (2, 4), (1, 2)),  # shuffled
        Conv((6,), "left", 8, (1, 1), groups=2),
        Conv((6,), "right", 8, (1, 1)),
        Add((7, 8)),
        ReLU((9,)),
        Concat((10, 6)),
        Conv((11,), "capped", 8, (1, 1)),
        ReLU((12,), 6.0),
        AvgPool((13,), (2, 2), (2, 2)),
        Flatten((14,)),
        Linear((15,), "hidden", 8),
        ReLU((16,)),
        Linear((17,), "last", 5),
    ),
)  # fmt: skip
PREPARATION = Preparation(SIDE, SIDE, "stretch", "RGB", (120.0,) * 3, (60.0,) * 3)


def weights(graph: Graph, seed: int = 0) -> dict[str, Weights]:
    random = np.random.default_rng(seed)
    found = {}
    for name, shape in graph.weight_shapes().items():
        values = random.normal(0, 1.5 / np.sqrt(np.prod(shape[1:])), shape)
        found[name] = Weights(Plain(values.astype(np.float32)), random.normal(0, 0.1, shape[0]).astype(np.float32))
    return found


def scaled(
    held: dict[str, Weights], name: str, rows: np.ndarray | float = 1.0, columns: np.ndarray | float = 1.0
) -> None:
    """Divide a layer's outputs by `rows`, and multiply the weights of its inputs by `columns`, in place."""
    values, bias = held[name].weight.values(), held[name].bias
    ones = (1,) * (values.ndim - 2)
    by_row = np.broadcast_to(np.asarray(rows), len(values)).reshape(-1, 1, *ones)
    by_column = np.broadcast_to(np.asarray(columns), (1, values.shape[1])).reshape(1, -1, *ones)
    changed = (values * by_column / by_row).astype(np.float32)
    held[name] = Weights(Plain(changed), (bias / by_row.flatten()).astype(np.float32))


@pytest.fixture
def pixels() -> Pixels:
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (64, 3, 3, 3)).repeat(4, 2).repeat(4, 3)
    images = np.clip(coarse + random.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)
    return Pixels(images, None, np.arange(64))


@pytest.fixture
def images(pixels: Pixels) -> torch.Tensor:
    return (torch.from_numpy(pixels.images).float() - 120) / 60


def network_of(held: dict[str, Weights], graph: Graph = GRAPH) -> Network:
    return from_model(Model(graph, held, PREPARATION)).eval()


S = 10.0 ** np.array([-2, 1.5, 0, 0, 0, 0, -1.5, 2])


@pytest.mark.parametrize(
    "changes",
    [
        [("stem", S, 1.0), ("depthwise", 1.0, S)],
        [("left", S, 1.0), ("right", S, 1.0), ("capped", 1.0, np.concatenate([S, np.ones(8)]))],
        [("hidden", S, 1.0), ("last", 1.0, S)],
    ],
    ids=["depthwise", "sum", "linear"],
)
def test_rescaled_channels_are_undone_and_the_logits_stay(changes: list, images: torch.Tensor) -> None:
    held = weights(GRAPH)
    for name, rows, columns in changes:
        if name == "depthwise":  # one weight kernel for each channel
            held[name] = Weights(
                Plain((held[name].weight.values() * S[:, None, None, None]).astype(np.float32)), held[name].bias
            )
        else:
            scaled(held, name, rows, columns)
    network = network_of(held)
    with torch.no_grad():
        before = network(images)
        assert equalise(network, images)
        assert torch.allclose(network(images), before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))
    plain, name = weights(GRAPH), changes[0][0]
    found = network.weight(name)().detach().flatten(1).norm(dim=1) / torch.from_numpy(
        plain[name].weight.values()
    ).flatten(1).norm(dim=1)
    assert found.max() < 16
    assert found.min() > 1 / 16


def test_an_ordinary_network_is_not_touched(images: torch.Tensor) -> None:
    held = weights(GRAPH)
    network = network_of(held)
    kept = {op.name: network.weight(op.name) for op in GRAPH.layers}
    assert not equalise(network, images)
    assert all(network.weight(name) is weight for name, weight in kept.items())


def test_what_a_product_or_a_cap_reads_keeps_its_size(images: torch.Tensor) -> None:
    graph = Graph(
        (3, SIDE, SIDE),
        (
            Conv((0,), "a", 8, (3, 3)),
            ReLU((1,), 6.0),
            Multiply((2, 2)),
            Conv((3,), "b", 5, (1, 1)),
            GlobalAvgPool((4,)),
            Flatten((5,)),
        ),
    )
    held = weights(graph)
    scaled(held, "a", S)
    scaled(held, "b", 1.0, S**2)
    network = network_of(held, graph)
    kept = network.weight("a")
    equalise(network, images)
    assert network.weight("a") is kept


def test_weights_that_read_only_zeros_become_zeros(images: torch.Tensor) -> None:
    held = weights(GRAPH)
    values, bias = held["hidden"].weight.values().copy(), held["hidden"].bias.copy()
    values[3], bias[3] = 0, -1
    held["hidden"] = Weights(Plain(values), bias)
    scaled(held, "last", 1.0, np.where(np.arange(8) == 3, 1000.0, 1.0))
    network = network_of(held)
    with torch.no_grad():
        before = network(images)
        equalise(network, images)
        assert torch.equal(network(images), before)
    assert not network.weight("last")()[:, 3].any()


def test_rescaled_channels_do_not_matter(pixels: Pixels, images: torch.Tensor) -> None:
    """Without equalisation the error of the rescaled network is ten times that of the plain one."""
    plain, harmed = weights(GRAPH), weights(GRAPH)
    scaled(harmed, "hidden", S)
    scaled(harmed, "last", 1.0, S)
    errors = []
    for held in (plain, harmed):
        model = Model(GRAPH, held, PREPARATION)
        made = compress(model, pixels, CompressionRecipe(max_bytes=700 + model.float32_bytes // 4))
        exact, found = runner(model)(images.numpy()), runner(made.model)(images.numpy())
        errors.append(float(np.abs(exact - found).mean()))
    assert errors[1] < 1.5 * errors[0]
