"""Which metadata a device trusts: the client workflow of The Update Framework (TUF), section 5 of its specification.

python-tuf checks every signature, version, hash and time (`TrustedMetadataSet`). This module fetches the files in the
order of the specification, turns every refusal into one line, and writes nothing: the caller stores what it returns.

Metadata of python-tuf are used through `TrustedMetadataSet`, and not through `tuf.ngclient.Updater`, because `Updater`
writes files without syncing them, and a power cut could then leave a device without its root metadata (ADR 32).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tuf.api import exceptions as tuf
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from squeezenet.errors import FleetError, UpdateRefused, WrongClock
from squeezenet.fleet.state import SLACK, Trusted
from squeezenet.limits import FLEET_METADATA, FLEET_ROOT, FLEET_ROOTS, FLEET_TIMESTAMP

Get = Callable[[str, int], bytes | None]
"""(path below the address of the repository, largest number of bytes) -> contents; None if there is no such file."""


@dataclass(frozen=True)
class Refreshed:
    """The metadata that are trusted now; the error that ended the refresh, if one did; and when they were signed."""

    trusted: Trusted
    issued: str
    error: FleetError | None


def refresh(trusted: Trusted, anchor: str, issued: str, get: Get, now: datetime) -> Refreshed:
    """Fetch and verify metadata: the root, the timestamp, and, if they have changed, the snapshot and the targets.

    Metadata that were verified before an error are in the result as well, as the specification demands: a new root must
    stay trusted, even if the server then sends old files.
    """
    chain = _Chain(trusted, anchor, issued, now)
    try:
        chain.follow(get)
    except FleetError as error:
        return Refreshed(chain.trusted, chain.issued, error)
    return Refreshed(chain.trusted, chain.issued, None)


def check_root(data: bytes) -> None:
    """Raise `UpdateRefused` unless `data` is root metadata with enough signatures of its own keys."""
    try:
        TrustedMetadataSet(data, EnvelopeType.METADATA)
    except tuf.RepositoryError as error:
        reason = " ".join(str(error).split())
        raise UpdateRefused(
            f"this is not the root of a publisher ({reason}); it is called public/metadata/1.root.json there"
        ) from None


class _Chain:
    """One refresh."""

    def __init__(self, trusted: Trusted, anchor: str, issued: str, now: datetime) -> None:
        self.trusted, self.issued, self.now = trusted, issued, now
        self.set = _verified(
            "root", lambda: TrustedMetadataSet((trusted.root or anchor).encode(), EnvelopeType.METADATA)
        )
        self.set.reference_time = now
        if not trusted.root:
            self.trusted = replace(trusted, root=anchor)

    def follow(self, get: Get) -> None:
        self._check_clock()
        for version in range(self.set.root.version + 1, self.set.root.version + 1 + FLEET_ROOTS):
            data = get(f"metadata/{version}.root.json", FLEET_ROOT)
            if data is None:
                break
            self._root(data)
        if self.set.root.is_expired(self.now):
            raise _expired("root", self.set.root.expires, self.now)
        self._timestamp(get)
        self._snapshot(get)
        self._targets(get)

    def _root(self, data: bytes) -> None:
        _verified("root", lambda: self.set.update_root(data))
        self._keep(root=data.decode())

    def _timestamp(self, get: Get) -> None:
        _try(lambda: self.set.update_timestamp(self.trusted.timestamp.encode()))
        data = _required(get, "metadata/timestamp.json", FLEET_TIMESTAMP)
        try:
            self.set.update_timestamp(data)
        except tuf.EqualVersionNumberError:
            pass
        except tuf.ExpiredMetadataError:
            pass  # reported below, after what it says about the clock
        except tuf.RepositoryError as error:
            raise _refusal("timestamp", error) from None
        else:
            self._keep(timestamp=data.decode())
        issued = self.set.timestamp.unrecognized_fields.get("issued")
        if isinstance(issued, str) and issued > self.issued and _moment(issued):
            self.issued = issued
        self._check_clock()
        if self.set.timestamp.is_expired(self.now):
            raise _expired("timestamp", self.set.timestamp.expires, self.now)

    def _snapshot(self, get: Get) -> None:
        if _try(lambda: self.set.update_snapshot(self.trusted.snapshot.encode(), trusted=True)):
            return
        meta = self.set.timestamp.snapshot_meta
        data = _required(
            get, f"metadata/{meta.version}.snapshot.json", min(meta.length or FLEET_METADATA, FLEET_METADATA)
        )
        _verified("snapshot", lambda: self.set.update_snapshot(data))
        self._keep(snapshot=data.decode())

    def _targets(self, get: Get) -> None:
        if _try(lambda: self.set.update_targets(self.trusted.targets.encode())):
            return
        meta = self.set.snapshot.meta.get("targets.json")
        if meta is None:
            raise UpdateRefused("snapshot metadata name no targets metadata; tell the publisher")
        data = _required(
            get, f"metadata/{meta.version}.targets.json", min(meta.length or FLEET_METADATA, FLEET_METADATA)
        )
        _verified("targets", lambda: self.set.update_targets(data))
        self._keep(targets=data.decode())

    def _keep(self, **text: str) -> None:
        self.trusted = replace(self.trusted, **text)

    def _check_clock(self) -> None:
        """A clock that is earlier than a signature is wrong."""
        signed = _moment(self.issued)
        if signed is not None and self.now + SLACK < signed:
            raise WrongClock(
                f"the clock of this device says {_shown(self.now)}, but the publisher signed an update at "
                f"{_shown(signed)}; set the clock"
            )


def _try(step: Callable[[], Any]) -> bool:
    """Load metadata that were trusted before. False if they have expired, or if their key was revoked since."""
    try:
        step()
    except tuf.RepositoryError:
        return False
    return True


def _verified(role: str, step: Callable[[], Any]) -> Any:
    try:
        return step()
    except tuf.RepositoryError as error:
        raise _refusal(role, error) from None


def _required(get: Get, path: str, limit: int) -> bytes:
    data = get(path, limit)
    if data is None:
        raise UpdateRefused(f"{path}: the server does not have this file; check the address, or tell the publisher")
    return data


def _refusal(role: str, error: Exception) -> FleetError:
    return UpdateRefused(f"{role} metadata refused: {' '.join(str(error).split())}; the model in use stays")


def _expired(role: str, moment: datetime, now: datetime) -> FleetError:
    return UpdateRefused(
        f"{role} metadata expired at {_shown(moment)}, and the clock of this device says {_shown(now)}: the server "
        "holds updates back, or the publisher did not renew them, or the clock is wrong; the model in use stays"
    )


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
