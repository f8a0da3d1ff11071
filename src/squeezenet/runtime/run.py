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

    `path`: FASTEST, NUMPY, or one of the C engine's `paths`; the logits of an integer network do not depend on it.
    `data`: the bytes of the model's file, if the caller has them. Without them FASTEST encodes an integer network for
    the engine, which is fast, but runs a float network in NumPy, since its encoding could take minutes.
    """
    if path not in (FASTEST, NUMPY):
        return _in_engine(model, threads, path, data)
    if path == FASTEST and paths and (data or model.scales):
        try:
            return _in_engine(model, threads, "", data)
        except ModelError:  # it has too few kept weights for a file
            pass
    return IntegerRunner(model, threads) if model.scales else Runner(model, threads)


def _in_engine(model: Model, threads: int, path: str, data: bytes) -> EngineRunner:
    network = EngineRunner(data or sqz.encode(replace(model, labels=(), provenance={})), threads, path)
    network.labels = model.labels
    return network
