"""Releases as the targets metadata lists them, and which of them a device installs.

A release has a number, which is never given again. Its model is the target `12.sqz`; a delta from release 11 is the
target `11-12.sqzd`. The `custom` field of the model says for which channels and devices it is, and how to test it:

    {"channels": {"stable": 2500}, "golden": "<hash of the logits>", "devices": ["<place>", ...]}

`channels` says how many of 10,000 devices of each channel get the release, here 25%. Which devices these are depends
only on the release and on the name of the device: `place` is a hash of both, and a device is among the first 25% if its
place is below a quarter of all places. `devices` lists the places of devices that get the release in any case, so the
metadata do not contain the names of devices.

>>> place(12, "car-17")
'91bedf021c64ab1d'
>>> reached(12, "car-17", 56), reached(12, "car-17", 57)
(False, True)
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from squeezenet.errors import UpdateRefused
from squeezenet.fleet.state import Golden
from squeezenet.limits import FLEET_MODEL

MODEL_NAME = re.compile(r"([1-9][0-9]{0,8})\.sqz")
PLACES = 2**64
WHOLE = 10_000
"""All devices of a channel, in the list of releases."""


@dataclass(frozen=True)
class File:
    """A target: its name, hash and length, which are signed."""

    name: str
    sha256: str
    length: int  # bytes

    @property
    def path(self) -> str:
        """Where it lies below the address of the repository: TUF puts the hash into the name."""
        return f"targets/{self.sha256}.{self.name}"


@dataclass(frozen=True)
class Release:
    """A release that the targets metadata list."""

    number: int
    file: File
    channels: Mapping[str, float]  # percent of the devices
    devices: tuple[str, ...]  # places
    golden: Golden
    deltas: Mapping[int, File]  # by the release that they start from

    def is_for(self, device: str, channel: str) -> bool:
        """Whether this device of this channel installs the release."""
        percent = self.channels.get(channel)
        if percent is None:
            return False
        return place(self.number, device) in self.devices or reached(self.number, device, percent)


def place(release: int, device: str) -> str:
    """The place of a device in the order in which a release reaches the devices: 16 hexadecimal digits."""
    return hashlib.sha256(f"{release}:{device}".encode()).hexdigest()[:16]


def reached(release: int, device: str, percent: float) -> bool:
    """Whether a device is among the first `percent` of all devices for this release."""
    return int(place(release, device), 16) < PLACES * percent / 100


def listed(targets: str) -> dict[int, Release]:
    """The releases in targets metadata that were verified before, by number. Raises `UpdateRefused` if malformed."""
    if not targets:
        return {}
    files: dict[str, Any] = json.loads(targets)["signed"]["targets"]
    releases = {}
    try:
        for name, entry in files.items():
            if match := MODEL_NAME.fullmatch(name):
                number, custom = int(match[1]), entry["custom"]
                deltas = {
                    int(old): _file(delta, files[delta])
                    for delta in files
                    if delta.endswith(f"-{number}.sqzd") and (old := delta.partition("-")[0]).isdecimal()
                }
                releases[number] = Release(
                    number,
                    _file(name, entry),
                    {str(channel): int(share) * 100 / WHOLE for channel, share in custom["channels"].items()},
                    tuple(map(str, custom.get("devices", ()))),
                    Golden(number, str(custom["golden"])),
                    deltas,
                )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UpdateRefused(
            "the signed list of releases is not one that this version reads; update squeezenet on this device"
        ) from None
    return releases


def wanted(releases: Mapping[int, Release], device: str, channel: str, refused: tuple[int, ...]) -> Release | None:
    """The newest release that is for this device and that it has not refused."""
    fitting = [each for each in releases.values() if each.number not in refused and each.is_for(device, channel)]
    return max(fitting, key=lambda release: release.number, default=None)


def _file(name: str, entry: Mapping[str, Any]) -> File:
    file = File(name, str(entry["hashes"]["sha256"]), int(entry["length"]))
    if not 0 < file.length <= FLEET_MODEL or not re.fullmatch("[0-9a-f]{64}", file.sha256):
        raise ValueError(name)
    return file
