"""Programs for an emulated Cortex-M4: compiled, linked for a board, measured by their sections, and run in QEMU.

A program is `board.c` and what a tool gives to it (`tool.h`). Objects whose names begin with `model` hold the model:
their constants are counted as such.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PREFIX = "arm-none-eabi-"
PROCESSOR = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
SECTIONS = ("-ffunction-sections", "-fdata-sections")
LINKED = ("-nostartfiles", "-specs=nano.specs", "-specs=nosys.specs", "-Wl,--gc-sections")
EMULATOR = ("-nographic", "-monitor", "none", "-serial", "none", "-chardev", "stdio,id=said")
SEMIHOSTING = ("-semihosting-config", "enable=on,target=native,chardev=said")
COUNTING = ("-icount", "shift=0")  # an instruction is a nanosecond of the emulated clock
HOURS = 3600  # seconds that a program may take

REASONS = ("error", "Error", "undefined", "overflow", "fatal")
"""What lines say why a command failed."""


@dataclass(frozen=True)
class Board:
    """A machine of QEMU with a Cortex-M4. `vectors` is where the processor looks for them; sizes in bytes."""

    name: str
    vectors: int
    flash: tuple[int, int]  # origin, length
    ram: tuple[int, int]

    def script(self) -> str:
        """For the linker. The picture is not counted: a device has a camera."""
        return f"""MEMORY {{
    VECTORS : ORIGIN = {self.vectors}, LENGTH = 64
    FLASH : ORIGIN = {self.flash[0] + 64 * (self.vectors == self.flash[0])}, LENGTH = {self.flash[1] - 64}
    RAM : ORIGIN = {self.ram[0]}, LENGTH = {self.ram[1]}
}}
SECTIONS {{
    .vectors : {{ KEEP(*(.vectors)) }} > VECTORS
    .text : {{ *(.text .text.*) . = ALIGN(8); }} > FLASH
    .model : {{ */model*.o(.rodata .rodata.*) . = ALIGN(8); }} > FLASH
    .rodata : {{ *(.rodata .rodata.*) . = ALIGN(8); }} > FLASH
    .ARM.exidx : {{ *(.ARM.exidx*) }} > FLASH
    .data : {{ data_start = .; *(.data .data.*) . = ALIGN(8); data_end = .; }} > RAM AT > FLASH
    data_source = LOADADDR(.data);
    .image : {{ *(.image) . = ALIGN(8); }} > FLASH
    .bss (NOLOAD) : ALIGN(8) {{ bss_start = .; *(.bss .bss.* COMMON) . = ALIGN(8); bss_end = .; }} > RAM
    stack_top = ORIGIN(RAM) + LENGTH(RAM);
    /DISCARD/ : {{ *(.comment) *(.ARM.attributes) *(.debug*) }}
}}
"""


NETDUINO = Board("netduinoplus2", 0x08000000, (0x08000000, 1 << 20), (0x20000000, 192 << 10))
"""STM32F405: a real microcontroller's memory."""

LARGE = Board("mps2-an386", 0, (0x21000000, 8 << 20), (0x21800000, 8 << 20))
"""The same processor in an FPGA, with 16 MB: for what does not fit the other. All of it lies in its PSRAM."""


@dataclass(frozen=True)
class Figures:
    """What a program needs, in bytes, and counts of instructions. Nothing of `board.c` itself but its stack."""

    board: str
    flash: int  # with the model
    model: int
    static: int  # RAM: variables and arenas
    heap: int
    stack: int
    begin: int  # instructions: all that is done once
    first: int  # of the first image
    again: int  # of the second
    told: dict[str, int]  # what else the tool said
    logits: list[int]

    @property
    def ram(self) -> int:
        return self.static + self.heap + self.stack


class DoesNotRun(Exception):
    """A tool cannot build or run a network; the message is one line."""


def run(command: Sequence[str | Path], folder: Path, seconds: int = HOURS) -> str:
    """What it printed. Raises `DoesNotRun` with the last line of its errors."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds)
    except FileNotFoundError as error:
        raise DoesNotRun(f"{error.filename} is not installed") from None
    except subprocess.TimeoutExpired:
        raise DoesNotRun(f"{Path(command[0]).name} took more than {seconds} seconds") from None
    if done.returncode:
        lines = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        found = [line for line in lines if any(word in line for word in REASONS)]
        raise DoesNotRun((found or lines or [f"{command[0]} failed"])[-1].strip())
    return done.stdout


def compiled(source: Path, output: Path, flags: Sequence[str]) -> Path:
    """The object of a C, C++ or assembler file."""
    compiler = PREFIX + ("g++" if source.suffix == ".cc" else "gcc")
    run([compiler, *PROCESSOR, *SECTIONS, *flags, f"-I{HERE}", "-c", source, "-o", output], output.parent)
    return output


def binary(data: bytes, symbol: str, section: str, folder: Path, object_name: str, size: bool = False) -> Path:
    """An object with these bytes as a constant of C; `size` adds its length as `symbol_bytes`."""
    (folder / f"{symbol}.bin").write_bytes(data)
    lines = [f'.section {section},"a"', ".balign 16", f".global {symbol}", f"{symbol}:", f'.incbin "{symbol}.bin"']
    if size:
        lines += ['.section .rodata,"a"', ".balign 4", f".global {symbol}_bytes", f"{symbol}_bytes: .word {len(data)}"]
    source = folder / f"{object_name}.S"
    source.write_text("\n".join([*lines, ""]))
    return compiled(source, folder / f"{object_name}.o", ())


def linked(objects: Sequence[Path], board: Board, folder: Path) -> Path:
    """A program for this board. Raises `DoesNotRun` if it does not fit."""
    script, program = folder / f"{board.name}.ld", folder / f"{board.name}.elf"
    script.write_text(board.script())
    start = compiled(HERE / "board.c", folder / f"board-{board.name}.o", ("-O2", f"-D{defined(board)}"))
    files = [start, *objects]
    run([PREFIX + "g++", *PROCESSOR, *LINKED, "-T", script, *files, "-lm", "-o", program], folder)
    return program


def defined(board: Board) -> str:
    """The macro for board.c."""
    return board.name.replace("-", "_").upper()


def sections(text: str) -> dict[str, int]:
    """Bytes of each section, from `size -A`.

    >>> sections("a.elf  :\\nsection   size   addr\\n.text   12   134217792\\nTotal   12\\n")
    {'.text': 12}
    """
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 3 and row[0].startswith(".") and row[1].isdigit()}


def output(text: str) -> tuple[dict[str, int], list[int]]:
    """The `name value` lines of a program, and its logits.

    >>> output("stack 96\\nlogit 3\\nlogit 4\\n")
    ({'stack': 96}, [3, 4])
    """
    told: dict[str, int] = {}
    logits = []
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if not value.isdigit():
            raise DoesNotRun(line)
        if name == "logit":
            logits.append(int(value))
        else:
            told[name] = int(value)
    return told, logits


def emulated(program: Path, board: Board) -> tuple[dict[str, int], list[int]]:
    """What it said. Raises `DoesNotRun` if the emulator counts wrongly, or with what the program complains about."""
    command = ["qemu-system-arm", "-M", board.name, *EMULATOR, *SEMIHOSTING, *COUNTING, "-kernel", program]
    told, logits = output(run(command, program.parent))
    if abs(told.pop("loop") - LOOP) > STEPS:
        raise DoesNotRun("the emulator does not count instructions: its loop has another length")
    return told, logits


LOOP = 200_000  # instructions of the loop that board.c counts to begin with
STEPS = 80  # instructions: two steps of the coarser timer


def measured(objects: Sequence[Path], folder: Path, empty: Figures | None) -> Figures:
    """On the first board that it fits. `empty` are the figures of a program that does nothing, to be taken off."""
    try:
        return figures(linked(objects, NETDUINO, folder), NETDUINO, empty)
    except DoesNotRun:  # the linker's regions overflow, or the stack does; any other reason comes up again
        pass
    return figures(linked(objects, LARGE, folder), LARGE, empty)


def figures(program: Path, board: Board, empty: Figures | None) -> Figures:
    """Its sections, and its run."""
    size = sections(run([PREFIX + "size", "-A", program], program.parent))
    told, logits = emulated(program, board)
    counts = [told.pop(name) for name in ("heap", "stack", "begin", "first", "again")]
    flash = sum(size.get(name, 0) for name in (".vectors", ".text", ".model", ".rodata", ".ARM.exidx", ".data"))
    static = size.get(".data", 0) + size.get(".bss", 0)
    if empty:
        flash, static = flash - empty.flash, static - empty.static
    return Figures(board.name, flash, size.get(".model", 0), static, *counts, told, logits)
