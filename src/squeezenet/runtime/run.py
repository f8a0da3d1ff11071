"""Which runner a model needs.

>>> runner(model)(images).shape                                 # doctest: +SKIP
(8, 1000)
"""

from collections.abc import Callable

from squeezenet.errors import ModelError
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import Runner

Run = Callable[[FloatArray], FloatArray]
"""Prepared images (N, channels, height, width) -> logits (N, classes)."""

FASTEST, NUMPY = "fastest", "numpy"


def runner(model: Model, threads: int = 1, path: str = FASTEST, data: bytes = b"") -> Run:
    """What computes exactly what `model` is: in float32, or in whole numbers for an integer network.

    `path`: the fastest there is, NumPy, or one of the C engine's `PATHS`; integer networks give the same logits on
    all. `data`: the bytes of the model's file, if they are at hand. Without them an integer network is written once
    more for the engine, which takes a moment; one of floats could take minutes, and NumPy is faster.
    """
    if path not in (FASTEST, NUMPY):
        return EngineRunner(model, threads, path, data)
    if path == FASTEST and PATHS and (data or model.scales):
        try:
            return EngineRunner(model, threads, data=data)
        except ModelError:  # too empty for a file
            pass
    return IntegerRunner(model, threads) if model.scales else Runner(model, threads)
