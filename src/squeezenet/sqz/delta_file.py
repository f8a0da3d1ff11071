"""The file of a delta: its header, and applying it. This module needs no NumPy if there is the C engine.

    >>> examine(delta).new_bytes                                        # doctest: +SKIP
    49846
    >>> new = apply(old, delta)                                         # doctest: +SKIP

A delta contains the SHA-256 of the old file and of the new file (docs/FORMAT.md, "Deltas"). `delta` makes deltas.
"""

import struct
from binascii import crc32
from dataclasses import dataclass
from hashlib import sha256

from squeezenet.errors import (
    ChecksumMismatch,
    LimitExceeded,
    NotDelta,
    TrailingBytes,
    Truncated,
    UnsupportedVersion,
    WrongOldFile,
)
from squeezenet.limits import DELTA_BYTES_A_BYTE, FREE_DELTA, MAX_MODEL_FILE

try:
    from squeezenet import _engine
except ImportError:  # there was no compiler
    HAS_ENGINE = False
else:
    HAS_ENGINE = True

MAGIC = b"\x89SQD"
VERSION = 2
WHOLE, LEVELS = 0, 1
"""Kinds of deltas: the body is the new file; the body holds the differences between the levels of both files."""
_HEADER = struct.Struct("<4sBBHIIII")
"""Magic, version, kind, reserved, bytes of the delta, CRC-32, bytes of the old and of the new file."""
_HASH_BYTES = {1: 32, 2: 16}
"""For each version, how many bytes of the SHA-256 of each file follow."""


@dataclass(frozen=True)
class Header:
    """What a delta says about itself and about both files."""

    version: int
    kind: int
    old_bytes: int
    new_bytes: int
    old_sha256: bytes  # all 32 bytes in version 1, the first 16 in version 2
    new_sha256: bytes

    @property
    def size(self) -> int:
        """Bytes of the header; the body follows."""
        return _HEADER.size + 2 * _HASH_BYTES[self.version]


def apply(old: bytes, delta: bytes) -> bytes:
    """The new file. Raises a subclass of `FormatError` for a damaged delta, `WrongOldFile` if `old` does not fit it."""
    header = examine(delta)
    if len(old) != header.old_bytes or not sha256(old).digest().startswith(header.old_sha256):
        raise WrongOldFile(
            f"the delta is for a file with the SHA-256 {header.old_sha256[:8].hex()}..., not for this one; "
            "fetch the whole new file instead"
        )
    if HAS_ENGINE:
        return _engine.delta_apply(old, delta, header.new_bytes)[0]
    new = _applied_in_python(header, old, memoryview(delta)[header.size :])
    if len(new) != header.new_bytes or not sha256(new).digest().startswith(header.new_sha256):
        raise ChecksumMismatch("the delta does not give the file that it promises; fetch it again")
    return new


def _applied_in_python(header: Header, old: bytes, body: memoryview) -> bytes:
    if header.kind == WHOLE:
        return bytes(body)
    from squeezenet.sqz import delta_reference  # needs NumPy

    return delta_reference.decode(delta_reference.Parts.of(old), body, header.new_bytes, header.version)


def examine(delta: bytes) -> Header:
    """Check all of a delta that can be checked without the old file. Raises a subclass of `FormatError`."""
    if delta[: len(MAGIC)] != MAGIC[: len(delta)] or not delta:
        raise NotDelta("not a delta: it does not begin with the magic bytes")
    if len(delta) < _HEADER.size:
        raise Truncated("the delta ends inside its header; fetch it again")
    _, version, kind, reserved, total, checksum, old_bytes, new_bytes = _HEADER.unpack_from(delta)
    if version not in _HASH_BYTES or kind not in (WHOLE, LEVELS) or reserved:
        raise UnsupportedVersion(f"delta of version {version}, kind {kind}; this reader knows versions 1 and {VERSION}")
    middle, end = (_HEADER.size + count * _HASH_BYTES[version] for count in (1, 2))
    header = Header(version, kind, old_bytes, new_bytes, delta[_HEADER.size : middle], delta[middle:end])
    if len(delta) < end:
        raise Truncated("the delta ends inside its header; fetch it again")
    if len(delta) < total:
        raise Truncated(f"the delta has {len(delta)} of its {total} bytes; fetch it again")
    if len(delta) > total:
        raise TrailingBytes(f"the delta has {len(delta) - total} bytes after its end")
    if crc32(memoryview(delta)[16:]) != checksum:
        raise ChecksumMismatch("the delta's bytes are not those that were written; fetch it again")
    if max(old_bytes, new_bytes) > MAX_MODEL_FILE or new_bytes > DELTA_BYTES_A_BYTE * (old_bytes + total) + FREE_DELTA:
        raise LimitExceeded(f"a delta of {total} bytes cannot make {new_bytes} bytes from {old_bytes}")
    return header


def packed(kind: int, old: bytes, new: bytes, body: bytes, version: int = VERSION) -> bytes:
    """The delta of this kind with this body."""
    hashes = [sha256(file).digest()[: _HASH_BYTES[version]] for file in (old, new)]
    tail = struct.pack("<II", len(old), len(new)) + b"".join(hashes) + body
    head = struct.pack("<4sBBHII", MAGIC, version, kind, 0, 16 + len(tail), crc32(tail))
    return head + tail
