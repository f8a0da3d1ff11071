"""Folders that `export` writes: which ones it may write into, and their files.

>>> may_write(Path("digits-c"), "c", force=False)                       # doctest: +SKIP
>>> put(Path("digits-c"), {"README.md": b"..."}, "c", (".",))            # doctest: +SKIP
"""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from squeezenet.errors import UsageError
from squeezenet.files import write_atomically
from squeezenet.printable import printable

MARKER = "squeezenet.json"
"""The file that tells a later export that squeezenet wrote this folder, for which target, and which files in it."""


def may_write(out: Path, target: str, force: bool) -> None:
    """Raise `UsageError` unless `out` does not exist, is an empty folder, or was written for the same target."""
    name = printable(str(out))
    if not out.parent.is_dir():
        raise UsageError(f"{printable(str(out.parent))}: no such folder; create it, or name another")
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise UsageError(f"{name}: is a file, not a folder; give another name")
    if not force and any(out.iterdir()) and not _ours(out, target):
        raise UsageError(f"{name}: exists, and squeezenet did not write it; pass --force to write into it")


def _ours(out: Path, target: str) -> list[str]:
    """The files that an earlier export wrote, or nothing."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        held = json.loads((out / MARKER).read_text(encoding="utf-8"))
        if held["to"] == target:
            return [str(name) for name in held["files"]]
    return []


def put(out: Path, written: dict[str, bytes], target: str, folders: tuple[str, ...]) -> None:
    """Write the files. A new folder appears at once and complete; in an existing one each file is replaced.

    Files of an earlier export that this one does not write are removed, if they lie in one of `folders`, which are
    relative to `out` ("." is `out` itself). Other files stay.
    """
    if not out.exists():
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
        try:
            put_files(temporary, written)
            os.umask(mask := os.umask(0))
            temporary.chmod(0o777 & ~mask)
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return
    stale = [name for name in _ours(out, target) if name not in written and str(Path(name).parent) in folders]
    put_files(out, written)
    for name in stale:
        (out / name).unlink(missing_ok=True)


def put_files(folder: Path, written: dict[str, bytes]) -> None:
    """Write the files into a folder that exists."""
    for name, data in written.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
