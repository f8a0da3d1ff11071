"""Assigns trials to workers and stores the results: no trial is lost or done twice, even if a worker is killed.

    >>> ledger = Ledger(open_storage("runs/trials.journal"))                 # doctest: +SKIP
    >>> with ledger.claim(trial.name, trial.to_dict()) as claim:             # doctest: +SKIP
    ...     claim.finish(measure(trial, data, work))

A claim says that a worker does a trial; it is a running trial of one Optuna study. The storage numbers all claims: of
several claims to one trial, the lowest is valid. The owner of a claim changes its attribute `beat` regularly. If `beat`
does not change for `stale` seconds, by the clock of a waiting worker, or if the owner was a process of this machine
that has ended, another worker marks the claim as failed and claims the trial.
"""

import os
import platform
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from squeezenet.errors import SqueezeNetError
from squeezenet.explore.choices import ATTEMPTS

STUDY = "squeezenet trials"
STALE = 90.0  # seconds without a change of `beat` after which a worker counts as dead
BEATS = 6  # changes of `beat` in this time

State = Literal["open", "running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Entry:
    """The state of one trial: its `result` if it is done or was stopped early; the `reason` of its last failure."""

    name: str
    trial: dict[str, Any]
    state: State
    attempts: int  # those that failed or whose worker was killed
    result: dict[str, Any] | None
    reason: str
    rungs: dict[int, float]  # epoch -> top-1 after it


class Ledger:
    """All trials in a storage. To open it is fast; every call reads what other workers have changed."""

    def __init__(self, storage: BaseStorage, stale: float = STALE, attempts: int = ATTEMPTS) -> None:
        study = optuna.create_study(study_name=STUDY, storage=storage, load_if_exists=True)
        self.storage, self._study = study._storage, study._study_id  # finished trials of a database are read only once
        self.stale, self.attempts = stale, attempts
        self._seen: dict[int, tuple[int, float]] = {}  # trial id -> last beat, when it was first seen

    def claim(self, name: str, trial: Mapping[str, Any], redo_stopped: bool = False) -> "Claim | None":
        """Claim the trial `name`. None if it is done, if another worker does it, or if it has failed too often.

        A trial that was stopped early counts as done, unless `redo_stopped` is true.
        """
        rows = self._rows().get(name, [])
        if self._entry(name, rows, redo_stopped).state != "open":
            return None
        for row in rows:
            if row.state == TrialState.RUNNING:  # its worker is dead, since the state is "open"
                self._end(row._trial_id, "killed", "its worker went away")
        about = {"name": name, "trial": dict(trial), "owner": _owner(), "beat": 0}
        template = create_trial(state=TrialState.RUNNING, user_attrs=about)
        mine = self.storage.create_new_trial(self._study, template)
        rows = [row for row in self._rows()[name] if row.state == TrialState.RUNNING or _is_done(row, redo_stopped)]
        if rows[0]._trial_id != mine:
            self._end(mine, "yielded", "another worker was first")
            return None
        return Claim(self, mine, name)

    def entries(self) -> list[Entry]:
        """The state of every trial, in the order of their first claims."""
        return [self._entry(name, rows) for name, rows in self._rows().items()]

    def look(self, names: Iterable[str], redo_stopped: bool = False) -> list[Entry]:
        """The state of each trial in `names`, all at the same moment."""
        rows = self._rows()
        return [self._entry(name, rows.get(name, []), redo_stopped) for name in names]

    def _rows(self) -> dict[str, list[FrozenTrial]]:
        """Name of a trial -> its claims, the lowest number first."""
        rows: dict[str, list[FrozenTrial]] = {}
        for row in sorted(self.storage.get_all_trials(self._study, deepcopy=False), key=lambda row: row.number):
            rows.setdefault(row.user_attrs["name"], []).append(row)
        return rows

    def _entry(self, name: str, rows: list[FrozenTrial], redo_stopped: bool = False) -> Entry:
        done = [row for row in rows if _is_done(row, redo_stopped)]
        bad = [row for row in rows if row.user_attrs.get("ended") in ("failed", "killed", "impossible")]
        state: State = "open"
        if done:
            done.sort(key=lambda row: "stopped" in row.user_attrs["result"])
            state = "stopped" if "stopped" in done[0].user_attrs["result"] else "done"
        elif any(row.state == TrialState.RUNNING and not self._is_stale(row) for row in rows):
            state = "running"
        elif len(bad) >= self.attempts or any(row.user_attrs["ended"] == "impossible" for row in bad):
            state = "failed"
        result = done[0].user_attrs["result"] if done else None
        rungs = {
            int(key.removeprefix("rung ")): value
            for row in rows
            for key, value in row.user_attrs.items()
            if key.startswith("rung ")
        }
        told = rows[0].user_attrs["trial"] if rows else {}
        return Entry(name, told, state, len(bad), result, bad[-1].user_attrs["reason"] if bad else "", rungs)

    def _is_stale(self, row: FrozenTrial) -> bool:
        if _is_gone(row.user_attrs["owner"]):
            return True
        beat, now = row.user_attrs["beat"], time.monotonic()
        if self._seen.get(row._trial_id, (None,))[0] != beat:
            self._seen[row._trial_id] = (beat, now)
        return now - self._seen[row._trial_id][1] > self.stale

    def _end(self, row: int, how: str, reason: str) -> None:
        with suppress(UpdateFinishedTrialError):  # by another worker, at the same time
            self.storage.set_trial_user_attr(row, "ended", how)
            self.storage.set_trial_user_attr(row, "reason", reason)
            self.storage.set_trial_state_values(row, TrialState.FAIL)


class Claim:
    """A trial that this process does. Inside `with`, its `beat` changes; an exception lets other workers claim it."""

    def __init__(self, ledger: Ledger, row: int, name: str) -> None:
        self.name, self._ledger, self._row = name, ledger, row
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self.lost = False  # another worker took over the trial; a result of this process will be refused

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        if error is not None:
            self._ledger._end(self._row, "released", "interrupted")  # no effect if the claim has ended already

    def finish(self, result: Mapping[str, Any]) -> bool:
        """Store the result. False if it is too late: another worker has taken over the trial."""
        try:
            self._ledger.storage.set_trial_user_attr(self._row, "result", dict(result))
            self._ledger.storage.set_trial_state_values(self._row, TrialState.COMPLETE, [0.0])
        except UpdateFinishedTrialError:
            return False
        return True

    def fail(self, reason: str, for_good: bool = False) -> None:
        """Record why the trial failed; `for_good`: no worker tries it again, since it would fail again."""
        self._ledger._end(self._row, "impossible" if for_good else "failed", reason)

    def reach(self, epoch: int, top1: float) -> None:
        """Record the accuracy after an epoch. Raises `SqueezeNetError` if another worker has taken the trial over."""
        try:
            self._ledger.storage.set_trial_user_attr(self._row, f"rung {epoch}", top1)
        except UpdateFinishedTrialError:
            self.lost = True
        if self.lost:
            raise SqueezeNetError("this worker was silent for so long that another one took over its trial")

    def _beat(self) -> None:
        count = 0
        while not self._over.wait(self._ledger.stale / BEATS):
            count += 1
            try:
                self._ledger.storage.set_trial_user_attr(self._row, "beat", count)
            except UpdateFinishedTrialError:
                self.lost = not self._over.is_set()
                return
            except Exception:  # the server does not answer; if that lasts, another worker takes over
                continue


def _is_done(row: FrozenTrial, redo_stopped: bool) -> bool:
    return row.state == TrialState.COMPLETE and not (redo_stopped and "stopped" in row.user_attrs["result"])


def _owner() -> list[Any]:
    """This process: its machine, its process number, and its start time (numbers are used again)."""
    return [_machine(), os.getpid(), _started(os.getpid())]


def _is_gone(owner: list[Any]) -> bool:
    """Whether the owner was a process of this machine and has ended."""
    machine, number, started = owner
    return started is not None and machine == _machine() and _started(number) != started


def _machine() -> str:
    """A name for this machine, or for the container in which this process has its number."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    return platform.node()


def _started(number: int) -> str | None:
    """When a process started, in clock ticks after the machine started. None without such a process or /proc."""
    with suppress(OSError):
        told = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if told[0] == "Z" else told[19]  # Z: a zombie, a process that has ended
    return None
