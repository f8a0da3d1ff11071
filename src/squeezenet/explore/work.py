"""The work of one process: claim a trial, carry it out, store its result, until no trial is left.

>>> work = Work(ledger, data, Path("runs"))                                  # doctest: +SKIP
>>> work.sweep(trials)                                                       # doctest: +SKIP
"""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from squeezenet.data import Data
from squeezenet.errors import SqueezeNetError, UsageError
from squeezenet.explore.latency import latency
from squeezenet.explore.ledger import Claim, Ledger
from squeezenet.explore.measure import measure, stopped
from squeezenet.explore.results import LATENCY, RESULTS, read_results, write_results
from squeezenet.explore.trial import Trial

What = Literal["begins", "epoch", "done", "stopped", "failed", "waits"]
Hopeless = Callable[[Trial, int, float], bool]

POLL = 2.0  # seconds between two readings of the state of other workers


class GivenUp(Exception):
    """Raised to stop a poor trial early."""


def ignore(trial: Trial | None, what: What, about: dict[str, Any]) -> None:
    """The default of `Work.listen`: does nothing."""


@dataclass
class Work:
    """A worker: the ledger, the images, the folder of all runs, and functions that report the progress.

    `listen` is called with a trial (None while waiting for other workers), what happened, and details: a
    row of metrics.jsonl, a result, or a reason. `on_results` gets the path of results.jsonl when it was written.
    """

    ledger: Ledger
    data: Data
    out: Path
    listen: Callable[[Trial | None, What, dict[str, Any]], None] = ignore
    poll: float = POLL
    on_results: Callable[[Path], object] = lambda path: None
    _written: list[dict[str, Any]] | None = field(default=None, init=False)
    _timed: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)

    def sweep(self, trials: Sequence[Trial]) -> None:
        """Carry out all trials that are not done, and wait for those that other workers carry out."""
        while True:
            claimed, entries = False, self.ledger.look([trial.name for trial in trials], redo_stopped=True)
            if not any(entry.state in ("open", "running") for entry in entries):
                break
            for trial, entry in zip(trials, entries, strict=True):
                if entry.state != "open":
                    continue
                claim = self.ledger.claim(trial.name, trial.to_dict(), redo_stopped=True)
                if claim is not None:
                    claimed = True
                    self.carry_out(trial, claim)
            if not claimed:
                self.wait()
        self.write()

    def carry_out(self, trial: Trial, claim: Claim, hopeless: Hopeless = lambda trial, epoch, top1: False) -> None:
        """Carry out one trial. After every epoch, `hopeless` gets the accuracy and decides whether to stop the trial.

        A failure is recorded. Ctrl-C ends the function and gives the claim back.
        """
        start = time.perf_counter()
        last: dict[str, Any] = {}

        def on_epoch(row: dict[str, Any]) -> None:
            last.update(row)
            self.listen(trial, "epoch", row)
            if row["epoch"] == round(row["epoch"]):
                claim.reach(round(row["epoch"]), row["top1"])
                if hopeless(trial, round(row["epoch"]), row["top1"]):
                    raise GivenUp

        with claim:
            self.listen(trial, "begins", {})
            try:
                twin = self._train_as_before(trial)
                result = measure(trial, self.data, self.out / "runs" / trial.name, on_epoch)
                result = {**result, "trained_as": twin} if twin else result
            except GivenUp:
                result = stopped(trial, self.data, last["epoch"], last["top1"], time.perf_counter() - start)
            except Exception as error:  # any failure: it must not stop the other trials
                kind = "" if isinstance(error, SqueezeNetError) else f"{type(error).__name__}: "
                reason = kind + " ".join(str(error).split())[:500]
                claim.fail(reason, for_good=isinstance(error, UsageError))
                self.listen(trial, "failed", {"reason": reason})
                return
            claim.finish(result)
        self.listen(trial, "stopped" if "stopped" in result else "done", result)
        self.write()

    def _train_as_before(self, trial: Trial) -> str:
        """Copy the run of a finished trial that differs only in the squeezing; returns its name, or ""."""
        mine = self.out / "runs" / trial.name
        for entry in self.ledger.entries():
            run = self.out / "runs" / entry.name
            if mine.exists() or entry.state != "done" or not (run / "model.safetensors").exists():
                continue
            if {**entry.trial, "squeeze": trial.to_dict()["squeeze"]} == trial.to_dict():
                copy = mine.with_name(f".{trial.name}")  # renamed at the end, so that it is never incomplete
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(
                    run, copy, ignore=shutil.ignore_patterns("*.sqz", "checkpoints", "tensorboard", ".lock")
                )
                copy.rename(mine)
                return entry.name
        return ""

    def wait(self) -> None:
        """Wait for a moment, in which other workers may finish a trial."""
        self.listen(None, "waits", {})
        time.sleep(self.poll)

    def write(self) -> Path:
        """Write results.jsonl from the ledger, and again if another worker has stored a result meanwhile."""
        path = self.out / RESULTS
        while True:
            rows = [self.timed(row) for row in self.results()]
            if rows == self._written:
                return path
            write_results(path, rows)
            self._written = rows
            self.on_results(path)

    def results(self) -> list[dict[str, Any]]:
        """The results of all trials in the ledger that are done or were stopped early."""
        return [entry.result for entry in self.ledger.entries() if entry.result is not None]

    def timed(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its latency. If none was stored, it is measured now, if the file is on this machine."""
        if LATENCY in row or "stopped" in row:
            return row
        path, name = self.out / RESULTS, row["name"]
        if not self._timed and path.exists():
            known = [row for row in read_results(path) if LATENCY in row]
            self._timed = {row["name"]: {key: row[key] for key in (LATENCY, "latency_on")} for row in known}
        if name not in self._timed:
            with suppress(OSError, SqueezeNetError):
                data = (self.out / "runs" / name / "squeezed.sqz").read_bytes()
                self._timed[name] = latency(data, row["macs"]).to_row()
        return {**row, **self._timed.get(name, {})}
