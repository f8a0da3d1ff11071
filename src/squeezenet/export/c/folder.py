"""The files of an exported folder.

>>> sorted(contents(exported))[:3]                                      # doctest: +SKIP
['Makefile', 'board/board.h', 'board/host.c']
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezenet.export.c import sources
from squeezenet.export.c.board import Board
from squeezenet.export.c.tables import array, functions, initialiser, numbers
from squeezenet.export.c.text import comment, string
from squeezenet.model import Model
from squeezenet.printable import counted, printable
from squeezenet.version import __version__

ENTRIES = ("sqz_rows_start", "sqz_rows_push", "sqz_rows_logits")
"""The functions of engine/src/rows.h that model.c calls."""
HEADERS = ("rows.h", "run.h")
"""What model.c includes."""

LABELS = """/* The names of the classes, in UTF-8. The linker leaves them out of programs that do not use them. */
extern const char *const model_labels[MODEL_CLASSES];
#define MODEL_LABEL(i) (model_labels[i])"""
NO_LABELS = """/* The model has no names of classes. */
#define MODEL_LABEL(i) (\"\")"""

DECODING = "decoding.c"
"""The file of `boards/` that counts the instructions of decoding; it is linked for `make decoding` only."""

ALIGNED = 16
"""Bytes to which the weights are aligned, and the memory where the kernels have vectors."""


@dataclass(frozen=True)
class Exported:
    """What the text of the folder depends on."""

    model: Model
    name: str
    prefix: str
    """With which the names of files, functions and constants begin."""
    board_name: str
    board: Board
    plan: dict[str, Any]
    """What `_workshop.plan_rows` returned."""
    pixels: NDArray[np.uint8]
    """The test image: (height, width, channels), in the order R G B."""
    logits: NDArray[np.int32]
    """Of the test image."""

    @property
    def parts(self) -> list[str]:
        """The C files that hold the model, without suffix."""
        return [self.prefix, f"{self.prefix}_weights", *([f"{self.prefix}_labels"] if self.model.labels else [])]

    @property
    def alignment(self) -> int:
        """Of the memory that the caller provides, in bytes."""
        return ALIGNED if self.board.kernels == "mve" else 8

    @property
    def memory(self) -> int:
        """The bytes that the caller provides: those of the plan, up to the next multiple of `alignment`."""
        return -(-int(self.plan["rows"]["bytes"]) // self.alignment) * self.alignment

    @property
    def counts_decoding(self) -> bool:
        """Whether `make decoding` is there: weights are decoded, and the board counts instructions."""
        return bool(self.plan["decoded"] and self.board.prefix)


NAMED = re.compile(r"\bmodel(?=_|\.[hc]\b)|\bMODEL(?=_)")


def named(text: str, prefix: str) -> str:
    """C or its documentation, with another prefix than `model`.

    >>> named("model.h: MODEL_CLASSES, model_row of a model", "birds")
    'birds.h: BIRDS_CLASSES, birds_row of a model'
    """
    return NAMED.sub(lambda found: prefix.upper() if found[0] == "MODEL" else prefix, text)


def template(name: str, prefix: str = "model", **values: object) -> str:
    """A file of `templates/` or `boards/`, with this prefix of names, and `@NAME@` replaced by the value."""
    text = named((files("squeezenet.export.c") / name).read_text(encoding="utf-8"), prefix)
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def contents(e: Exported) -> dict[str, bytes]:
    """Path inside the folder → contents, of everything that does not depend on a compiler."""
    named = functions([e.plan["ops"], e.plan["network"], e.plan["rows"]])
    engine = sources.needed([*ENTRIES, f"sqz_{e.board.kernels}", *named], HEADERS)
    board = ["board.h", *e.board.sources]
    if e.counts_decoding:
        board.append(DECODING)
    if e.board.libraries:
        board.append("string.h")  # the compiler has no library
    text = {
        f"{e.prefix}.h": _header(e),
        f"{e.prefix}.c": _model(e),
        f"{e.prefix}_weights.c": _weights(e),
        **({f"{e.prefix}_labels.c": _labels(e)} if e.model.labels else {}),
        "example.c": template("templates/example.c", e.prefix),
        "test/logits.txt": "".join(f"logit {value}\n" for value in e.logits.tolist()),
        "Makefile": _makefile(e, [path.name for path in engine], board),
        **{f"board/{name}": template(f"boards/{name}") for name in board},
    }
    return {
        **{name: written.encode() for name, written in text.items()},
        **{f"engine/{path.name}": path.read_bytes() for path in engine},
        "test/image.bin": e.pixels.tobytes(),
    }


def link_script(board: Board, flash: int, ram: int, stack: int) -> bytes:
    """The linker script; all sizes in bytes."""
    return template(
        "boards/link.ld", FLASH_ORIGIN=hex(board.flash_at), RAM_ORIGIN=hex(board.ram_at), FLASH=flash, RAM=ram,
        STACK=stack,
    ).encode()  # fmt: skip


def readme(e: Exported, result: dict[str, Any]) -> str:
    """README.md: the promises, the figures, how to use it. `result` is the JSON object of the verb."""
    channels, height, width = e.model.graph.input_shape
    p = e.model.preparation
    resize = (
        "stretch it to" if p.fit == "stretch" else "keep its aspect ratio; resize it to the smallest size that covers"
    )
    meaning = "The highest one belongs to the best class"
    if e.model.outputs == "labels":
        meaning = "A logit above 0 says that the image has this label"
    meaning += f"; `{e.prefix}_labels.c` has their names." if e.model.labels else "."
    try_it = f"""`make test` builds the example, runs it{" in QEMU" if e.board.prefix else ""} with the image
        `test/image.bin`, and compares the logits with those that squeezenet computed for this image
        (`test/logits.txt`). It prints the five best classes"""
    if e.board.prefix:
        try_it += ", the instructions of the classification, and the bytes of stack that it used"
    if e.counts_decoding:
        try_it += ". `make decoding` also counts the instructions that decode weights"
    return template(
        "templates/README.md", e.prefix, MODEL=comment(e.name), VERSION=__version__,
        ABOUT=f"`{e.board_name}` ({e.board.about})",
        FIGURES=_figures(result), TRY=fill(" ".join(f"{try_it}.".split()), 120),
        PREPARATION=f"{resize} {p.resized[1]} x {p.resized[0]} pixels; then cut out the middle {width} x {height}.",
        WIDTH=width, CHANNELS="1 byte" if channels == 1 else f"{channels} bytes",
        ORDER="red, green, blue" if channels == 3 else "grey", CLASSES=e.model.graph.classes, MEANING=meaning,
        IO=e.board.sources[0], PARTS=", ".join(f"`{part}.c`" for part in e.parts),
    )  # fmt: skip


def _figures(result: dict[str, Any]) -> str:
    """The table of the README; figures that are not known are left out."""
    rows = [
        ("memory that you give to the three functions", result["memory"]),
        ("activations, a part of this memory", result["activations"]),
        ("flash for weights, level streams and other numbers that operations read", result["weights"]),
        ("flash for code, without that of the example", result["code"]),
        ("stack that the three functions use; interrupts need their own", result["stack"]),
        ("flash of the whole example", result["flash"]),
        ("RAM of the whole example, with its stack", result["ram"]),
    ]
    lines = ["| | bytes |", "|-|-|", *(f"| {what} | {value:,} |" for what, value in rows if value is not None), ""]
    if result["compiler"]:
        said = f"""These are the figures of {result["compiler"]} and the flags of the Makefile. The stack is read from
            the machine code of the linked program; `make test` measures it, too."""
        lines.append(fill(" ".join(said.split()), 120))
    lines.append(f"{counted(result['decoded'], 'weight')} are decoded for each image.")
    if "instructions" in result:
        said = (
            f"In QEMU, the classification of the test image took {result['instructions']:,} instructions, "
            f"{result['decoding_instructions']:,} of them for decoding, and {result['stack_used']:,} bytes of stack."
        )
        lines.append(fill(said, 120))
    return "\n".join(lines)


def _header(e: Exported) -> str:
    channels, height, width = e.model.graph.input_shape
    aligned = f"__attribute__((aligned({ALIGNED}))) " if e.alignment == ALIGNED else ""
    return template(
        "templates/model.h", e.prefix, VERSION=__version__, MODEL=comment(e.name),
        HEIGHT=height, WIDTH=width, CHANNELS=channels,
        ORDER="red, green, blue" if channels == 3 else "grey", CLASSES=e.model.graph.classes,
        MEMORY=e.memory, STEP=f"{e.model.scales[-1].step.hex()}f",
        ALIGNED=aligned, LABELS=named(LABELS if e.model.labels else NO_LABELS, e.prefix),
    )  # fmt: skip


def _model(e: Exported) -> str:
    """The tables of the plan, and the three functions."""
    plan = e.plan
    names = [op.name if hasattr(op, "name") else type(op).__name__ for op in e.model.graph.ops]
    ops = [
        f"{initialiser(op)} /* {layer['op']} {comment(names[layer['op']])} */"
        for op, layer in zip(plan["ops"], plan["layers"], strict=True)
    ]
    network = initialiser(plan["network"])[1:-1]
    rows = initialiser(plan["rows"])[1:-1]
    included = "".join(f'#include "{name}"\n' for name in HEADERS)
    before = (
        "/* The network, as the planner of squeezenet laid it out. */\n"
        f'{included}#include "model.h"\n\n'
        "#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__\n"
        "#error the weights are for processors with the least significant byte first\n#endif\n\n"
        "extern const uint8_t model_weights[];\n"
    )
    after = (
        "/* The engine does not write to any of these. */\n"
        f"static const sqz_network network = {{.kernels = &sqz_{e.board.kernels}, .ops = (sqz_op *)ops,\n"
        "    .values = (sqz_value *)values, .inputs = (uint32_t *)inputs, .weights = (uint8_t *)model_weights,\n"
        f"    {network}}};\n\n"
        f"static const sqz_rows rows = {{.network = &network, .waits = waits, {rows}}};\n\n"
        "void model_begin(model_memory *memory)\n{\n    sqz_rows_start(&rows, memory);\n}\n\n"
        "void model_row(model_memory *memory, const uint8_t *pixels)\n"
        "{\n    sqz_rows_push(&rows, memory, pixels);\n}\n\n"
        "void model_finish(const model_memory *memory, int32_t logits[MODEL_CLASSES])\n"
        "{\n    sqz_rows_logits(&rows, memory, logits);\n}\n"
    )
    return "\n".join(
        [
            named(before, e.prefix),
            array("static const sqz_op", "ops", ops),
            array("static const sqz_value", "values", map(initialiser, plan["values"])),
            array("static const uint32_t", "inputs", numbers(plan["inputs"])),
            array("static const uint32_t", "waits", numbers(plan["waits"])),
            named(after, e.prefix),
        ]
    )


def _weights(e: Exported) -> str:
    name = f"{e.prefix}_weights"
    return (
        "/* What the operations read: weights, factors, tables, level streams. */\n#include <stdint.h>\n\n"
        f"extern const uint8_t {name}[];\n"
        + array(f"__attribute__((aligned({ALIGNED}))) const uint8_t", name, numbers(e.plan["weights"]))
    )


def _labels(e: Exported) -> str:
    size = named("[MODEL_CLASSES]", e.prefix)
    names = array("const char *const", f"{e.prefix}_labels", (string(printable(label)) for label in e.model.labels))
    return f'#include "{e.prefix}.h"\n\n' + names.replace("[]", size, 1)


def _makefile(e: Exported, engine: list[str], board: list[str]) -> str:
    library = [*(f"{name}.c" for name in e.parts), *(f"engine/{name}" for name in engine if name.endswith(".c"))]
    own = ["example.c", *(f"board/{name}" for name in board if name.endswith(".c") and name != DECODING)]
    headers = [f"{e.prefix}.h", *(f"engine/{name}" for name in engine if name.endswith(".h")), "board/board.h"]
    script, flags = "board/link.ld" if e.board.prefix else "", _link_flags(e.board)
    decoding = template("templates/decoding.mk", SCRIPT=script, LINK_FLAGS=flags) + "\n" if e.counts_decoding else ""
    return template(
        "templates/Makefile", BOARD=e.board_name, CC=e.board.compiler, FLAGS=e.board.flags, RUN=e.board.emulator,
        LIBRARY=_wrapped(library), EXAMPLE=_wrapped(own), HEADERS=_wrapped(headers), SCRIPT=script,
        LINKER=e.board.libraries, LINK_FLAGS=flags, DECODING=decoding,
    )  # fmt: skip


def _link_flags(board: Board) -> str:
    if not board.prefix:
        return "$(CFLAGS)"
    return "$(CFLAGS) -nostartfiles -T board/link.ld -Wl,--gc-sections -Wl,-Map=build/map.txt"


def _wrapped(names: list[str]) -> str:
    return " \\\n    ".join(" ".join(line) for line in _lines(names))


def _lines(names: list[str], most: int = 100) -> Iterator[list[str]]:
    line: list[str] = []
    for name in names:
        if line and len(" ".join([*line, name])) > most:
            yield line
            line = []
        line.append(name)
    yield line
