"""The folder beside an output from which a stopped command continues. Only folders that squeezenet made are removed.

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
"""The file that marks a folder as made by squeezenet."""

WORDS = (
    "A stopped `squeezenet compress` continues from the files here. The command removes this folder when it is done.\n"
)


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Make the folder `path`; remove it when the block is done. If the block fails, its files stay.

    Raises `UsageError` if `path` exists and squeezenet did not make it.
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
    """Raise `UsageError` if `path` exists and squeezenet did not make it, or if it is a symbolic link."""
    ours = path.is_dir() and not path.is_symlink() and ((path / MARK).is_file() or not any(path.iterdir()))
    if not ours and (path.is_symlink() or path.exists()):
        name = printable(str(path))
        raise UsageError(
            f"{name}: is needed as a work folder, but squeezenet did not make it; move it, or choose another --out"
        )


def anything_in(path: Path) -> bool:
    """Whether a stopped command left files there."""
    return path.is_dir() and any(entry.name != MARK for entry in path.iterdir())
