"""Learning from the output of every layer of the float network, not from its logits alone.

    >>> feature_loss(student, mine, theirs, {"conv1": 0.002})               # doctest: +SKIP

Source: FitNets (Romero et al. 2015, 1412.6550). A thousand images have a thousand labels, but millions of activations.
`importance` of a layer is the second derivative of the loss with respect to its output (`hessian`), in nats per
image; so an error in any layer costs about `0.5 * importance * error**2` nats, and the costs of layers can be added.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from squeezenet.compression.squeeze.network import IntegerNetwork
from squeezenet.graph import Layer


def feature_loss(
    student: IntegerNetwork, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], importance: Mapping[str, float]
) -> Tensor:
    """The mean over layers of `0.5 * importance * error**2`, in nats per image.

    `mine` are the student's layer outputs (N, out, ...), in steps of their scales; `theirs` are those of the float
    network, clamped to the range that the scale can express. `importance` holds `LayerHessian.importance`.
    """
    losses = []
    for op, scale in zip(student.graph.ops, student.scales[1:], strict=True):
        if isinstance(op, Layer):
            wanted = theirs[op.name].float()
            wanted = wanted.clamp(scale.low * scale.step, scale.high * scale.step)
            error = mine[op.name].float() * scale.step - wanted
            losses.append(importance[op.name] / 2 * error.square().sum(1).mean())
    return torch.stack(losses).mean()
