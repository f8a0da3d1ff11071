"""Layers of low rank in a graph: `fc6` becomes `fc6/down`, with few outputs, and `fc6/up`, with all outputs of `fc6`.

    >>> from squeezenet.graph import Flatten
    >>> graph = Graph((8, 1, 1), (Flatten((0,)), Linear((1,), "fc6", 10)))
    >>> thin = split(graph, {"fc6": 2})
    >>> thin.weight_shapes()
    {'fc6/down': (2, 8), 'fc6/up': (10, 2)}
    >>> joined(thin) == graph
    True

Code that looks for Fire modules or for the papers' names of layers uses the joined graph.
"""

from collections.abc import Mapping
from dataclasses import replace

from squeezenet.fire import paper_names
from squeezenet.graph import Conv, Graph, Layer, Linear, Op

DOWN, UP = "/down", "/up"


def split(graph: Graph, ranks: Mapping[str, int]) -> Graph:
    """The same network with two layers instead of each layer in `ranks`: layer name -> rank (per group).

    The first layer has kernel, stride and groups of the old convolution; the second is a 1x1 convolution.
    """
    ops: list[Op] = []
    moved = [0]
    for old in graph.ops:
        op = replace(old, inputs=tuple(moved[i] for i in old.inputs))
        if isinstance(op, Layer) and op.name in ranks:
            between = ranks[op.name] * (op.groups if isinstance(op, Conv) else 1)
            ops.append(replace(op, name=op.name + DOWN, out=between))
            op = _second(op, (len(ops),))
        ops.append(op)
        moved.append(len(ops))
    return Graph(graph.input_shape, tuple(ops))


def joined(graph: Graph) -> Graph:
    """The network as it was before `split`: each pair of factors is one layer again."""
    pairs = factors(graph)
    ops: list[Op] = []
    moved = [0]
    for old in graph.ops:
        op = replace(old, inputs=tuple(moved[i] for i in old.inputs))
        if old in pairs.values():  # the first factor has become the whole layer
            moved.append(op.inputs[0])
            continue
        if isinstance(old, Layer) and old in pairs:
            op = replace(old, inputs=op.inputs, name=old.name.removesuffix(DOWN), out=pairs[old].out)
        ops.append(op)
        moved.append(len(ops))
    return Graph(graph.input_shape, tuple(ops))


def wholes(graph: Graph) -> dict[str, str]:
    """Name of a factor -> name of the layer it is a factor of."""
    return {op.name: op.name.rpartition("/")[0] for pair in factors(graph).items() for op in pair}


def factors(graph: Graph) -> dict[Layer, Layer]:
    """First factor -> second factor. They have the names that `split` gives, and only the second reads the first."""
    readers: list[list[Op]] = [[] for _ in range(len(graph.ops) + 1)]
    for op in graph.ops:
        for value in op.inputs:
            readers[value].append(op)
    names = {op.name for op in graph.layers}
    found: dict[Layer, Layer] = {}
    for value, first in enumerate(graph.ops, 1):
        if not isinstance(first, Layer) or not first.name.endswith(DOWN) or len(readers[value]) != 1:
            continue
        whole, second = first.name.removesuffix(DOWN), readers[value][0]
        if not isinstance(second, Layer) or whole in names:
            continue
        if second == _second(replace(first, name=whole, out=second.out), (value,)):
            found[first] = second
    return found


def layer_names(graph: Graph) -> dict[str, str]:
    """As `paper_names`; a factor is named after the whole layer, with /down or /up at the end."""
    names, origin = paper_names(joined(graph)), wholes(graph)
    return {
        op.name: names[origin[op.name]] + op.name[len(origin[op.name]) :] if op.name in origin else names[op.name]
        for op in graph.layers
    }


def _second(whole: Layer, inputs: tuple[int, ...]) -> Layer:
    if isinstance(whole, Conv):
        return Conv(inputs, whole.name + UP, whole.out, (1, 1), groups=whole.groups)
    return Linear(inputs, whole.name + UP, whole.out)
