"""The remaining time of a command, on stderr: one changing line on a terminal, elsewhere a line every 30 seconds.

>>> with Remaining("squeezing") as remaining:
...     remaining.update(0.0, 4.0)
>>> clock(95), clock(4000)
('1:35', '1:06:40')
"""

import os
import sys
import time
from typing import Any, Self

EVERY_TERMINAL, EVERY_LINE = 0.2, 30.0
"""Seconds between two messages, on a terminal and elsewhere."""

WIDTH = 80
"""Columns of a terminal that does not say how many it has."""


class Remaining:
    """Shows progress. `update(done, expected)` counts in any unit; `remaining = elapsed * (expected - done) / done`."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._every = EVERY_TERMINAL if self._terminal else EVERY_LINE
        self._started: tuple[float, float] | None = None  # when `expected` was first known, and `done` then
        self._now = (0.0, 0.0)  # done, expected
        self._told = time.monotonic()
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._clear()

    def update(self, done: float, expected: float, doing: str = "") -> None:
        """Show how much is done, at most every `EVERY_...` seconds. `expected` is 0 while it is not known."""
        now = time.monotonic()
        self._started = self._started if self._started and self._now[1] else (now, done)
        self._now = (done, expected)
        if now - self._told >= self._every:
            self._told = now
            self._draw(f"{self._what}: {self.estimate()}{doing and f' ({doing})'}")

    def estimate(self) -> str:
        """`43% done, about 2:10 left`, after the last `update`."""
        done, expected = self._now
        if self._started is None or not expected:
            return "just begun"
        (since, before), share = self._started, f"{100 * min(1.0, done / expected):.0f}% done"
        if done <= before:
            return share
        return f"{share}, about {clock((time.monotonic() - since) * max(0.0, expected - done) / (done - before))} left"

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._clear()
        print(line, file=sys.stderr, flush=True)
        self._told = time.monotonic() if not self._terminal else self._told

    def _draw(self, text: str) -> None:
        if not self._terminal:
            print(text, file=sys.stderr, flush=True)
            return
        width = os.get_terminal_size(2).columns if sys.stderr is sys.__stderr__ else 0
        print(f"\r{text[: (width or WIDTH) - 1]}\033[K", end="", file=sys.stderr, flush=True)
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._drawn = False


def clock(seconds: float) -> str:
    """`1:35`, or `1:06:40`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
