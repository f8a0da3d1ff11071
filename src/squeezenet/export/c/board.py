"""The boards for which `--to c` writes start-up code, a linker script and the call of an emulator.

>>> BOARDS["lm3s6965evb"].flash, BOARDS["lm3s6965evb"].ram
(262144, 65536)
"""

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True)
class Board:
    """A board, or this machine. Memory is in bytes."""

    about: str
    prefix: str = ""
    """Of the compiler and its tools: `arm-none-eabi-` for `arm-none-eabi-gcc`. Empty: `cc`, and no emulator."""
    flags: str = ""
    """Of the compiler."""
    flash: int = 0
    ram: int = 0
    flash_at: int = 0
    """Address of the first byte."""
    ram_at: int = 0
    emulator: str = ""
    sources: tuple[str, ...] = ("host.c",)
    """Files of `boards/`."""
    start: str = "reset"
    """The first function that runs."""
    kernels: str = "scalar"
    """The engine's inner loops: `engine/kernels_NAME.c`."""
    libraries: str = ""

    @property
    def compiler(self) -> str:
        return f"{self.prefix}gcc" if self.prefix else "cc"


QEMU = "-display none -monitor none -serial none -semihosting-config enable=on,target=native -icount shift=0 -kernel"
ARM = ("semihosting.c", "cortexm.c")

BOARDS = {
    "host": Board("this machine"),
    "netduinoplus2": Board(
        "Cortex-M4, 1 MiB of flash, 192 KiB of RAM",
        "arm-none-eabi-", "-mcpu=cortex-m4 -mthumb -mfloat-abi=soft -DBOARD_NETDUINOPLUS2",
        1024 * KIB, 192 * KIB, 0x08000000, 0x20000000, f"qemu-system-arm -M netduinoplus2 {QEMU}", ARM, kernels="dsp",
    ),
    "lm3s6965evb": Board(
        "Cortex-M3, 256 KiB of flash, 64 KiB of RAM",
        "arm-none-eabi-", "-mcpu=cortex-m3 -mthumb -mfloat-abi=soft -DBOARD_LM3S6965EVB",
        256 * KIB, 64 * KIB, 0, 0x20000000, f"qemu-system-arm -M lm3s6965evb {QEMU}", ARM, kernels="small",
    ),
    "mps3-an547": Board(
        "Cortex-M55 with Helium, 512 KiB of code memory, 512 KiB of RAM",
        "arm-none-eabi-", "-march=armv8.1-m.main+dsp+mve -mthumb -mfloat-abi=hard -DBOARD_MPS3_AN547",
        512 * KIB, 512 * KIB, 0, 0x20000000, f"qemu-system-arm -M mps3-an547 {QEMU}", ARM, kernels="mve",
    ),
    "riscv32": Board(
        "RISC-V (rv32imac), 1 MiB of code memory, 192 KiB of RAM, in QEMU's machine `virt`",
        "riscv64-unknown-elf-", "-march=rv32imac -mabi=ilp32 -ffreestanding -fno-tree-loop-distribute-patterns",
        1024 * KIB, 192 * KIB, 0x80000000, 0x80200000, f"qemu-system-riscv32 -M virt -bios none {QEMU}",
        ("semihosting.c", "riscv.c"), "start", kernels="small", libraries="-nostdlib -lgcc",
    ),
}  # fmt: skip
"""Each board by the name that QEMU gives it; `riscv32` is QEMU's `virt`."""
