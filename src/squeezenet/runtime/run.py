"""Which runner a model needs.

>>> runner(model)(images).shape                                 # doctest: +SKIP
(8, 1000)
"""

from squeezenet.model import Model
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import Runner


def runner(model: Model, threads: int = 1) -> Runner:
    """What computes exactly what `model` is: in float32, or in whole numbers for an integer network."""
    return IntegerRunner(model, threads) if model.scales else Runner(model, threads)
