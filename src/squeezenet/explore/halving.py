"""Giving up hopeless trials early: successive halving without waiting (Li et al. 2018, 1810.05934).

    >>> rungs(27), rungs(4), rungs(1)
    ([3, 9], [1, 2], [])

At each rung a trial stays if it is among the best third of those that are comparable there: that reached the same epoch
on the same images and cost no more bytes, MACs and RAM. So a small network is never given up for a large one's sake.
Optuna's own pruners know one objective only.
"""

from collections.abc import Sequence
from math import ceil

from squeezenet.explore.latency import working_memory
from squeezenet.explore.ledger import Entry
from squeezenet.explore.trial import Trial, costs

KEPT = 3
"""One in so many goes on."""


def rungs(epochs: float) -> list[int]:
    """The epochs after which trials of `epochs` epochs are compared."""
    found = {ceil(epochs / KEPT**stage) for stage in (1, 2)}
    return sorted(epoch for epoch in found if epoch < epochs)


def is_hopeless(trial: Trial, epoch: int, top1: float, entries: Sequence[Entry]) -> bool:
    """Whether to give up `trial`, which has `top1` after `epoch`, in view of all others."""
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
    """Whether `other` learns as long from the same images, and costs at most as much."""
    alike = [(t.data, t.images, t.judges, t.recipe.epochs) for t in (other, trial)]
    known, mine = costs(other), costs(trial)
    return (
        alike[0] == alike[1]
        and known.macs <= mine.macs
        and other.squeeze.goal(known.parameters) <= trial.squeeze.goal(mine.parameters)
        and (working_memory(other) or 0) <= (working_memory(trial) or 0)
    )
