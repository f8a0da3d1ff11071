"""A disk in memory whose power can be cut, and all states in which a cut can leave it.

What POSIX promises, and no more: bytes are durable after the file was synced; the creation and the removal of a file
after the folder was synced. Until then each may be lost or kept, alone or with others. Of unsynced bytes a part may be
kept, and the rest may be zeros or what was there before.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from squeezenet.fleet.disk import Disk

Image = tuple[tuple[str, bytes], ...]
"""The files on a disk after a restart."""


class PowerCut(BaseException):
    """No code of the client can catch it."""


@dataclass(eq=False)
class Inode:
    synced: bytes
    now: bytes

    def survivors(self) -> set[bytes]:
        if self.synced == self.now:
            return {self.now}
        half = (len(self.synced) if self.now.startswith(self.synced) else 0) + len(self.now)
        part = self.now[: half // 2]
        return {self.synced, self.now, part, part + bytes(len(self.now) - len(part)), part + self.synced[len(part) :]}


class MemoryDisk(Disk):
    """Cuts the power at operation `cut`: before it, or in the middle if `torn`."""

    def __init__(self, folder: Path, image: Image = (), cut: int | None = None, torn: bool = False) -> None:
        super().__init__(folder)
        self.now = {name: Inode(data, data) for name, data in image}
        self.durable = dict(self.now)
        self.left, self.torn = cut, torn
        self.operations = 0

    def read(self, name: str, limit: int) -> bytes | None:
        inode = self.now.get(name)
        return None if inode is None or len(inode.now) > limit else inode.now

    def size(self, name: str) -> int:
        return len(self.now[name].now) if name in self.now else 0

    def create(self, name: str) -> None:
        self._operation()
        self.now.setdefault(name, Inode(b"", b"")).now = b""

    def append(self, name: str, data: bytes) -> None:
        inode = self.now.setdefault(name, Inode(b"", b""))
        self._operation(lambda: setattr(inode, "now", inode.now + data[: len(data) // 2]))
        inode.now += data

    def sync(self, name: str) -> None:
        self._operation()
        self.now[name].synced = self.now[name].now

    def sync_names(self) -> None:
        self._operation()
        self.durable = dict(self.now)

    def remove(self, name: str) -> None:
        self._operation()
        self.now.pop(name, None)

    def image(self) -> Image:
        """The files, as a restart without a cut finds them."""
        return tuple(sorted((name, inode.now) for name, inode in self.now.items()))

    def after_a_cut(self) -> Iterator[Image]:
        """Every state in which a power cut at this moment can leave the disk."""
        names = sorted({*self.now, *self.durable})
        choices: list[list[bytes | None]] = []
        for name in names:
            found: set[bytes | None] = set()
            for entries in (self.durable, self.now):
                found |= entries[name].survivors() if name in entries else {None}
            choices.append(sorted(found, key=repr))
        for chosen in product(*choices):
            yield tuple((name, data) for name, data in zip(names, chosen, strict=True) if data is not None)

    def _operation(self, half: Callable[[], None] = lambda: None) -> None:
        if self.left == self.operations:
            if self.torn:
                half()
            raise PowerCut
        self.operations += 1


def every_cut(folder: Path, start: Image, work: Callable[[MemoryDisk], object]) -> tuple[int, set[Image]]:
    """The number of writing operations of `work`, and all states in which a cut at any of them can leave the disk."""
    whole = MemoryDisk(folder, start)
    work(whole)
    images = set(whole.after_a_cut())
    for cut in range(whole.operations):
        for torn in (False, True):
            disk = MemoryDisk(folder, start, cut, torn)
            try:
                work(disk)
            except PowerCut:
                images.update(disk.after_a_cut())
    return whole.operations, images
