"""Compares what enters with what it became, on a few images: a network that answers otherwise is refused."""

import torch
from torch import Tensor

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import Graph
from squeezenet.importing.draft import Arrays, Draft, Ending
from squeezenet.models.network import LayerWeight, Network

TOLERANCE = 1e-3
"""Largest difference of two logits, relative to the largest logit. Different order of sums gives about 1e-6."""


class _Fixed(LayerWeight):
    """A weight that is not copied."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self) -> Tensor:
        return self.values


def finite(arrays: Arrays) -> None:
    """Raise `UnsupportedOperation` if a weight is not a finite number."""
    for name, (weight, bias) in arrays.items():
        if not (torch.from_numpy(weight).isfinite().all() and torch.from_numpy(bias).isfinite().all()):
            raise UnsupportedOperation(f"{name}: a weight is not a finite number")


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number that is expected."""
    largest = float(expected.abs().max())
    return float((found - expected).abs().max()) / max(largest, 1e-30)


def compute(graph: Graph, arrays: Arrays, images: Tensor) -> list[Tensor]:
    """All values of a graph, the images first."""
    weights = {name: _Fixed(torch.from_numpy(weight)) for name, (weight, _) in arrays.items()}
    network = Network(graph, weights, {name: torch.from_numpy(bias) for name, (_, bias) in arrays.items()})
    with torch.no_grad():
        return [images, *(value for _, _, value in network.run(images))]


def same(graph: Graph, arrays: Arrays, images: Tensor, expected: Tensor, ending: Ending) -> bool:
    """Whether a graph has the logits that are expected, with `ending` behind them."""
    logits = compute(graph, arrays, images)[-1]
    if ending == "sigmoid":
        logits = logits.sigmoid()
    elif ending:
        logits = logits.softmax(1) if ending == "softmax" else logits.log_softmax(1)
    return error(logits, expected) <= TOLERANCE


def first_difference(draft: Draft, graph: Graph, arrays: Arrays, images: Tensor, seen: dict[int, Tensor]) -> str:
    """Where the first operation stands whose result is not the tensor that was `seen` for this value of the draft."""
    for number, value in zip((0, *draft.ops), compute(graph, arrays, images), strict=True):
        meant = draft.meanings.get(number, number)
        tensor = seen.get(meant)
        if tensor is None or tensor.numel() != value.numel():
            continue
        if not error(value.reshape(tensor.shape), tensor) <= TOLERANCE:
            return draft.origins.get(meant, "")
    return ""
