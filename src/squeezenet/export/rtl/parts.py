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

    @property
    def block_ram_bits(self) -> int:
        """Bits of all block RAMs."""
        return self.block_rams * self.block_ram


PARTS = {
    "ecp5-85f": Part("Lattice ECP5-85F", 83_640, 156, (18, 18), 208, 18_432),
}
"""Name for `--part` -> what the part holds."""
