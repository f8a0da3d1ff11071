"""Finds a plan with which a whole program keeps within the RAM and flash of its board.

The planner knows how much memory the network takes. How much the code, the stack and the example take is known only
after the plan was compiled. So the first plan is made with estimates and compiled, and the next plan is made with the
measured numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from squeezenet import sqz
from squeezenet.errors import UnsupportedOperation
from squeezenet.export.c.board import Board
from squeezenet.export.c.measure import Measured
from squeezenet.model import Model
from squeezenet.runtime.engine import row_plan

GEOMETRY = {
    "scalar": (8, 4, 1, 0, 1, 0, 8, 8, 8, 8),
    "small": (8, 4, 1, 0, 1, 0, 14, 14, 14, 14),
    "dsp": (8, 4, 1, 0, 1, 0, 14, 14, 14, 14),
    "mve": (8, 16, 1, 128, 1, 0, 8, 8, 8, 8),
}
"""For each path of the engine that a board may use, what `plan_rows` must know of its kernels."""

STACK = {"scalar": 3584, "small": 5376, "dsp": 6112, "mve": 4768}
"""Bytes of stack, by path: an estimate that is rather too low, because the next plan uses the measured number."""
CODE = 22 * 1024
"""Bytes of flash for code and for the tables of the plan: an estimate of the same kind."""
STACK_UNMEASURED, CODE_UNMEASURED = 8192, 40 * 1024
"""Both if there is no compiler, and so no second plan: estimates that are rather too high."""

ROUNDS = 4
"""How often the plan is made at most."""


@dataclass(frozen=True)
class Bytes:
    """An amount of RAM and of flash, in bytes. As a limit, 0 means none."""

    ram: int
    flash: int


def beside(model: Model, board: Board, low: bool) -> Bytes:
    """What a program takes beside the network: stack, code, names and the example. An estimate, rather too low or high.

    Of this machine, the limits are those of the network alone.
    """
    if not board.prefix:
        return Bytes(0, 0)
    channels, _, width = model.graph.input_shape
    stack, code = (STACK[board.kernels], CODE) if low else (STACK_UNMEASURED, CODE_UNMEASURED)
    names = sum(len(label.encode("utf-8", "replace")) + 5 for label in model.labels)
    return Bytes(stack + max(channels * width, 4 * model.graph.classes) + 64, code + names)


def fitted(
    model: Model, board: Board, limit: Bytes, compiled: bool, measure: Callable[[dict[str, Any]], Measured]
) -> tuple[dict[str, Any], Measured | None]:
    """A plan, and the figures of the program. `measure` compiles a plan, if there is a compiler (`compiled`).

    Raises `UnsupportedOperation` if there is no plan within the limits.
    """
    data = sqz.encode(model)
    rest = beside(model, board, compiled)
    for left in reversed(range(ROUNDS)):
        plan = _plan(data, board, limit, rest)
        if not compiled:
            return plan, None
        measured = measure(plan)
        exact = Bytes(measured.ram - plan["rows"]["bytes"], measured.flash - len(plan["weights"]))
        fits = measured.ram <= limit.ram and measured.flash <= limit.flash
        if fits and (exact == rest or left == 0 or not plan["decoded"]):
            return plan, measured
        rest = exact
    raise UnsupportedOperation(
        f"every plan that was tried takes more than {limit.ram:,} bytes of RAM or {limit.flash:,} of flash"
    )


def _plan(data: bytes, board: Board, limit: Bytes, rest: Bytes) -> dict[str, Any]:
    """The engine's plan, if the rest of the program takes `rest`."""
    left = Bytes(limit.ram and limit.ram - rest.ram, limit.flash and limit.flash - rest.flash)
    if left.ram < 0 or left.flash < 0:
        raise UnsupportedOperation(
            f"stack, code and names alone take about {rest.ram:,} bytes of RAM and {rest.flash:,} of flash; the limits "
            f"are {limit.ram:,} and {limit.flash:,}"
        )
    try:
        return row_plan(data, GEOMETRY[board.kernels], left.ram or 0, left.flash or 0)
    except ValueError as error:
        free = row_plan(data, GEOMETRY[board.kernels], 0, 0)
        raise UnsupportedOperation(
            f"{error}: {_limits(limit, rest)}; without limits, the network alone takes {free['rows']['bytes']:,} bytes "
            f"of RAM and {len(free['weights']):,} of flash"
        ) from None


def _limits(limit: Bytes, rest: Bytes) -> str:
    """The limits that there are, and what the rest of the program takes of them."""
    ram = f"{limit.ram:,} bytes of RAM" + (f" ({rest.ram:,} for the stack and the example)" if rest.ram else "")
    flash = f"{limit.flash:,} bytes of flash" + (f" ({rest.flash:,} for code and names)" if rest.flash else "")
    return " and ".join([ram] * bool(limit.ram) + [flash] * bool(limit.flash))
