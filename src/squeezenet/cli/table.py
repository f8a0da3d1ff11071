"""Tables as text.

>>> print(table(["a", "b"], [["x", "10"], ["yy", "2"]]))
a    b
x   10
yy   2
"""

from collections.abc import Sequence

WIDEST = 100  # characters; a very long name must not widen every line


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as text. The first column is aligned left, the others right; a cell has at most `WIDEST` characters."""
    lines = [[cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 3]}..." for cell in line] for line in (head, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )
