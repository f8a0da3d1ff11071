"""Which activations get nine bits instead of eight: those whose rounding costs much and whose readers compute little.

    >>> scales = with_nine_bits(network.graph, scales, hessians)           # doctest: +SKIP

A 9-bit activation has half the step of an 8-bit one over the same range, so a quarter of its squared rounding error.
The file does not grow, but the layers that read the activation take twice the time
(docs/adr/0019-nine-bit-activations.md).
"""

from collections.abc import Mapping
from dataclasses import replace

from squeezenet.compression.squeeze.hessian import LayerHessian
from squeezenet.compression.squeeze.ranges import shared_scales, wide_values
from squeezenet.fixed_point import EIGHTHS, Scale
from squeezenet.graph import Graph, Layer
from squeezenet.integer_graph import keeps_nine_bits, takes_nine_bits

WORTH = 3.0  # least ratio of an activation's share of the rounding loss to its readers' share of the MACs


def with_nine_bits(
    graph: Graph, scales: tuple[Scale, ...], hessians: Mapping[str, LayerHessian], worth: float = WORTH
) -> tuple[Scale, ...]:
    """`scales` with half the step where that is worth its time: loss share > `worth` * share of the MACs."""
    # Rounding to steps of s is an error of variance s^2 / 12, and an error of variance v costs 0.5 * trace * v.
    lost = {value: hessians[op.name].trace / 24 * scales[value].step ** 2
            for value, op in enumerate(graph.ops, 1) if isinstance(op, Layer) and not scales[value].wide}  # fmt: skip
    macs = graph.macs()
    chosen: set[int] = set()
    for group in shared_scales(graph, wide_values(graph)):
        readers = [i for i, op in enumerate(graph.ops, 1) if i not in group and not set(group).isdisjoint(op.inputs)]
        share = sum(lost.get(i, 0.0) for i in group) / max(sum(lost.values()), 1e-30)
        work = sum(macs[i - 1] for i in readers) / sum(macs)
        if _possible(graph, scales, group, readers) and share > worth * work:
            chosen.update(group)
    return tuple(
        replace(scale, exponent=scale.exponent - EIGHTHS, nine_bit=True) if i in chosen else scale
        for i, scale in enumerate(scales)
    )


def _possible(graph: Graph, scales: tuple[Scale, ...], group: list[int], readers: list[int]) -> bool:
    """Whether the format allows nine bits for `group` (`integer_graph`): not for the image, nor for logits."""
    makers = [graph.ops[i - 1] for i in group if i]
    made = 0 not in group and all(takes_nine_bits(op) or keeps_nine_bits(op) for op in makers)
    read = bool(readers) and all(takes_nine_bits(graph.ops[i - 1]) for i in readers)
    return made and read and scales[group[0]].zero == 0
