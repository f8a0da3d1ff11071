"""The network of a model, ready to run: in the C engine or in NumPy.

>>> runner(model)(images).shape                                 # doctest: +SKIP
(8, 1000)
"""

from dataclasses import replace

from squeezenet import sqz
from squeezenet.errors import ModelError
from squeezenet.model import Model
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import Runner

FASTEST, NUMPY = "fastest", "numpy"


def runner(
    model: Model, threads: int = 1, path: str = FASTEST, data: bytes = b"", paths: tuple[str, ...] = PATHS
) -> EngineRunner | Runner:
    """A function from prepared images (N, channels, height, width) to logits (N, classes).

    `path`: the fastest there is, NumPy, or one of the C engine's `paths`; integer networks give the same logits on
    all. `data`: the bytes of the model's file, if they are at hand. Without them an integer network is encoded once
    more for the engine, which takes a moment; a float network could take minutes, and NumPy is faster.
    """
    if path not in (FASTEST, NUMPY):
        return _in_engine(model, threads, path, data)
    if path == FASTEST and paths and (data or model.scales):
        try:
            return _in_engine(model, threads, "", data)
        except ModelError:  # too empty for a file
            pass
    return IntegerRunner(model, threads) if model.scales else Runner(model, threads)


def _in_engine(model: Model, threads: int, path: str, data: bytes) -> EngineRunner:
    network = EngineRunner(data or sqz.encode(replace(model, labels=(), provenance={})), threads, path)
    network.labels = model.labels
    return network
