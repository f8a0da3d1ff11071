"""A model that a running program uses while the update client replaces it.

    model = Watched("model", threads=2)
    model.classify(image)       # with the newest tested model; while a newer one is loaded, other threads do not wait
    model.confirm()             # after `update(..., trial=True)`: the new model works, so the trial ends

It needs neither the packages of the extra `[fleet]` nor a network: it only reads the folder that `update` writes.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from squeezenet.errors import SqueezeNetError
from squeezenet.fleet.disk import Disk
from squeezenet.fleet.local import confirm, started
from squeezenet.fleet.state import load, model
from squeezenet.runtime.classifier import Classifier


class Watched:
    """The classifier of a device's folder; safe to use from several threads.

    At most once in `seconds` seconds, one call looks whether there is a newer model. It loads this model while calls in
    other threads use the old one. If the new model cannot be loaded, the old one stays, and `fault` says why.
    """

    def __init__(
        self, folder: str | os.PathLike[str], threads: int = 1, seconds: float = 1.0,
        on_change: Callable[[int], None] = lambda release: None,
    ) -> None:  # fmt: skip
        """Load the model. `on_change` is called with the release of each model that is loaded."""
        self._disk = Disk(Path(folder))
        self._threads, self._seconds, self._on_change = threads, seconds, on_change
        self._loading = threading.Lock()
        self.fault = ""
        started(self._disk)
        self.sha256, self.release, self._model = self._load("")
        self._due = time.monotonic() + seconds
        on_change(self.release)

    @property
    def model(self) -> Classifier:
        """The model now. A program that keeps it keeps this version."""
        if time.monotonic() >= self._due and self._loading.acquire(blocking=False):
            try:
                self._reload()
            finally:
                self._due = time.monotonic() + self._seconds
                self._loading.release()
        return self._model

    def classify(self, image: Any, top: int = 5) -> Any:
        """As `Classifier.classify`, with one model for all images of the call."""
        return self.model.classify(image, top)

    def confirm(self) -> None:
        """End the trial of the model: it works in this program."""
        confirm(self._disk)

    def _reload(self) -> None:
        try:
            sha256, release, model = self._load(self.sha256)
        except (SqueezeNetError, OSError, MemoryError) as error:
            self.fault = str(error)
            return
        self.fault = ""
        if model is not self._model:
            self.sha256, self.release, self._model = sha256, release, model
            self._on_change(release)

    def _load(self, known: str) -> tuple[str, int, Classifier]:
        """Hash, release and classifier of the model that runs; the classifier in use if its hash is `known`."""
        state = load(self._disk)
        if known and state.running is not None and state.running.sha256 == known:
            return known, state.running.release, self._model
        index, data = model(self._disk, state)
        slot = state.slots[index]
        assert slot is not None
        return (
            slot.sha256,
            slot.release,
            Classifier(data, self._threads, f"{self._disk.folder}, release {slot.release}"),
        )
