"""Which boards can take a network, estimated without a compiler and without a search for a plan.

>>> [verdict.fits for verdict in verdicts(data, model)]                 # doctest: +SKIP
['yes', 'perhaps', 'yes', 'yes']

Two plans need no search: all weights as bytes, which takes the least RAM, and all weights packed into 4 bits. If one
of them keeps within the memory of a board, the network fits. It does not fit if the least RAM, or the flash of weights
that all have their smallest form, is too large. Between the two, only the search finds out, which takes some seconds:
`export` does it.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from squeezenet.export.c.board import BOARDS
from squeezenet.export.c.fit import GEOMETRY, Bytes, beside
from squeezenet.model import Model
from squeezenet.runtime.engine import row_plan

UNLIMITED = 1 << 30
"""Bytes of RAM or flash: no network of a microcontroller needs as many."""

MOST_OPERATIONS = 300
MOST_STEPS = 5_000_000
"""A plan takes steps for each row of each activation, and looks at all operations in each step. Larger networks fit no
microcontroller, and `inspect` should not wait for their plans."""


@dataclass(frozen=True)
class Verdict:
    """What is known of a board before a plan is made. All bytes are of the whole program, and estimates."""

    board: str
    fits: str
    """`yes`; `no`; `perhaps`: only if some weights stay compressed, if at all."""
    ram: int
    """Least bytes of RAM."""
    flash: int
    """Least bytes of flash."""

    @property
    def reason(self) -> str:
        """In brackets after the name of the board; empty for `yes`."""
        board = BOARDS[self.board]
        if self.fits == "perhaps":
            return "export finds out"
        missing = [f"{self.ram:,} bytes of RAM"] * (self.ram > board.ram)
        missing += [f"{self.flash:,} bytes of flash"] * (self.flash > board.flash)
        return f"takes at least about {' and '.join(missing)}" if missing else ""


def verdicts(data: bytes, model: Model) -> list[Verdict]:
    """For each board with limits; empty for a very large network. `data` is the file of the integer network `model`."""
    count = len(model.graph.ops)
    if count > MOST_OPERATIONS or count * _rows(model) > MOST_STEPS:
        return []

    @cache
    def stored(kernels: str) -> dict[str, Any]:
        return row_plan(data, GEOMETRY[kernels], UNLIMITED, UNLIMITED)

    found = []
    for name, board in BOARDS.items():
        if not board.ram:
            continue
        plan = stored(board.kernels)
        least, most = beside(model, board, True), beside(model, board, False)
        needs = Bytes(plan["rows"]["bytes"] + least.ram, plan["forms"]["least_flash"] + least.flash)
        tried = [
            Bytes(plan["rows"]["bytes"], len(plan["weights"])),
            Bytes(plan["forms"]["packed_ram"], plan["forms"]["packed_flash"]),
        ]
        if needs.ram > board.ram or needs.flash > board.flash:
            fits = "no"
        elif any(one.ram + most.ram <= board.ram and one.flash + most.flash <= board.flash for one in tried):
            fits = "yes"
        else:
            fits = "perhaps"
        found.append(Verdict(name, fits, needs.ram, needs.flash))
    return found


def _rows(model: Model) -> int:
    """Rows of all activations."""
    return sum(shape[1] if len(shape) == 3 else 1 for shape in model.graph.shapes())
