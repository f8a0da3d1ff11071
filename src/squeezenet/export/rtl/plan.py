"""How many places each stage computes at once, so that an image takes no more than a number of cycles.

>>> plan(stages(model), goal=8000).cycles                               # doctest: +SKIP
7920
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import UnsupportedOperation
from squeezenet.export.rtl.layout import Lines, Stream, allowed, lines
from squeezenet.export.rtl.stages import (
    Convolution,
    Join,
    Joined,
    Limit,
    Mean,
    Pixels,
    Pool,
    Stage,
    Window,
)

ROUND_FROM = 9
"""Pitches from this on are multiples of 4, so that they have divisors."""
LOGIC_BITS = 4
"""Levels of up to so many bits are multiplied in logic: 156 multipliers are fewer than 84,000 lookup tables."""
MULTIPLIER = 18
"""Bits of a factor of a multiplier, with sign."""
SUMMED = 6
"""Cycles that `sn_mean` takes for a channel of a word, besides those of its beats."""


Streams = Callable[[int], Stream]
"""How the result of a stage travels, by its number, while the plan is made."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A design: what is computed, how it travels, and how long it takes."""

    stages: tuple[Stage, ...]
    streams: tuple[Stream, ...]
    """Of the results, in the order of the stages."""
    lines: tuple[Lines | None, ...]
    """Of the stages that are windows."""
    times: tuple[int, ...]
    """Cycles that each stage needs for an image."""
    queues: dict[tuple[int, int], int]
    """Beats that are held before an input of a stage: (stage, number of the input) -> beats."""

    @property
    def cycles(self) -> int:
        """Cycles of an image, if images follow each other: those of the slowest stage."""
        return max(self.times)


def plan(made: list[Stage], goal: int) -> Plan:
    """A design whose slowest stage needs at most `goal` cycles for an image, or as few as it can."""
    pitches = _pitches(made)
    classes = _classes(made)
    chains = {c: _chain(pitches[made[c].value.shape[1:]], made[c].value.shape[1]) for c in set(classes)}
    lanes = dict.fromkeys(chains, 0)
    beats = dict.fromkeys(chains, 0)
    chains[classes[0]] = [1]  # the image comes pixel by pixel

    def stream(number: int) -> Stream:
        value, c = made[number].value, classes[number]
        pitch = value.shape[2] if c == classes[0] else pitches[value.shape[1:]]
        return Stream(value.shape, pitch, chains[c][lanes[c]], chains[c][beats[c]])

    for c, chain in chains.items():
        members = [number for number in range(len(made)) if classes[number] == c]
        while lanes[c] + 1 < len(chain) and any(_work(made[number], stream(number)) > goal for number in members):
            lanes[c] += 1
        while beats[c] < lanes[c] and any(stream(number).beats > goal for number in members):
            beats[c] += 1
    _settle(made, classes, chains, lanes, beats, stream)
    for c in chains:  # more beats where a word takes longer to leave than to be computed
        members = [number for number in range(len(made)) if classes[number] == c]
        while beats[c] < lanes[c] and any(_time(made, stream, number) > goal for number in members):
            beats[c] += 1
            if not all(_fits(made, stream, number) for number in range(len(made))):
                beats[c] -= 1
                break
    streams = tuple(stream(number) for number in range(len(made)))
    laid = tuple(
        lines(streams[stage.inputs[0]], streams[number], stage.taps, stage.stride)
        if isinstance(stage, Window)
        else None
        for number, stage in enumerate(made)
    )
    times = tuple(_time(made, stream, number) for number in range(len(made)))
    return Plan(tuple(made), streams, laid, times, _queues(made, streams, laid))


def _settle(
    made: list[Stage], classes: list[int], chains: dict[int, list[int]], lanes: dict[int, int], beats: dict[int, int],
    stream: Streams,
) -> None:  # fmt: skip
    """More lanes or fewer, or smaller beats and words of the input, until the lines of all stages can be laid out."""
    for _ in range(1000):
        bad = [number for number in range(len(made)) if not _fits(made, stream, number)]
        if not bad:
            return
        number = bad[0]
        c, source = classes[number], classes[made[number].inputs[0]]
        now = lanes[c]
        for option in (*range(now + 1, len(chains[c])), *reversed(range(beats[c], now))):
            lanes[c] = option
            if _fits(made, stream, number):
                break
        else:
            lanes[c] = now
            if beats[source]:
                beats[source] -= 1
            elif lanes[source]:
                lanes[source] -= 1
            else:
                break
    raise UnsupportedOperation(f"stage {number}: its rows do not fit together with those of its input")


def _fits(made: list[Stage], stream: Streams, number: int) -> bool:
    """Whether the lines of a stage, if it has some, can be laid out."""
    stage = made[number]
    if not isinstance(stage, Window):
        return True
    return allowed(stream(stage.inputs[0]), stream(number), stage.taps, stage.stride)


def _pitches(made: list[Stage]) -> dict[tuple[int, ...], int]:
    found = {stage.value.shape[1:]: stage.value.shape[2] for stage in made}
    return {key: -(-need // 4) * 4 if need >= ROUND_FROM else need for key, need in found.items()}


def _chain(pitch: int, height: int) -> list[int]:
    """How many lanes are possible; each number divides the next one."""
    found = [1]
    for target, last in ((pitch, pitch), (height, pitch * height)):
        while target > 1:
            divisor = next(d for d in range(2, target + 1) if target % d == 0)
            target //= divisor
            found.append(found[-1] * divisor)
        assert found[-1] == last
    return found


def _classes(made: list[Stage]) -> list[int]:
    """For each stage, a number that it shares with those whose results must travel in the same way."""
    found = list(range(len(made)))
    for number, stage in enumerate(made):
        if isinstance(stage, Join | Joined | Limit):
            for i in stage.inputs:
                old, new = found[number], found[i]
                found = [new if f == old else f for f in found]
    return [found.index(f) for f in found]


def _work(stage: Stage, out: Stream) -> int:
    """Cycles in which the multipliers, or the comparisons of a pool, of a stage are at work for an image."""
    if isinstance(stage, Convolution):
        return out.words * stage.entries
    return out.words * out.shape[0] * len(stage.taps) if isinstance(stage, Pool) else 0


def _time(made: list[Stage], stream: Streams, number: int) -> int:
    stage, out = made[number], stream(number)
    match stage:
        case Pixels() | Join() | Joined() | Limit():
            return out.beats
        case Convolution():
            passes = int(np.maximum(stage.counts, out.lanes // out.beat + 1).sum())
            source = stream(stage.inputs[0])
            waits = 3 * out.words // max(out.pitch // out.lanes, 1)
            return max(out.words * passes + waits, source.beats + source.words)
        case Pool():
            source = stream(stage.inputs[0])
            each = max(len(stage.taps), out.lanes // out.beat + 1)
            return max(out.words * out.shape[0] * each, source.beats + source.words)
        case Mean():
            source = stream(stage.inputs[0])
            return source.words * source.shape[0] * (source.lanes // source.beat + SUMMED)


def _queues(
    made: list[Stage], streams: tuple[Stream, ...], laid: tuple[Lines | None, ...]
) -> dict[tuple[int, int], int]:
    """Beats that wait at the stages with two inputs, so that a value that is read twice never stops its own reader.

    For each word of a value we know how many pixels of the image must have come before it. While a stage waits for a
    word of one input, the other input holds at most those words that need no more pixels. A block more for each stage
    on the longer way lets them work at the same time.
    """
    pixels: list[NDArray[np.int64]] = []
    depth: list[int] = []
    for number, (stage, stream) in enumerate(zip(made, streams, strict=True)):
        words = np.arange(stream.words)
        held = laid[number]
        if isinstance(stage, Pixels):
            need = words + 1
        elif held is not None:
            before = pixels[stage.inputs[0]]
            need = before[[held.needed(int(word)) - 1 for word in words]]
        elif isinstance(stage, Mean):
            need = np.full(len(words), pixels[stage.inputs[0]][-1])
        else:
            need = np.max([pixels[i] for i in stage.inputs], axis=0)
        pixels.append(need)
        depth.append(max((depth[i] for i in stage.inputs), default=0) + (held is not None))
    found = {}
    for number, stage in enumerate(made):
        if len(stage.inputs) != 2:
            continue
        for i, source in enumerate(stage.inputs):
            other = stage.inputs[1 - i]
            all_pixels = len(pixels[0])
            own = np.concatenate([pixels[source], pixels[source] + all_pixels])
            ahead = int(max(np.searchsorted(own, pixels[other], side="right") - np.arange(len(pixels[other]))))
            strips = max(streams[source].pitch // streams[source].lanes, 1)
            slack = max(depth[other] - depth[source], 0) * strips
            stream = streams[source]
            found[number, i] = (ahead + slack + 1) * stream.shape[0] * (stream.lanes // stream.beat)
    return found


def multipliers(made: Plan) -> Iterator[int]:
    """Multipliers of each stage."""
    for stage, stream in zip(made.stages, made.streams, strict=True):
        match stage:
            case Convolution():
                lanes = 0 if level_bits(stage) <= LOGIC_BITS else stream.lanes
                yield lanes + stream.beat * -(-sum_bits(stage, made) // MULTIPLIER)
            case Pool() if stage.factors:
                yield stream.beat * -(-sum_bits(stage, made) // MULTIPLIER)
            case Mean():
                yield -(-sum_bits(stage, made) // MULTIPLIER)
            case Join():
                wide = [-(-(factor.bit_length() + 1) // MULTIPLIER) for factor in stage.factors if factor]
                yield stream.beat * (sum(wide) if not stage.shift else 2)
            case _:
                yield 0


def level_bits(stage: Convolution) -> int:
    """Bits of a level, with sign."""
    return max(max(int(stage.levels.max()), -int(stage.levels.min()) - 1, 1).bit_length() + 1, 2)


def sum_bits(stage: Convolution | Pool | Mean, made: Plan) -> int:
    """Bits of the largest sum, with sign."""
    source = made.stages[stage.inputs[0]].value
    most = max(source.high, -source.low)
    if isinstance(stage, Convolution):
        most *= max(int(np.abs(stage.levels).reshape(len(stage.levels), -1).sum(1).max()), 1)
    elif isinstance(stage, Pool):
        most *= len(stage.taps)
    else:
        most *= source.shape[1] * source.shape[2]
    return most.bit_length() + 1
