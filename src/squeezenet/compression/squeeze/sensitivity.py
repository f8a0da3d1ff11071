"""How much the answers mind an error in each output of each layer.

    >>> sensitivity_of(network, images)["conv1"].shape                     # doctest: +SKIP
    torch.Size([96])

The Fisher information: for labels drawn from the network's own answers, the expected square of the gradient of their
log-probability. An error of variance v in all positions of channel c then costs v / 2 * sensitivity[c] nats an image
(the second order of the divergence from the answers before).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from squeezenet.graph import Conv, Linear
from squeezenet.models.network import Network

BATCH = 8

SHARED = 0.5
"""Share of the layer's mean in each output's sensitivity: a few images say little about a thousand classes."""


def sensitivity_of(network: Network, images: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Layer name -> (out,): nats per image and per variance. `images` (N, C, H, W) are prepared."""
    random = torch.Generator().manual_seed(seed)
    graph, total = network.graph, {op.name: torch.zeros(op.out, dtype=torch.double) for op in network.graph.layers}
    for batch in images.split(BATCH):
        values: list[Tensor | None] = [batch]
        outputs: dict[str, Tensor] = {}
        last = graph.last_use()
        for index, op in enumerate(graph.ops):
            result = network.apply_op(op, [v for i in op.inputs if (v := values[i]) is not None])
            if isinstance(op, Conv | Linear):
                result = result.detach().requires_grad_() if not result.requires_grad else result
                outputs[op.name] = result
            values.append(result)
            for i in op.inputs:
                if last[i] == index:
                    values[i] = None
        logits = values[-1]
        assert logits is not None
        drawn = torch.multinomial(logits.detach().softmax(1), 1, generator=random)[:, 0]
        gradients = torch.autograd.grad(F.cross_entropy(logits, drawn, reduction="sum"), list(outputs.values()))
        for name, gradient in zip(outputs, gradients, strict=True):
            axes = [0, *range(2, gradient.dim())]
            total[name] += gradient.double().square().sum(axes)
    means = {name: sums / len(images) for name, sums in total.items()}
    return {name: (1 - SHARED) * each + SHARED * each.mean() for name, each in means.items()}
