"""FPGAs and what they hold. The planner keeps within it, and the fit table compares networks with it.

>>> PARTS["ecp5-85f"].block_ram_bits
3833856
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """An FPGA, as its data sheet counts."""

    about: str
    luts: int
    """Lookup tables."""
    multipliers: int
    multiplier: tuple[int, int]
    """Bits of the two factors of a multiplier, both signed."""
    block_rams: int
    block_ram: int
    """Bits of a block RAM, parity bits included."""
    large: int = 0
    """Bits of memories that are larger than block RAMs."""

    @property
    def block_ram_bits(self) -> int:
        """Bits of all block RAMs."""
        return self.block_rams * self.block_ram

    @property
    def memory_bits(self) -> int:
        """Bits of all memories."""
        return self.block_ram_bits + self.large


PARTS = {
    # Lattice, FPGA-DS-02008 (iCE40 UltraPlus) and FPGA-DS-02012 (ECP5 and ECP5-5G)
    "ice40-up5k": Part("Lattice iCE40 UP5K", 5_280, 8, (16, 16), 30, 4_096, large=4 * 262_144),
    "ecp5-25f": Part("Lattice ECP5-25F", 24_288, 28, (18, 18), 56, 18_432),
    "ecp5-85f": Part("Lattice ECP5-85F", 83_640, 156, (18, 18), 208, 18_432),
    # AMD, DS180 (7 series), DS190 (Zynq-7000), DS891 (Zynq UltraScale+); a block of 36 kbit is two of 18
    "artix-35t": Part("AMD Artix-7 35T", 20_800, 90, (25, 18), 100, 18_432),
    "artix-100t": Part("AMD Artix-7 100T", 63_400, 240, (25, 18), 270, 18_432),
    "artix-200t": Part("AMD Artix-7 200T", 134_600, 740, (25, 18), 730, 18_432),
    "kintex-325t": Part("AMD Kintex-7 325T", 203_800, 840, (25, 18), 890, 18_432),
    "zynq-7020": Part("AMD Zynq-7020", 53_200, 220, (25, 18), 280, 18_432),
    "zu3eg": Part("AMD Zynq UltraScale+ ZU3EG", 70_560, 360, (27, 18), 432, 18_432),
    "zu9eg": Part("AMD Zynq UltraScale+ ZU9EG", 274_080, 2_520, (27, 18), 1_824, 18_432),
    # Microchip, PO0137 (PolarFire product overview); the small uSRAM blocks are not counted
    "mpf300": Part("Microchip PolarFire MPF300", 299_544, 924, (18, 18), 952, 20_480),
}
"""Name -> what the part holds."""

PLANNED = tuple(name for name, part in PARTS.items() if part.block_ram == 18_432)
"""The names for `--part`: the planner knows the shapes of block RAMs of 18 kbit."""
