"""The publisher's private keys: one file for each key (ed25519, in PEM form). Root keys can have a password.

A password is asked for in the terminal, or taken from the environment variable `SQUEEZENET_KEY_PASSWORD`.
"""

import os
import sys
from collections.abc import Mapping
from getpass import getpass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from squeezenet.errors import FleetError, UsageError
from squeezenet.files import read_regular

PASSWORD = "SQUEEZENET_KEY_PASSWORD"
"""Environment variable with the password of all keys that have one."""
MOST_KEY = 2**16
"""Bytes of a private key."""


def new_key(folder: Path, name: str, password: bytes = b"") -> CryptoSigner:
    """Make a private key in a file that only its owner may read, with a password if one is given."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    private = Ed25519PrivateKey.generate()
    handle = os.open(folder / "keys" / f"{name}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        file.flush()
        os.fsync(file.fileno())
    signer = CryptoSigner(private)
    signer.public_key.unrecognized_fields["name"] = name
    return signer


def keys_here(folder: Path, wanted: Mapping[str, str]) -> list[CryptoSigner]:
    """Those of the wanted private keys (name -> key id) that are in the folder."""
    found = []
    for name, keyid in sorted(wanted.items()):
        path = folder / "keys" / f"{name}.pem"
        if path.exists():
            found.append(_signer(path))
            if found[-1].public_key.keyid != keyid:
                raise FleetError(f"{path}: is another key than {name} in the root metadata; put the right key there")
    return found


def _signer(path: Path) -> CryptoSigner:
    data = read_regular(path, MOST_KEY)
    try:
        try:
            private = load_pem_private_key(data, None)
        except TypeError:  # it has a password
            private = load_pem_private_key(data, password_of(path.stem))
        return CryptoSigner(private)
    except ValueError:
        raise FleetError(f"{path}: is not a private key in PEM form, or the password is wrong") from None


def password_of(name: str, new: bool = False) -> bytes:
    """The password of a key, which is asked for twice if it is `new`."""
    if given := os.environ.get(PASSWORD):
        return given.encode()
    if not sys.stdin.isatty():
        raise FleetError(f"{name}: its password is needed; set {PASSWORD}, or run the command in a terminal")
    word = getpass(f"password of {name}: ")
    if not word or (new and getpass(f"password of {name}, again: ") != word):
        raise UsageError(f"{name}: the password is empty, or was not typed the same way twice; run the command again")
    return word.encode()
