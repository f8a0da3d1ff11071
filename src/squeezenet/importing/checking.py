"""Compares a network with its graph on a few images. If their logits differ, the network is refused."""

import copy

import torch
from torch import Tensor, nn

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import Graph
from squeezenet.importing.draft import Arrays, Draft, Ending
from squeezenet.importing.recording import only_tensor
from squeezenet.models.network import LayerWeight, Network

TOLERANCE = 1e-3
"""Largest difference of two logits, relative to the largest logit. Different order of sums gives about 1e-6."""

NOISE = 30
"""How many times the rounding errors of the module the difference may be: some networks make small errors large."""


class _Fixed(LayerWeight):
    """A weight that PyTorch may use but not copy."""

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
    """The largest difference, divided by the largest expected magnitude."""
    largest = float(expected.abs().max())
    return float((found - expected).abs().max()) / max(largest, 1e-9)


def compute(graph: Graph, arrays: Arrays, images: Tensor, ending: Ending = "") -> Tensor:
    """The logits of a graph, or what the softmax or sigmoid in `ending` makes of them."""
    with torch.no_grad():
        logits: Tensor = _network(graph, arrays)(images)
    if ending == "sigmoid":
        return logits.sigmoid()
    return logits.softmax(1) if ending == "softmax" else logits.log_softmax(1) if ending else logits


def rounding(module: nn.Module, images: Tensor, expected: Tensor) -> float:
    """The error of a module's float32 results, measured against its results in float64."""
    try:
        with torch.no_grad():
            exact = only_tensor(copy.deepcopy(module).double()(images.double()))
    except (RuntimeError, TypeError, ValueError):  # modules may insist on float32
        return 0.0
    return error(expected.double(), exact)


def _network(graph: Graph, arrays: Arrays) -> Network:
    weights = {name: _Fixed(torch.from_numpy(weight)) for name, (weight, _) in arrays.items()}
    return Network(graph, weights, {name: torch.from_numpy(bias) for name, (_, bias) in arrays.items()})


def first_difference(draft: Draft, graph: Graph, arrays: Arrays, images: Tensor, seen: dict[int, Tensor]) -> str:
    """Where the first operation is whose result differs from the tensor that was `seen` for its value."""
    with torch.no_grad():
        values = [value for _, _, value in _network(graph, arrays).run(images)]
    for number, value in zip(draft.ops, values, strict=True):
        meant = draft.meanings.get(number, number)
        tensor = seen.get(meant)
        if tensor is None or tensor.numel() != value.numel():
            continue
        if not error(value.reshape(tensor.shape), tensor) <= TOLERANCE:
            return draft.origins.get(meant, "")
    return ""
