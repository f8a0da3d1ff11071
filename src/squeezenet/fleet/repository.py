"""The publisher's folder: keys, the metadata of The Update Framework (TUF), and the static files that devices fetch.

    DIR/public/metadata/   N.root.json, N.targets.json, N.snapshot.json, timestamp.json
    DIR/public/targets/    models and deltas, each with its SHA-256 in the name
    DIR/keys/              private keys: root-1, root-2, ... (away from this machine, if possible), targets-1, online-1
    DIR/staged/            a new root that does not have enough signatures yet
    DIR/fleet.json         settings, and a record of every release (`publisher.py`)

Only `DIR/public` is served. The root keys sign which keys are valid; a threshold of them must sign together. The
targets key signs the list of releases (targets metadata). The online key signs the snapshot and the timestamp, which
say that the list is the newest one. This key is on the machine that renews the timestamp, so it is the easiest to
steal, and has the fewest rights.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Key, Metadata, MetaFile, Role, Root, Snapshot, Targets, Timestamp

from squeezenet.errors import FleetError, UsageError
from squeezenet.files import read_regular, write_atomically
from squeezenet.fleet.keys import keys_here, new_key, password_of
from squeezenet.limits import FLEET_METADATA, FLEET_ROOT, FLEET_TIMESTAMP

ONLINE = ("timestamp", "snapshot")
"""The roles of the online key."""
MOST_LEDGER = 2**26
"""Bytes of fleet.json."""


@dataclass(frozen=True)
class Days:
    """For how many days metadata are valid after they were signed."""

    root: int = 730
    targets: int = 180
    snapshot: int = 30
    timestamp: int = 7


@dataclass(frozen=True)
class Record:
    """What the publisher remembers of a release."""

    number: int
    name: str
    sha256: str
    length: int  # bytes
    published: str
    top1: float | None = None  # percent, on the validation set
    images: int = 0  # in the validation set
    data: str = ""  # the validation set
    override: str = ""  # why it was published although a rule held it back
    withdrawn: str = ""  # why it was withdrawn


@dataclass(frozen=True)
class Ledger:
    """fleet.json."""

    days: Days = field(default_factory=Days)
    password: bool = False  # whether root keys have one
    releases: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Repository:
    """The publisher's folder at one moment."""

    folder: Path
    ledger: Ledger
    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    @property
    def keys(self) -> dict[str, str]:
        """The valid keys: name -> key id. The root metadata contain the names."""
        return {_name(key): keyid for keyid, key in self.root.signed.keys.items()}

    @property
    def public(self) -> Path:
        """The folder to serve."""
        return self.folder / "public"


@dataclass(frozen=True)
class Keys:
    """How many keys a role has, and how many of them must sign."""

    number: int
    threshold: int


def create(folder: Path, root: Keys, targets: Keys, days: Days, now: datetime, password: bool = False) -> Repository:
    """A new folder with keys, a root that all root keys have signed, and an empty list of releases.

    With `password`, the root keys have one (`keys.py`).
    """
    for role, keys in (("root", root), ("targets", targets)):
        if not 1 <= keys.threshold <= keys.number:
            raise UsageError(
                f"--{role}-threshold {keys.threshold}: must be from 1 to {keys.number}, the number of {role} keys"
            )
    if (folder / "fleet.json").exists():
        raise UsageError(f"{folder}: is a publisher's folder already; name another one")
    roots = [f"root-{number}" for number in range(1, root.number + 1)]
    passwords = {name: password_of(name, new=True) for name in roots if password}  # before anything is written
    for part in ("public/metadata", "public/targets", "keys", "staged"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "keys").chmod(0o700)
    names = [*roots, *(f"targets-{number}" for number in range(1, targets.number + 1)), "online-1"]
    signers = {name: new_key(folder, name, passwords.get(name, b"")) for name in names}
    first = Root(version=1, expires=_after(now, days.root))
    first.roles["root"], first.roles["targets"] = Role([], root.threshold), Role([], targets.threshold)
    for name, signer in signers.items():
        for role in _roles_of(name):
            first.add_key(signer.public_key, role)
    metadata = Metadata(first)
    for name in roots:
        metadata.sign(signers[name], append=True)
    _write(folder / "public/metadata/1.root.json", metadata, FLEET_ROOT)
    ledger, empty = Ledger(days, password), (Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp()))
    return signed(Repository(folder, ledger, metadata, *empty), now)


def load(folder: Path) -> Repository:
    """The publisher's folder. Raises `UsageError` if it is none."""
    try:
        values = json.loads(read_regular(folder / "fleet.json", MOST_LEDGER))
    except FileNotFoundError:
        raise UsageError(
            f"{folder}: is not a publisher's folder; make one with: squeezenet fleet init {folder}"
        ) from None
    records = tuple(Record(**record) for record in values["releases"])
    ledger = Ledger(Days(**values["days"]), values.get("password", False), records)
    public = folder / "public/metadata"
    version = max(int(path.name.partition(".")[0]) for path in public.glob("*.root.json"))
    timestamp = Metadata[Timestamp].from_bytes((public / "timestamp.json").read_bytes())
    number = timestamp.signed.snapshot_meta.version
    snapshot = Metadata[Snapshot].from_bytes((public / f"{number}.snapshot.json").read_bytes())
    number = snapshot.signed.meta["targets.json"].version
    targets = Metadata[Targets].from_bytes((public / f"{number}.targets.json").read_bytes())
    root = Metadata[Root].from_bytes((public / f"{version}.root.json").read_bytes())
    return Repository(folder, ledger, root, targets, snapshot, timestamp)


def signed(repository: Repository, now: datetime, targets: bool = True) -> Repository:
    """Sign a new version of the timestamp and the snapshot, and with `targets` of the list of releases; write all.

    The timestamp is written last: until then devices see the state before. Raises `FleetError` without the keys.
    """
    days = repository.ledger.days
    public = repository.public / "metadata"
    writes: list[tuple[Path, Metadata[Any], int]] = []
    if targets:
        listing = repository.targets.signed
        listing.version, listing.expires = _next_version(public, "targets"), _after(now, days.targets)
        _sign(repository, "targets", repository.targets)
        writes.append((public / f"{listing.version}.targets.json", repository.targets, FLEET_METADATA))
    snapshot, timestamp = repository.snapshot.signed, repository.timestamp.signed
    snapshot.version, snapshot.expires = _next_version(public, "snapshot"), _after(now, days.snapshot)
    if targets:
        snapshot.meta["targets.json"] = _meta(repository.targets)
    _sign(repository, "snapshot", repository.snapshot)
    writes.append((public / f"{snapshot.version}.snapshot.json", repository.snapshot, FLEET_METADATA))
    timestamp.version += (public / "timestamp.json").exists()
    timestamp.expires = _after(now, days.timestamp)
    timestamp.snapshot_meta = MetaFile(snapshot.version)  # no hash: the same key has signed the snapshot
    timestamp.unrecognized_fields["issued"] = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    _sign(repository, "timestamp", repository.timestamp)
    writes.append((public / "timestamp.json", repository.timestamp, FLEET_TIMESTAMP))
    text = json.dumps(asdict(repository.ledger), indent=1)
    write_atomically(repository.folder / "fleet.json", text.encode() + b"\n")
    for path, metadata, limit in writes:
        _write(path, metadata, limit)
    return repository


# Keys ----------------------------------------------------------------------------------------------------------------


def revoke(repository: Repository, name: str, now: datetime) -> Path | None:
    """Replace a key. Returns None if the new root is published, or the path of a root that still needs signatures.

    A new targets key brings a new online key with it: devices forget the version numbers that a thief could have
    raised only if the keys of the snapshot and the timestamp change.
    """
    keys, root = repository.keys, repository.root.signed
    if name not in keys:
        raise UsageError(f"{name}: no such key; the keys are {', '.join(sorted(keys))}")
    _check_nothing_staged(repository)
    kind = name.partition("-")[0]
    for old in [name, *(other for other in keys if kind == "targets" and other.startswith("online-"))]:
        new = _next_name(repository, old)
        secret = password_of(new, new=True) if repository.ledger.password and old.startswith("root-") else b""
        key = new_key(repository.folder, new, secret).public_key
        for role in _roles_of(old):
            root.revoke_key(keys[old], role)
            root.add_key(key, role)
    return _new_root(repository, now)


def renew(repository: Repository, now: datetime, root: bool = False) -> Path | None:
    """Sign the timestamp and the snapshot anew, and the list of releases in the second half of its time; or the root.

    The list is also signed anew if the keys that are valid now have not signed it: this happens if the power was cut
    after a new root was published. The result is as for `revoke`.
    """
    if root:
        _check_nothing_staged(repository)
        return _new_root(repository, now)
    listing, trusted = repository.targets, repository.root.signed
    half = timedelta(days=repository.ledger.days.targets / 2)
    valid = trusted.get_verification_result("targets", listing.signed_bytes, listing.signatures).verified
    signed(repository, now, targets=not valid or listing.signed.expires - now < half)
    return None


def sign(folder: Path, now: datetime) -> Path | None:
    """Add the signatures of the root keys that are here to the staged root. The result is as for `revoke`."""
    repository = load(folder)
    staged = _staged(repository)
    if not staged.exists():
        raise UsageError(f"{folder / 'staged'}: no root waits for signatures")
    return _finish(repository, Metadata[Root].from_bytes(staged.read_bytes()), now)


def _new_root(repository: Repository, now: datetime) -> Path | None:
    root = repository.root.signed
    root.version, root.expires = root.version + 1, _after(now, repository.ledger.days.root)
    repository.root.signatures.clear()
    return _finish(load(repository.folder), repository.root, now)


def _finish(repository: Repository, new: Metadata[Root], now: datetime) -> Path | None:
    """Sign a new root with all root keys that are here, old and new; publish it if this is enough."""
    folder, old = repository.folder, repository.root.signed
    wanted = {_name(root.keys[keyid]): keyid for root in (old, new.signed) for keyid in root.roles["root"].keyids}
    for signer in keys_here(folder, wanted):
        new.sign(signer, append=True)
    staged = folder / "staged" / f"{new.signed.version}.root.json"
    _write(staged, new, FLEET_ROOT)
    result = new.signed.get_root_verification_result(old, new.signed_bytes, new.signatures)
    if not result.verified:
        return staged
    _write(repository.public / "metadata" / staged.name, new, FLEET_ROOT)
    signed(replace(repository, root=new), now)
    for path in (folder / "keys").glob("*.pem"):
        if path.stem not in map(_name, new.signed.keys.values()):
            path.unlink()
    staged.unlink()
    return None


def missing(repository: Repository, staged: Path) -> str:
    """Which keys could still sign a staged root, in words."""
    new, old = Metadata[Root].from_bytes(staged.read_bytes()), repository.root.signed
    result = new.signed.get_root_verification_result(old, new.signed_bytes, new.signatures)
    lacking = max(result.first.missing, result.second.missing)
    return f"{lacking} more of {', '.join(sorted(_name(key) for key in result.unsigned.values()))}"


def _sign(repository: Repository, role: str, metadata: Metadata[Any]) -> None:
    """Sign with the keys of a role that are here. Raises `FleetError` if they are fewer than the threshold."""
    wanted = repository.root.signed.roles[role]
    names = {name: keyid for name, keyid in repository.keys.items() if keyid in wanted.keyids}
    here = keys_here(repository.folder, names)
    if len(here) < wanted.threshold:
        raise FleetError(
            f"{repository.folder / 'keys'}: signing as {role} needs {wanted.threshold} of the keys "
            f"{', '.join(sorted(names))}; {len(here)} of them are here"
        )
    metadata.signatures.clear()
    for signer in here:
        metadata.sign(signer, append=True)


def _name(key: Key) -> str:
    return str(key.unrecognized_fields["name"])


def _next_name(repository: Repository, old: str) -> str:
    """A name for the key after `old` that no key has had."""
    roots = [Metadata[Root].from_bytes(path.read_bytes()) for path in repository.public.glob("metadata/*.root.json")]
    names = [_name(key) for root in roots for key in root.signed.keys.values()]
    names += [path.stem for path in (repository.folder / "keys").glob("*.pem")]
    kind = old.partition("-")[0]
    return f"{kind}-{1 + max(int(name.partition('-')[2]) for name in names if name.startswith(f'{kind}-'))}"


def _staged(repository: Repository) -> Path:
    """Where the next root waits for signatures, if there is one."""
    return repository.folder / "staged" / f"{repository.root.signed.version + 1}.root.json"


def _check_nothing_staged(repository: Repository) -> None:
    if (staged := _staged(repository)).exists():
        raise FleetError(f"{staged}: waits for signatures; squeezenet fleet sign {repository.folder}, or remove it")


def _roles_of(name: str) -> tuple[str, ...]:
    kind = name.partition("-")[0]
    return ONLINE if kind == "online" else (kind,)


# Metadata ------------------------------------------------------------------------------------------------------------


def _after(now: datetime, days: int) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) + timedelta(days=days)


def _next_version(public: Path, role: str) -> int:
    """A version that was never signed before, not even for files that no timestamp names because the power was cut."""
    return 1 + max((int(path.name.partition(".")[0]) for path in public.glob(f"*.{role}.json")), default=0)


def _meta(metadata: Metadata[Any]) -> MetaFile:
    data = metadata.to_bytes()
    return MetaFile.from_data(metadata.signed.version, data, ["sha256"])


def _write(path: Path, metadata: Metadata[Any], limit: int) -> None:
    data = metadata.to_bytes()  # JSON without spaces
    if len(data) > limit:
        raise FleetError(f"{path}: would have {len(data):,} bytes, more than the {limit:,} that devices read")
    write_atomically(path, data)
