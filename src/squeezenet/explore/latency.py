"""Milliseconds and bytes of RAM for one image in the C engine: of a file, or of a network that is yet to be trained.

    >>> latency(Path("squeezed.sqz").read_bytes(), macs=51_527_680)                       # doctest: +SKIP
    Latency(ms=0.473, on='AMD EPYC, avx512vnni')

What an integer network takes hardly depends on its weights, so random ones tell what to expect before anything is
trained. (Squeezed very hard, the steps of some layers become too coarse for the engine's vectors, and it takes longer:
what is measured in the end is recorded.) Where the engine was not built, MACs give an estimate that says so. Preparing
the image is not counted.
"""

import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

import numpy as np

from squeezenet import sqz
from squeezenet.explore.trial import NETWORK, Trial, network_costs
from squeezenet.fixed_point import Scale
from squeezenet.graph import Graph
from squeezenet.model import FloatArray, Grid, Model, Weights
from squeezenet.models import Metaparameters, create_seeded
from squeezenet.models.trace import trace
from squeezenet.preparation import Channels, Preparation
from squeezenet.runtime.engine import PATHS, EngineRunner

RAM_PATH = "scalar"
"""The engine's path whose memory counts as RAM: the portable one, so that every machine gives the same figure."""

WARM_UP = 5  # runs that do not count,
RUNS = 15  # runs whose median does,
ROUNDS = 4  # and of so many medians the least: other work on the machine only ever makes it longer
SECONDS = 0.5  # after which a round stops, however few it has

USUAL_RATE = 50e6
"""MACs a millisecond for the estimate: about what small networks reach on one x86 core with AVX2."""

ESTIMATE = "estimated from MACs, not measured"

LEVELS = 3  # of random weights: -3 to 3
DROP = 40  # eighths of an octave that a sum loses; any that the format allows would do


@dataclass(frozen=True)
class Latency:
    """Milliseconds, and on what: the processor and the path of the engine, or `ESTIMATE`."""

    ms: float
    on: str

    def to_row(self) -> dict[str, float | str]:
        """As results have it."""
        return {"latency_ms": self.ms, "latency_on": self.on}


def latency(data: bytes, macs: int, paths: tuple[str, ...] = PATHS) -> Latency:
    """Of the network whose file is `data`: the median of some runs on this machine; without `paths`, an estimate."""
    if not paths:
        return Latency(round(macs / USUAL_RATE, 4), ESTIMATE)
    runner = EngineRunner(data)
    image: FloatArray = np.zeros((1, *runner.shape), np.float32)
    for _ in range(WARM_UP):
        runner(image)
    least = min(_round(runner, image) for _ in range(ROUNDS))
    return Latency(round(1000 * least, 4), f"{processor()}, {runner.path}")


def expected_latency(trial: Trial) -> Latency:
    """What the trial's integer network is expected to take on this machine. Raises `UsageError` as `costs` does."""
    return _of_shape(trial.network, trial.image_size)


def working_memory(trial: Trial, paths: tuple[str, ...] = PATHS) -> int | None:
    """Bytes of RAM that the engine needs to run the trial's integer network on one image, beside weights and code.

    They depend on the shape alone: activations that are alive at once, of 8 bits each, and scratch memory. None where
    the engine was not built.
    """
    return _memory_of_shape(trial.network, trial.image_size) if paths else None


def untrained(network: Metaparameters, side: int) -> Model:
    """An integer network of that shape with random levels; its answers mean nothing."""
    graph, _ = trace(create_seeded(NETWORK, 0, **asdict(network)).eval(), (network.in_channels, side, side))
    random = np.random.default_rng(0)
    weights = {}
    for name, shape in graph.weight_shapes().items():
        levels = random.integers(-LEVELS, LEVELS + 1, shape).astype(np.int16)
        weights[name] = Weights(Grid(levels, np.full(shape[0], -DROP, np.int16)), np.zeros(shape[0], np.float32))
    return Model(graph, weights, _preparation(graph), scales=(Scale(0),) * (len(graph.ops) + 1))


def processor() -> str:
    """The name of this machine's processor."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def _round(runner: EngineRunner, image: FloatArray) -> float:
    """Seconds: the median of some runs."""
    taken: list[float] = []
    while len(taken) < RUNS and sum(taken) < SECONDS:
        start = time.perf_counter()
        runner(image)
        taken.append(time.perf_counter() - start)
    return median(taken)


@lru_cache(maxsize=1024)
def _of_shape(network: Metaparameters, side: int) -> Latency:
    macs = network_costs(network, side).macs
    return latency(sqz.encode(untrained(network, side)) if PATHS else b"", macs)


@lru_cache(maxsize=1024)
def _memory_of_shape(network: Metaparameters, side: int) -> int:
    return EngineRunner(sqz.encode(untrained(network, side)), path=RAM_PATH).memory.running


def _preparation(graph: Graph) -> Preparation:
    channels, side, _ = graph.input_shape
    order: Channels = "L" if channels == 1 else "RGB"
    return Preparation(side, side, "stretch", order, (0.0,) * channels, (1.0,) * channels)
