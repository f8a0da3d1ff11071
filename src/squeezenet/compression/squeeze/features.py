"""Learning from what every layer of the float network gives, not from its answers alone (FitNets: Romero et al. 2015,
1412.6550).

>>> feature_loss(student, mine, given, {"conv1": 0.002})               # doctest: +SKIP

A thousand images have a thousand answers, but millions of activations. Errors of all layers count in one currency: the
divergence that they cause by the second order (`curvature`), in nats.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from squeezenet.compression.squeeze.network import IntegerNetwork
from squeezenet.graph import Layer


def feature_loss(
    student: IntegerNetwork, mine: Mapping[str, Tensor], given: Mapping[str, Tensor], importance: Mapping[str, float]
) -> Tensor:
    """The divergence, mean over layers, that errors of their outputs stand for.

    `mine` are the student's outputs (N, out, ...), in steps, `given` the float network's; `importance` is a layer's
    `Curvature.importance`. What no level can hold is cut off the float network's, as it is the student's.
    """
    losses = []
    for op, scale in zip(student.graph.ops, student.scales[1:], strict=True):
        if isinstance(op, Layer):
            wanted = given[op.name].float()
            wanted = wanted.clamp(scale.low * scale.step, scale.high * scale.step)
            error = mine[op.name].float() * scale.step - wanted
            losses.append(importance[op.name] / 2 * error.square().sum(1).mean())
    return torch.stack(losses).mean()
