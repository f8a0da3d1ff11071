"""The models of a server, each of which is replaced in the running program when its file changes.

>>> name_and_path("birds=models/v2.sqz"), name_and_path("models/birds.sqz")
(('birds', 'models/v2.sqz'), ('birds', 'models/birds.sqz'))

A request keeps the classifier that it began with, so no request is lost. A file that cannot be loaded changes nothing.
"""

import hashlib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from squeezenet import sqz, zoo
from squeezenet.errors import SqueezeNetError, UsageError
from squeezenet.fleet.watched import Watched
from squeezenet.runtime.classifier import Classifier

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RECENT = 2.0
"""Seconds. A file that was written so recently can be written again without another time of change."""


@dataclass(frozen=True)
class Loaded:
    """A version of a model: what it is, and since when it is used."""

    classifier: Classifier
    sha256: str
    since: float  # seconds since 1970
    release: int | None = None  # of an updated device


class Model(Protocol):
    """A model with a name; `loaded` is the version in use, `fault` why a newer one is not."""

    name: str
    loaded: Loaded
    fault: str

    def refresh(self, force: bool = False) -> bool:
        """Load a newer version if there is one; whether it was loaded. Not to be called by two threads at a time."""


class FileModel:
    """The model of a `.sqz` file."""

    def __init__(self, name: str, path: Path) -> None:
        """Raises `ModelError`."""
        self.name, self._path, self.fault = name, path, ""
        self._seen: tuple[int, ...] | None = None
        self.loaded = self._read(None)

    def refresh(self, force: bool = False) -> bool:
        try:
            now = os.stat(self._path)
            if not force and self._seen == _identity(now):
                return False
            before, self.loaded = self.loaded, self._read(self.loaded)
        except (SqueezeNetError, OSError, MemoryError) as error:
            self.fault = str(error) or "not enough memory"
            return False
        self.fault = ""
        return self.loaded is not before

    def _read(self, before: Loaded | None) -> Loaded:
        """The version on the disk; `before` if that has the same bytes."""
        found = os.stat(self._path)
        self._seen = _identity(found) if time.time() - found.st_mtime > RECENT else None
        data = sqz.read_bytes(self._path)
        digest = hashlib.sha256(data).hexdigest()
        if before is not None and before.sha256 == digest:
            return before
        with sqz.named(self._path):
            return Loaded(Classifier(data, name=self.name), digest, time.time())


class DeviceModel:
    """The model in a device's folder, which `squeezenet fleet update` replaces."""

    def __init__(self, name: str, folder: Path) -> None:
        """Raises `FleetError`."""
        self.name, self.fault = name, ""
        self._watched = Watched(folder, seconds=0.0)
        self.loaded = self._version()

    def refresh(self, force: bool = False) -> bool:
        """`force` changes nothing: the state of the folder is read every time."""
        found = self._watched.model
        self.fault = self._watched.fault
        if found is self.loaded.classifier:
            return False
        self.loaded = self._version()
        return True

    def _version(self) -> Loaded:
        return Loaded(self._watched.model, self._watched.sha256, time.time(), self._watched.release)


def open_models(given: Sequence[str]) -> dict[str, Model]:
    """The models by name. Raises `UsageError` for a name that is missing or used twice, `ModelError` for a bad file."""
    models: dict[str, Model] = {}
    for text in given:
        name, where = name_and_path(text)
        if not NAME.fullmatch(name):
            raise UsageError(f"{text}: has no name that fits into an address; give it one: NAME={where}")
        if name in models:
            raise UsageError(f"{text}: two models are called {name}; give one another name: NAME={where}")
        path = zoo.find(where)
        if path.is_dir():
            models[name] = DeviceModel(name, path)
        elif path.exists():
            models[name] = FileModel(name, path)
        else:
            raise zoo.not_found(where)
    return models


def name_and_path(text: str) -> tuple[str, str]:
    """From `NAME=PATH`, or a path or the name of a model that ships; the name is that of the file without `.sqz`."""
    name, equals, where = text.partition("=")
    if equals and not os.path.exists(text):
        return name, where
    return Path(text).name.removesuffix(".sqz"), text


def about(model: Model) -> dict[str, Any]:
    """What clients can know about a model, as JSON."""
    loaded = model.loaded
    classifier = loaded.classifier
    found: dict[str, Any] = {"name": model.name, "outputs": classifier.outputs, "classes": len(classifier.labels)}
    found |= {"sha256": loaded.sha256, "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(loaded.since))}
    if loaded.release is not None:
        found["release"] = loaded.release
    if shipped := _shipped(loaded.sha256):
        found["card"] = zoo.card(shipped)
    return found


def health(model: Model) -> dict[str, Any]:
    """The version in use, and why a newer one could not be loaded ("" if all is well)."""
    return {"sha256": model.loaded.sha256, "fault": model.fault}


@cache
def _shipped(sha256: str) -> str:
    """The name of the model that ships and has this hash, or ""."""
    return next((name for name in zoo.SHIPPED if zoo.sha256(zoo.HERE / f"{name}.sqz") == sha256), "")


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_mtime_ns, found.st_size
