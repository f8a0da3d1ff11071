"""Checks of a `.pth` file before PyTorch opens it: a pickle is a program, and a zip file may unpack to far more.

    >>> with open_regular("squeezenet1_1-b8a52dc0.pth") as file:        # doctest: +SKIP
    ...     check(file)

`torch.load(weights_only=True)` runs no foreign code, but it allocates what the pickle asks for: a `bytearray` of eight
gigabytes, or all bytes that a compressed archive unpacks to. So the pickle must be short and use only tensors and plain
containers, and the archive must not hold more bytes than the file.
"""

import os
import pickletools
import re
import zipfile
from io import BytesIO
from typing import IO

from squeezenet.errors import ModelError
from squeezenet.limits import MAX_PICKLE_OPERATIONS, MAX_TENSOR_HEADER
from squeezenet.printable import printable

_ZIP = b"PK\x03\x04"
_LEGACY_PICKLES = 5  # before PyTorch 1.6: magic number, protocol, machine, state dict, names of storages; then bytes

_ALLOWED = re.compile(
    "collections OrderedDict|(__builtin__|builtins) set|torch (Size|device)"
    r"|torch (float16|float32|float64|bfloat16|int8|int16|int32|int64|uint8|bool|\w*Storage)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch\.storage (Typed|Untyped)Storage"
)
"""Modules and names of what a state dict consists of."""


def check(file: IO[bytes]) -> None:
    """Raise `ModelError` unless `file` is what `torch.save` writes and asks for no more memory than it has bytes."""
    if is_archive(file):
        _check_operations(BytesIO(pickle_in(file)), MAX_PICKLE_OPERATIONS)
    else:
        left = MAX_PICKLE_OPERATIONS
        for _ in range(_LEGACY_PICKLES):
            left = _check_operations(file, left)
    file.seek(0)


def is_archive(file: IO[bytes]) -> bool:
    """Whether PyTorch will read `file` as a zip archive, and not as a series of pickles, as before PyTorch 1.6."""
    file.seek(0)
    beginning = file.read(len(_ZIP))
    file.seek(0)
    return beginning == _ZIP


def pickle_in(file: IO[bytes]) -> bytes:
    """The pickle of an archive. Raises `ModelError` for an archive that `torch.save` does not write."""
    size = os.fstat(file.fileno()).st_size
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ModelError("its archive is compressed, which torch.save never does; save the weights again")
            if sum(entry.file_size for entry in entries) > size or len(set(archive.namelist())) < len(entries):
                raise ModelError("its archive holds more than the file has bytes")
            pickles = [entry for entry in entries if entry.filename.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1:
                raise ModelError("no state dict in its archive")
            if pickles[0].file_size > MAX_TENSOR_HEADER:
                raise ModelError(f"its pickle has {pickles[0].file_size:,} bytes; the limit is {MAX_TENSOR_HEADER:,}")
            return archive.read(pickles[0])
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise ModelError(f"its archive is damaged ({error})") from None


def _check_operations(file: IO[bytes], most: int) -> int:
    """How many operations of `most` are left after one pickle, which is parsed without running it."""
    start = file.tell()
    try:
        for operation, argument, _ in pickletools.genops(file):
            most -= 1
            if most < 0 or file.tell() - start > MAX_TENSOR_HEADER:
                raise ModelError(f"its pickle has more than {MAX_PICKLE_OPERATIONS:,} operations or is too long")
            if operation.name == "GLOBAL" and not _ALLOWED.fullmatch(str(argument)):
                raise ModelError(
                    f"it holds the Python object {'.'.join(printable(str(argument)).split())}, not weights alone; "
                    "opening it could run any code, so save the weights: torch.save(model.state_dict(), PATH)"
                )
            if operation.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "BYTEARRAY8"):
                raise ModelError(f"its pickle uses {operation.name}, which torch.save does not")
    except (ValueError, IndexError, OverflowError) as error:
        raise ModelError(f"its pickle is damaged ({error})") from None
    return most
