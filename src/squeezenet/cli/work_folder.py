"""The folder beside an output that a stopped command goes on from. Only what this tool has made is ever removed.

>>> with work_folder(Path("birds.sqz.work")) as work:                   # doctest: +SKIP
...     (work / "half.sqz").touch()                                     # gone when the block is done, there if it fails
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from squeezenet.errors import UsageError
from squeezenet.printable import printable

MARK = "made-by-squeezenet.txt"
"""The file that says that a folder is ours."""

WORDS = (
    "Here lies what a stopped `squeezenet compress` goes on from. The command removes this folder when it is done.\n"
)


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """`path`, for what is worth keeping if the block ends early; it is made, and removed when the block is done.

    Raises `UsageError` if something that this tool has not made is there: it stays as it is.
    """
    check_work_folder(path)
    path.mkdir(exist_ok=True)
    (path / MARK).write_text(WORDS, encoding="utf-8")
    try:
        yield path
    except BaseException:
        if not anything_in(path):
            shutil.rmtree(path, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)


def check_work_folder(path: Path) -> None:
    """Raise `UsageError` if `path` is taken by something else. A symbolic link is something else."""
    taken = path.is_symlink() or (path.exists() and not (path.is_dir() and (path / MARK).is_file()))
    if taken and not _empty(path):
        name = printable(str(path))
        raise UsageError(
            f"{name}: is in the way of what is kept while the command runs; move it, or choose another --out"
        )


def anything_in(path: Path) -> bool:
    """Whether a stopped command left something there to go on from."""
    return path.is_dir() and any(entry.name != MARK for entry in path.iterdir())


def _empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())
