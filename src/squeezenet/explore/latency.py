"""Latency (milliseconds) and RAM (bytes) of the C engine for one image, of a `.sqz` file or of an untrained network.

    >>> latency(Path("squeezed.sqz").read_bytes(), macs=51_527_680)                       # doctest: +SKIP
    Latency(ms=0.473, on='AMD EPYC, avx512vnni')

The time of an integer network hardly depends on its weights, and its RAM not at all. So a network with random weights
is measured before training. After training the squeezed file is measured. In a very small file, the rescaling exponents
of some layers can be outside the range of the engine's vector code; these layers are slower. Where the engine was not
built, the time is an estimate from MACs, marked as such. The time to prepare the image is not counted.
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
from squeezenet.importing import trace
from squeezenet.model import FloatArray, Grid, IntegerWeights, Model
from squeezenet.models import Metaparameters, create_seeded
from squeezenet.preparation import Channels, Preparation
from squeezenet.runtime.engine import PATHS, EngineRunner

RAM_PATH = "scalar"
"""The engine's path whose memory counts as RAM: the portable one, so that every machine gives the same figure."""

WARM_UP = 5  # runs before the measurement
RUNS = 15  # runs of a round; the time of the round is their median
ROUNDS = 4  # the result is the smallest median: other programs can only make a time longer
SECONDS = 0.5  # a round ends after this time, even with fewer runs

USUAL_RATE = 50e6
"""MACs per millisecond for the estimate: about what small networks reach on one x86 core with AVX2."""

ESTIMATE = "estimated from MACs, not measured"

LEVELS = 3  # random weights are levels from -3 to 3
RESCALING = 40  # rescaling exponent of every layer; the value does not matter


@dataclass(frozen=True)
class Latency:
    """Milliseconds, and where they were measured: the processor and the path of the engine, or `ESTIMATE`."""

    ms: float
    on: str

    def to_row(self) -> dict[str, float | str]:
        """The fields of the latency in the result of a trial."""
        return {"latency_ms": self.ms, "latency_on": self.on}


def latency(data: bytes, macs: int, paths: tuple[str, ...] = PATHS) -> Latency:
    """The latency on this machine of the network whose file is `data`; an estimate if there are no `paths`."""
    if not paths:
        return Latency(round(macs / USUAL_RATE, 4), ESTIMATE)
    runner = EngineRunner(data)
    image: FloatArray = np.zeros((1, *runner.shape), np.float32)
    for _ in range(WARM_UP):
        runner(image)
    least = min(_round(runner, image) for _ in range(ROUNDS))
    return Latency(round(1000 * least, 4), f"{processor()}, {runner.path}")


def expected_latency(trial: Trial) -> Latency:
    """The expected latency of the trial's integer network on this machine. Raises `UsageError` as `costs` does."""
    return _of_shape(trial.network, trial.image_size)


def working_memory(trial: Trial, paths: tuple[str, ...] = PATHS) -> int | None:
    """Bytes of RAM that the engine needs to run the trial's integer network on one image, without weights and code.

    It depends only on the shape: 8-bit activations that are in memory at once, and scratch memory. None if there is no
    engine.
    """
    return _memory_of_shape(trial.network, trial.image_size) if paths else None


def untrained(network: Metaparameters, side: int) -> Model:
    """An integer network of this shape with random levels, only for measurements of time and memory."""
    graph, _ = trace(create_seeded(NETWORK, 0, **asdict(network)).eval(), (network.in_channels, side, side))
    random = np.random.default_rng(0)
    weights = {}
    for name, shape in graph.weight_shapes().items():
        levels = random.integers(-LEVELS, LEVELS + 1, shape).astype(np.int16)
        grid = Grid(levels, np.full(shape[0], -RESCALING, np.int16))
        weights[name] = IntegerWeights(grid, np.zeros(shape[0], np.int32))
    channels = network.in_channels
    order: Channels = "L" if channels == 1 else "RGB"
    preparation = Preparation(side, side, "stretch", order, (0.0,) * channels, (1.0,) * channels)
    return Model(graph, weights, preparation, scales=(Scale(0),) * (len(graph.ops) + 1))


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
