"""Microcontrollers that QEMU emulates: how programs are compiled for them and run, with files of this machine."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support import ROOT

COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
FOLDER = ROOT / "tests" / "engine" / "cortex_m"


@dataclass(frozen=True)
class Board:
    name: str
    """As QEMU calls it."""
    processor: str
    vectors: int
    """Address of the vectors of interrupts, like the next two: of the program and of its data."""
    code: int
    data: int
    paths: tuple[str, ...]
    """The paths of the engine, after `reference` and `scalar`."""
    flags: tuple[str, ...] = ()
    """Of the compiler."""

    def build(self, program: Path, *sources: str | Path) -> None:
        """Compile and link a program. `sources` may have more options of the compiler."""
        places = {"VECTORS": self.vectors, "CODE": self.code, "DATA": self.data, "SIZE": 1 << 24}
        linked = [f"-Wl,--defsym={place}={address}" for place, address in places.items()]
        command = [COMPILER, f"-mcpu={self.processor}", "-mthumb", *self.flags, *sources, FOLDER / "start.c", *linked]
        command += [
            "-T",
            FOLDER / "board.ld",
            "--specs=rdimon.specs",
            "-Wl,--no-warn-rwx-segments",
            "-Wl,--gc-sections",
        ]
        done = subprocess.run([*command, "-lm", "-o", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def command(self, program: Path, arguments: Sequence[str], *options: str) -> list[str]:
        """The command that runs a program with these arguments, without spaces and commas."""
        told = ",".join(["enable=on,target=native", *(f"arg={argument}" for argument in [program.stem, *arguments])])
        quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
        return [
            EMULATOR, "-M", self.name, *quiet, *options, "-kernel", str(program), "-semihosting-config", told
        ]  # fmt: skip


BOARDS = (
    Board("mps2-an385", "cortex-m3", 0, 0x400, 0x21000000, ("small",)),
    Board("mps2-an386", "cortex-m4", 0, 0x400, 0x21000000, ("small", "dsp")),
    Board("mps3-an547", "cortex-m55", 0, 0x60000000, 0x60800000, ("small", "dsp", "mve"), ("-mfloat-abi=hard",)),
)


def missing() -> str:
    """What this machine lacks to use the boards; nothing if it has all."""
    return "" if shutil.which(COMPILER) and shutil.which(EMULATOR) else f"needs {COMPILER} with newlib, and {EMULATOR}"
