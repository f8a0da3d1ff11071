"""What a design takes of an FPGA, by arithmetic: memories and multipliers. Synthesis gives the real numbers.

>>> block_rams(8, 4096, 18432)
2
"""

from collections.abc import Iterator
from dataclasses import dataclass

from squeezenet.export.rtl.memories import FACTOR_BITS, bias_bits, bits, shifts
from squeezenet.export.rtl.parts import Part
from squeezenet.export.rtl.plan import Plan, level_bits, multipliers, sum_bits
from squeezenet.export.rtl.stages import Convolution, Mean, Pool

IN_LOGIC = 1536
"""Memories of up to so many bits become logic, as Yosys decides for an ECP5."""


@dataclass(frozen=True)
class Memory:
    """A memory of the design."""

    stage: int
    what: str
    """weights, lines, queue or sums."""
    width: int
    depth: int

    @property
    def bits(self) -> int:
        return self.width * self.depth


def memories(plan: Plan) -> Iterator[Memory]:
    """The memories of a design that are not small tables."""
    for number, (stage, held, stream) in enumerate(zip(plan.stages, plan.lines, plan.streams, strict=True)):
        if isinstance(stage, Convolution):
            _, taps, channels = stage.levels.shape
            width = 1 + level_bits(stage) + bits(channels) + bits(taps)
            yield Memory(number, "weights", width, stage.entries)
            width = bits(len(shifts(stage.factors))) + bias_bits(stage.factors) + FACTOR_BITS
            yield Memory(number, "weights", width, len(stage.factors))
        if isinstance(stage, Convolution | Pool):
            assert held is not None
            source = plan.stages[stage.inputs[0]].value
            part, memories_ = held.chunk // held.phases, 1 + held.pair
            for _ in range(stream.lanes // part * memories_):
                depth = held.ring // memories_ * held.planes * source.shape[0]
                yield Memory(number, "lines", part * source.bits, depth)
        if isinstance(stage, Mean):
            yield Memory(number, "sums", sum_bits(stage, plan), stage.value.shape[0])
        for i, source_number in enumerate(stage.inputs):
            if (number, i) in plan.queues:
                width = plan.stages[source_number].value.bits * plan.streams[source_number].beat
                yield Memory(number, "queue", width, plan.queues[number, i])


def block_rams(width: int, depth: int, size: int) -> int:
    """Block RAMs of `size` bits for a memory: of 512 rows (small ones: 256), or of more and narrower rows."""
    if width * depth <= IN_LOGIC:
        return 0
    rows = 512 if size > 8192 else 256
    widest = size // rows
    shapes = [(widest >> k, rows << k) for k in range(widest.bit_length())]
    return min(-(-width // wide) * -(-depth // deep) for wide, deep in shapes)


@dataclass(frozen=True)
class Use:
    """What a design takes of a part."""

    multipliers: int
    block_rams: int
    memory_bits: int

    def fits(self, part: Part) -> bool:
        """Whether the part has as much."""
        return self.multipliers <= part.multipliers and self.block_rams <= part.block_rams


def use(plan: Plan, part: Part) -> Use:
    """The multipliers and block RAMs of a design."""
    held = list(memories(plan))
    blocks = sum(block_rams(memory.width, memory.depth, part.block_ram) for memory in held)
    return Use(sum(multipliers(plan)), blocks, sum(memory.bits for memory in held))
