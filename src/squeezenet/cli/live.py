"""The state of trials as a table that is redrawn in place on a terminal; without a terminal nothing is shown.

>>> with Live(expected, sys.stderr) as live:                                 # doctest: +SKIP
...     Work(ledger, data, out, live.listen).sweep(trials)
"""

import io
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from typing import Any, Self, TextIO

from squeezenet.cli.table import table
from squeezenet.explore.trial import Trial, costs
from squeezenet.explore.work import What

ROWS = 12  # of the table; the last ones
LOOK = 5.0  # seconds between two looks at what all workers have left to do
HEAD = ["trial", "what", "seed", "state", "top-1", "squeezed", "bytes", "seconds"]


def work_of(trial: Trial) -> float:
    """MACs of the forward passes of all images that training shows."""
    recipe = trial.recipe
    shown = recipe.epochs * trial.images or recipe.iterations * recipe.batch_size
    return costs(trial).macs * shown


class Live:
    """The table, drawn again after each event. `left` returns the work that nobody has finished, and the workers.

    The remaining time is taken to be `work * seconds / work_done / workers`, with work counted in MACs (`work_of`).
    Fixed costs are not counted, so the estimate is too short while small networks come first.
    """

    def __init__(
        self, left: Callable[[], tuple[float, int]], label: Callable[[Trial], str], stream: TextIO | None = None
    ) -> None:
        self.left, self.label, self.stream = left, label, stream or sys.stderr
        self._seconds, self._work = 0.0, 0.0  # of the trials that this process has trained
        self._rows: dict[str, list[str]] = {}
        self._counts = {"done": 0, "stopped": 0, "failed": 0}
        self._said = "begins"
        self._above = (
            io.StringIO()
        )  # stderr of others meanwhile: progress bars see no terminal, warnings are shown above
        self._drawn, self._began, self._looked = 0, 0.0, -LOOK
        self._ahead, self._part = (0.0, 0), 0.0
        self._on = self.stream.isatty()
        self._redirection = redirect_stderr(self._above)

    def __enter__(self) -> Self:
        if self._on:
            self._redirection.__enter__()
            self._draw()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._on:
            self._redirection.__exit__(*error)
            self._looked = -LOOK
            self._draw()

    def listen(self, trial: Trial | None, what: What, about: dict[str, Any]) -> None:
        """Show what happened to a trial (`explore.work.Work`)."""
        self._said = "waits for other workers" if what == "waits" else "works"
        if trial is not None:
            row = self._rows.setdefault(
                trial.name, [trial.name[:8], self.label(trial), str(trial.recipe.seed), *[""] * 5]
            )
            if what == "begins":
                self._began = time.perf_counter()
                row[3] = "begins"
            elif what == "epoch":
                row[3], row[4] = f"epoch {about['epoch']:g}", f"{about['top1']:.2f}"
                self._part = work_of(trial) * about["epoch"] / max(trial.recipe.epochs, about["epoch"])
            else:
                self._end(trial, what, about, row)
            row[7] = f"{time.perf_counter() - self._began:,.0f}"
        if self._on:
            self._draw()

    def _end(self, trial: Trial, what: What, about: dict[str, Any], row: list[str]) -> None:
        self._counts[what] += 1
        self._part = 0.0
        row[3] = what if what != "failed" else f"failed: {about['reason'][:40]}"
        if what == "done":
            row[4:7] = [f"{about['top1']:.2f}", f"{about['top1_squeezed']:.2f}", f"{about['bytes']:,}"]
            if "trained_as" not in about:  # else it was only squeezed
                self._seconds += about["seconds"]
                self._work += work_of(trial)

    def _draw(self) -> None:
        if time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            with suppress(Exception):  # the worker meets the same error and reports it
                self._ahead = self.left()
        work, workers = self._ahead
        counts = ", ".join(f"{count} {what}" for what, count in self._counts.items() if count) or "none done yet"
        left = "nothing left" if not work else "time left not known yet"
        if work and self._work:
            seconds = max(work - self._part, 0.0) * self._seconds / self._work / max(workers, 1)
            left = f"about {in_words(seconds)} left"
        lines = table(HEAD, list(self._rows.values())[-ROWS:]).splitlines()
        lines = [f"{self._said}: {counts} here; {left}, {workers} at work", *lines]
        above = self._above.getvalue()
        self._above.seek(0)
        self._above.truncate()
        clear = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        self.stream.write(clear + above + "".join(f"{line[:118]}\n" for line in lines))
        self.stream.flush()
        self._drawn = len(lines)


def in_words(seconds: float) -> str:
    """A duration in minutes or hours.

    >>> in_words(59), in_words(3600), in_words(200_000)
    ('1 minute', '60 minutes', '56 hours')
    """
    minutes = max(round(seconds / 60), 1)
    if minutes < 90:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{round(minutes / 60)} hours"
