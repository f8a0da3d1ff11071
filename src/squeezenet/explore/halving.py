"""Stops poor trials early: asynchronous successive halving (Li et al. 2018, arXiv 1810.05934).

    >>> rungs(27), rungs(4), rungs(1)
    ([3, 9], [1, 2], [])

A rung is an epoch after which trials are compared. A trial continues if it is in the best third of comparable trials:
those with the same images and epochs that need no more bytes, MACs and RAM. So a large network never stops a small one.
Optuna's own pruners support one objective only.
"""

from collections.abc import Sequence
from math import ceil

from squeezenet.explore.latency import working_memory
from squeezenet.explore.ledger import Entry
from squeezenet.explore.trial import Trial, costs

KEPT = 3
"""At each rung, one in `KEPT` trials continues."""


def rungs(epochs: float) -> list[int]:
    """The epochs after which trials of `epochs` epochs are compared."""
    found = {ceil(epochs / KEPT**stage) for stage in (1, 2)}
    return sorted(epoch for epoch in found if epoch < epochs)


def is_hopeless(trial: Trial, epoch: int, top1: float, entries: Sequence[Entry]) -> bool:
    """Whether to stop `trial`, which has accuracy `top1` after `epoch`. `entries` are the trials to compare it with."""
    if epoch not in rungs(trial.recipe.epochs):
        return False
    rivals = [
        entry.rungs[epoch]
        for entry in entries
        if entry.name != trial.name and epoch in entry.rungs and _comparable(Trial.from_dict(entry.trial), trial)
    ]
    better = sum(rival > top1 for rival in rivals)
    return len(rivals) + 1 >= KEPT and better >= (len(rivals) + 1) / KEPT


def _comparable(other: Trial, trial: Trial) -> bool:
    """Whether `other` has the same images and epochs as `trial`, and needs no more MACs, bytes and RAM."""
    alike = [(t.data, t.images, t.judges, t.recipe.epochs) for t in (other, trial)]
    known, mine = costs(other), costs(trial)
    return (
        alike[0] == alike[1]
        and known.macs <= mine.macs
        and other.squeeze.goal(known.parameters) <= trial.squeeze.goal(mine.parameters)
        and (working_memory(other) or 0) <= (working_memory(trial) or 0)
    )
