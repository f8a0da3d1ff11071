"""Losses and divergences of logits, for both meanings that the outputs of a network can have (`model.Outputs`).

A label is a choice between yes and no. Its probability by sigmoid is that of "yes" by softmax, if "no" has the logit 0
and "yes" has the logit of the label. So one function turns the logits of labels into those of choices, and everything
else is the same for classes and labels.

>>> choices(torch.tensor([[3.0, -1.0]]), "labels").tolist()
[[0.0, 3.0], [0.0, -1.0]]
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from squeezenet.model import Outputs


def choices(logits: Tensor, outputs: Outputs) -> Tensor:
    """The logits of every choice that a network makes, from its logits (N, classes).

    For classes, this is one choice an image: (N, classes). For labels it is one choice a label: (N x labels, 2).
    """
    if outputs == "classes":
        return logits
    return torch.stack([torch.zeros_like(logits), logits], 2).flatten(0, 1)


def divergence(logits: Tensor, target: Tensor, outputs: Outputs) -> Tensor:
    """The Kullback-Leibler divergence of the probabilities of `logits` from those of `target`, in nats per image.

    For labels, the divergences of all labels of an image are added.
    """
    wanted, given = (F.log_softmax(choices(each, outputs), 1) for each in (target, logits))
    loss = F.kl_div(given, wanted, log_target=True, reduction="batchmean")
    return loss * (len(given) / len(logits))


def label_loss(logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
    """Cross-entropy in nats per image. `labels` (N,): the class of each image; for one output, 1 is positive.

    If the network has several labels, the class of an image is the only label that applies to it.
    """
    right = labels
    if outputs == "labels" and logits.shape[1] > 1:
        right = F.one_hot(labels, logits.shape[1]).flatten()
    rows = choices(logits, outputs)
    return F.cross_entropy(rows, right) * (len(rows) / len(logits))


def own_loss(logits: Tensor, outputs: Outputs, random: torch.Generator) -> Tensor:
    """The cross-entropy, summed over the images, for answers that are drawn from the network's own probabilities.

    The mean square of its gradient is the Fisher information.
    """
    rows = choices(logits, outputs)
    drawn = torch.multinomial(rows.detach().softmax(1), 1, generator=random)[:, 0]
    return F.cross_entropy(rows, drawn, reduction="sum")
