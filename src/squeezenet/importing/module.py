"""A PyTorch module -> a graph and its weights.

    >>> graph, weights = trace(create_model("squeezenet1_0"), (3, 227, 227))    # doctest: +SKIP

The module runs once, and every operation that PyTorch computes is translated (`recording`, `pytorch`). Then the graph
is written in fewer operations (`rewrites`), and its logits are compared with those of the module (`checking`).
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import Graph
from squeezenet.importing import checking
from squeezenet.importing.builder import Builder
from squeezenet.importing.draft import Arrays, Ending
from squeezenet.importing.pytorch.operations import translate
from squeezenet.importing.recording import Recording, only_tensor
from squeezenet.importing.rewrites import rewrite

BATCH = 2
"""Images for each comparison. With one, a result that mixes the images of a batch would not be noticed."""

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)


@dataclass(frozen=True)
class Imported:
    """A network that was imported. `ending` is the softmax or sigmoid after the logits, which the graph leaves out."""

    graph: Graph
    weights: Arrays
    ending: Ending


def trace(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[Graph, Arrays]:
    """The graph of a classifier that reads (N, *input_shape), and float32 weights by layer name.

    Names of layers are the paths of their modules. Raises `UnsupportedOperation`, which names the operation.
    """
    imported = import_module(module, input_shape)
    return imported.graph, imported.weights


def import_module(module: nn.Module, input_shape: tuple[int, ...]) -> Imported:
    """A classifier that reads (N, *input_shape). Raises `UnsupportedOperation`, which names the operation."""
    with _ready(module) as ready:
        return _imported(ready, input_shape)


def _imported(module: nn.Module, input_shape: tuple[int, ...]) -> Imported:
    generator = torch.Generator().manual_seed(0)
    images, others = torch.randn(2, BATCH, *input_shape, generator=generator)
    builder = Builder(input_shape, BATCH)
    recording = Recording(module, builder, translate)
    logits, expected = recording.run(images.clone())  # a module may change its images
    builder.finish(logits)
    ending = rewrite(builder.draft)
    graph, arrays = builder.draft.graph(), builder.draft.arrays()
    checking.finite(arrays)
    with torch.no_grad():
        further = only_tensor(module(others.clone()))
    for x, y in ((images, expected), (others, further)):
        error = checking.error(checking.compute(graph, arrays, x, ending), y)
        if not error <= checking.TOLERANCE and not error <= checking.NOISE * checking.rounding(module, x, y):
            raise UnsupportedOperation(_difference(module, input_shape, images, graph, arrays, builder))
    return Imported(graph, arrays, ending)


def _difference(
    module: nn.Module, input_shape: tuple[int, ...], images: Tensor, graph: Graph, arrays: Arrays, builder: Builder
) -> str:
    """The message for a graph whose logits are not those of the module."""
    again = Recording(module, Builder(input_shape, BATCH), translate, keep=True)
    again.run(images.clone())
    where = checking.first_difference(builder.draft, graph, arrays, images, again.seen)
    return f"the graph gives other logits than the module; they differ first after {where or 'the last operation'}"


@contextmanager
def _ready(module: nn.Module) -> Iterator[nn.Module]:
    """Inside: the module without wrappers, in evaluation mode, as float32 on the CPU. Afterwards it is as before."""
    while (inner := _wrapped(module)) is not None:
        module = inner
    tensors = [*module.parameters(), *module.buffers()]
    if any(tensor.is_meta for tensor in tensors):
        raise UnsupportedOperation("the weights have no values (they are on the device meta)")
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    if any(tensor.dtype != torch.float32 for tensor in floating) or any(t.device.type != "cpu" for t in tensors):
        module = copy.deepcopy(module).float().cpu()
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the module, whose author has seen them
            yield module
    finally:
        for each, training in modes:
            each.training = training


def _wrapped(module: nn.Module) -> nn.Module | None:
    """The network inside DataParallel, DistributedDataParallel, an average of weights or a compiled module."""
    wraps = isinstance(module, WRAPPERS)
    inner = module.module if wraps else getattr(module, "_orig_mod", None)  # which torch.compile gives a module
    return inner if isinstance(inner, nn.Module) else None
