"""The top of a design: an instance for each stage, and the streams between them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from squeezenet.export.rtl import memories
from squeezenet.export.rtl.plan import LOGIC_BITS, Plan, level_bits, sum_bits
from squeezenet.export.rtl.stages import Convolution, Join, Joined, Limit, Mean, Pixels, Pool, Stage, Value
from squeezenet.export.rtl.text import comment

SHALLOW = 16
"""Beats that `sn_fifo` holds; longer queues lie in block RAM."""


@dataclass
class Top:
    """The text of the top, and the files of its memories."""

    lines: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def put(self, module: str, name: str, parameters: dict[str, Any], ports: dict[str, str]) -> None:
        """An instance of a module."""
        set_ = ", ".join(f".{key}({_literal(value)})" for key, value in parameters.items())
        wired = ", ".join(f".{key}({value})" for key, value in ports.items())
        self.lines += _wrapped(f"{module} #({set_}) {name} ({wired});")

    def file(self, name: str, text: str) -> str:
        """The path of a memory, as the design names it."""
        self.files[f"mem/{name}.hex"] = text
        return f"mem/{name}.hex"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):  # numbers of so many bits each, the first one lowest
        width, numbers = value
        digits = "".join(f"{n & ((1 << width) - 1):0{width // 4}x}" for n in reversed(numbers))
        return f"{width * len(numbers)}'h{digits}"
    return f"{int(value)}" if value >= 0 else f"-32'sd{-int(value)}"


def _wrapped(text: str, width: int = 118) -> list[str]:
    rows, row = [], "    "
    for word in text.split(" "):
        if len(row) + len(word) > width and row.strip():
            rows.append(row.rstrip())
            row = "        "
        row += word + " "
    return [*rows, row.rstrip()]


def design(plan: Plan, names: list[str], order: str, tables: list[list[int]]) -> Top:
    """The top and its memories. `names` say in comments what a stage is.

    `tables` are those of the channels of the network. `order` is the order of its channels: RGB, BGR or L.
    """
    top = Top()
    channels = plan.stages[0].value.shape[0]
    last = plan.stages[-1].value
    top.lines += [
        "// The network as a stream: pixels in, logits out. Generated; README.md says what the ports mean.",
        "module squeezenet_top (",
        "    input wire clk,",
        "    input wire rst,",
        "    input wire pixel_valid,",
        "    output wire pixel_ready,",
        f"    input wire [{8 * channels - 1}:0] pixel_data,",
        "    output wire logit_valid,",
        "    input wire logit_ready,",
        f"    output wire [{last.bits - 1}:0] logit_data,",
        "    output wire logit_last",
        ");",
    ]
    readers = _readers(plan)
    for number in range(len(plan.stages)):
        _wires(top, plan, number, readers)
    for number, stage in enumerate(plan.stages):
        top.lines += ["", f"    // {number}: {comment(names[number])}"]
        _stage(top, plan, number, stage, order, tables)
        _fan_out(top, number, readers[number])
    out = len(plan.stages) - 1
    top.lines += ["", f"    assign logit_valid = v{out};", f"    assign logit_data = d{out};"]
    top.lines += [f"    assign r{out} = logit_ready;"]
    top.put("sn_count", "count_logits", {"N": last.shape[0]},
            {"clk": "clk", "rst": "rst", "step": "logit_valid && logit_ready", "value": "logit_number",
             "last": "logit_last"})  # fmt: skip
    top.lines.append("endmodule")
    wide = memories.bits(last.shape[0])
    place = top.lines.index(");") + 1
    top.lines[place:place] = [
        "    /* verilator lint_off UNUSED */", f"    wire [{wide - 1}:0] logit_number;",
        "    /* verilator lint_on UNUSED */",
    ]  # fmt: skip
    return top


def _readers(plan: Plan) -> list[list[tuple[int, int]]]:
    """For each stage, who reads it: (stage, number of the input)."""
    found: list[list[tuple[int, int]]] = [[] for _ in plan.stages]
    for number, stage in enumerate(plan.stages):
        for i, source in enumerate(stage.inputs):
            found[source].append((number, i))
    return found


def _width(plan: Plan, number: int) -> int:
    return plan.streams[number].beat * plan.stages[number].value.bits


def _wires(top: Top, plan: Plan, number: int, readers: list[list[tuple[int, int]]]) -> None:
    top.lines += [f"    wire v{number}, r{number};", f"    wire [{_width(plan, number) - 1}:0] d{number};"]
    for stage, i in readers[number]:
        name = f"{stage}_{i}"
        top.lines.append(f"    wire v{name}, r{name};")
        if (stage, i) in plan.queues:
            top.lines += [f"    wire qv{name}, qr{name};", f"    wire [{_width(plan, number) - 1}:0] qd{name};"]


def _fan_out(top: Top, number: int, readers: list[tuple[int, int]]) -> None:
    """Connects the result of a stage with all inputs that read it."""
    names = [f"{stage}_{i}" for stage, i in readers]
    if len(names) == 1:
        top.lines += [f"    assign v{names[0]} = v{number};", f"    assign r{number} = r{names[0]};"]
    elif names:
        valid, ready = (", ".join(f"{kind}{name}" for name in reversed(names)) for kind in "vr")
        top.put("sn_fork", f"fork_{number}", {"N": len(names)},
                {"clk": "clk", "rst": "rst", "in_valid": f"v{number}", "in_ready": f"r{number}",
                 "out_valid": f"{{{valid}}}", "out_ready": f"{{{ready}}}"})  # fmt: skip


def _stage(top: Top, plan: Plan, number: int, stage: Stage, order: str, tables: list[list[int]]) -> None:
    out = {"out_valid": f"v{number}", "out_ready": f"r{number}", "out_data": f"d{number}"}
    clock = {"clk": "clk", "rst": "rst"}
    name, stream = f"stage_{number}", plan.streams[number]
    match stage:
        case Pixels(value=value):
            wide = memories.bits(len(tables))
            pixel = "{pixel_data[7:0], pixel_data[15:8], pixel_data[23:16]}" if order == "BGR" else "pixel_data"
            words = [x for table in tables for x in table] + [0] * (256 * ((1 << wide) - len(tables)))
            file = top.file(f"{number}_pixels", memories.hexadecimal(words, value.bits))
            ports = {"in_valid": "pixel_valid", "in_ready": "pixel_ready", "in_data": pixel}
            top.put("sn_pixels", name, {"C": value.shape[0], "X": value.bits, "FILE": file}, {**clock, **ports, **out})
        case Convolution() | Pool():
            top.put(
                "sn_conv" if isinstance(stage, Convolution) else "sn_pool", name,
                dict(_window(top, plan, number, stage)), {**clock, **_input(plan, number, 0, "in"), **out},
            )  # fmt: skip
        case Mean(value=value):
            source, origin = plan.streams[stage.inputs[0]], plan.stages[stage.inputs[0]].value
            period = max(source.pitch // source.lanes, 1)
            masks = top.file(
                f"{number}_masks", memories.mean_masks(origin, source.pitch, source.lanes, source.beat, period)
            )
            top.put("sn_mean", name, {
                "C": value.shape[0], "X": origin.bits, "SIGNED": origin.signed, "S": source.beat,
                "BEATS": source.lanes // source.beat, "WORDS": source.words, "PERIOD": period,
                "ACC": sum_bits(stage, plan), "OUT_X": value.bits, "LEAST": memories.shifts(stage.factors)[0],
                "BIAS": memories.bias_bits(stage.factors),
                "SHIFTS": (8, memories.shifts(stage.factors)), "LOW": value.low, "HIGH": value.high,
                "MASKS_FILE": masks, "FACTORS_FILE": top.file(f"{number}_factors", memories.channels(stage.factors)),
            }, {**clock, **_input(plan, number, 0, "in"), **out})  # fmt: skip
        case Join(value=value):
            a, b = (plan.stages[i].value for i in stage.inputs)
            wide = max(*(factor.bit_length() for factor in stage.factors), 1)
            top.put("sn_join", name, {
                "S": stream.beat, "XA": a.bits, "SIGNED_A": a.signed, "XB": b.bits, "SIGNED_B": b.signed,
                "PRODUCT": bool(stage.shift), "FB": wide, "A": stage.factors[0], "B": stage.factors[1],
                "SHIFT": stage.shift or 16, "X": value.bits, "LOW": value.low, "HIGH": value.high,
            }, {**clock, **_queued(top, plan, number), **out})  # fmt: skip
        case Joined():
            a, b = (plan.stages[i].value for i in stage.inputs)
            beats = stream.lanes // stream.beat
            ports = {**clock, **_queued(top, plan, number), **out}
            for letter, part, i in (("a", a, 0), ("b", b, 1)):
                ports[f"{letter}_data"] = _resized(top, plan, number, i, part, stage.value)
            top.put("sn_concat", name, {
                "W": stream.beat * stage.value.bits, "N_A": a.shape[0] * beats, "N_B": b.shape[0] * beats,
            }, ports)  # fmt: skip
        case Limit(value=value):
            before = plan.stages[stage.inputs[0]].value
            ports = _input(plan, number, 0, "in")
            top.put("sn_limit", name, {
                "S": stream.beat, "X": before.bits, "SIGNED": before.signed, "OUT_X": value.bits, "LOW": value.low,
                "HIGH": value.high,
            }, {**ports, **out})  # fmt: skip


def _resized(top: Top, plan: Plan, number: int, i: int, part: Value, value: Value) -> str:
    """The elements of one input of a concatenation, with as many bits as those of the result."""
    more = value.bits - part.bits
    data, beat = f"qd{number}_{i}", plan.streams[number].beat
    if not more:
        return data
    elements = []
    for at in reversed(range(beat)):
        top_bit = f"{data}[{(at + 1) * part.bits - 1}]" if part.signed else "1'b0"
        elements.append(f"{{{more}{{{top_bit}}}}}, {data}[{at * part.bits} +: {part.bits}]")
    return f"{{{', '.join(elements)}}}"


def _input(plan: Plan, number: int, i: int, port: str) -> dict[str, str]:
    source, name = plan.stages[number].inputs[i], f"{number}_{i}"
    return {f"{port}_valid": f"v{name}", f"{port}_ready": f"r{name}", f"{port}_data": f"d{source}"}


def _queued(top: Top, plan: Plan, number: int) -> dict[str, str]:
    """The two inputs of a stage, each behind its queue."""
    ports: dict[str, str] = {}
    for i, letter in enumerate("ab"):
        source, name, depth = plan.stages[number].inputs[i], f"{number}_{i}", plan.queues[number, i]
        deep = depth > SHALLOW
        parameters = {"W": _width(plan, source)} | ({"DEPTH": depth} if deep else {})
        top.put("sn_queue" if deep else "sn_fifo", f"queue_{name}", parameters, {
            "clk": "clk", "rst": "rst", **_input(plan, number, i, "in"), "out_valid": f"qv{name}",
            "out_ready": f"qr{name}", "out_data": f"qd{name}",
        })  # fmt: skip
        ports |= {f"{letter}_valid": f"qv{name}", f"{letter}_ready": f"qr{name}", f"{letter}_data": f"qd{name}"}
    return ports


def _window(top: Top, plan: Plan, number: int, stage: Convolution | Pool) -> Iterator[tuple[str, Any]]:
    held, source, stream = plan.lines[number], plan.streams[stage.inputs[0]], plan.streams[number]
    assert held is not None
    origin, channels = plan.stages[stage.inputs[0]].value, source.shape[0]
    yield from {
        "C": channels, "X": origin.bits, "SIGNED": origin.signed, "S": source.beat, "U": held.chunk,
        "PH": held.phases, "L": stream.lanes, "Q": held.chunks, "WORDS": held.words, "PERIOD": held.period,
        "DONE": held.done, "LAST_DONE": held.last_done, "STEP": held.done * held.width % held.ring,
        "LAST_STEP": held.last_done * held.width % held.ring, "NS": held.strips, "RING": held.ring,
        "SKIP": (held.width - held.strips + 1) % held.ring,
        "NEXT": ((held.blocks - held.reads + 1) * held.width - held.strips + 1) % held.ring, "PLANES": held.planes,
        "PAIR": held.pair, "BLOCKS": held.blocks, "READS": held.reads, "AFTER": held.after, "LIMIT": held.limit,
        "TAPS": len(held.taps), "K": len(held.shifts), "SHIFTS": (16, held.shifts),
        "WRITES_FILE": top.file(f"{number}_writes", memories.writes(held, channels, stream.lanes)),
        "TAPS_FILE": top.file(f"{number}_taps", memories.taps(held, channels)),
        "MASKS_FILE": top.file(f"{number}_masks", memories.masks(held)),
    }.items()  # fmt: skip
    if isinstance(stage, Convolution):
        levels = level_bits(stage)
        text, count = memories.entries(stage, levels)
        yield from {
            "ENTRIES": count, "LEVEL": levels, "LOGIC": levels <= LOGIC_BITS,
            "ENTRIES_FILE": top.file(f"{number}_weights", text), "OUT": stage.value.shape[0],
        }.items()  # fmt: skip
    elif stage.factors:
        yield "MEAN", 1
    value, factors = stage.value, stage.factors
    yield from {"OUT_S": stream.beat, "OUT_X": value.bits, "LOW": value.low, "HIGH": value.high}.items()
    if factors:
        found = memories.shifts(factors)
        yield from {
            "ACC": sum_bits(stage, plan), "NT": len(found), "FACTOR_SHIFTS": (8, found), "LEAST": found[0],
            "BIAS": memories.bias_bits(factors),
            "FACTORS_FILE": top.file(f"{number}_factors", memories.channels(factors)),
        }.items()  # fmt: skip
    else:
        yield "ACC", origin.bits
