"""Which output files a verb may replace: only those that squeezenet wrote.

>>> may_write(Path("model.sqz"), force=False)               # doctest: +SKIP
"""

from pathlib import Path
from typing import TYPE_CHECKING

from squeezenet.errors import UsageError
from squeezenet.printable import printable

if TYPE_CHECKING:
    from argparse import ArgumentParser, _ArgumentGroup


def add_force(parser: "ArgumentParser | _ArgumentGroup") -> None:
    """Add the option --force."""
    parser.add_argument("--force", action="store_true", help="replace OUT even if squeezenet did not write it")


def may_write(out: str | Path, force: bool = False) -> None:
    """Raise `UsageError` if `out` cannot be written, or is a file that squeezenet did not write.

    A model that squeezenet wrote, in the format that the suffix names, may be replaced. `force` allows any other file,
    but no folder, pipe or device.
    """
    out = Path(out)
    name = printable(str(out))
    if not out.parent.is_dir():
        raise UsageError(f"{printable(str(out.parent))}: no such folder; create it, or name another")
    if not out.exists():
        return
    if not out.is_file():
        raise UsageError(f"{name}: is a folder or a device, not a file; give another name")
    from squeezenet.formats import is_ours

    if not force and not is_ours(out):
        raise UsageError(f"{name}: exists, and squeezenet did not write it; pass --force to replace it")
