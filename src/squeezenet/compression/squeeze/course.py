"""How far squeezing has come: in sizes of the file that were made, and in those that are to be expected.

>>> told = []
>>> course = Course(lambda done, expected, doing: told.append((done, expected)), learns=False, sizes=1)
>>> course.prepared(1.0); course.rounded(0.5)
>>> told
[(0.5, 1.5), (1.0, 1.5)]
"""

from collections.abc import Callable

PREPARING = 0.5  # of the time that rounding to a size takes
MOST = 0.95  # of a size that is not finished, however long it takes

Progress = Callable[[float, float, str], object]


class Course:
    """Adds up shares of the work. Where a network learns, only that is counted: all else is short beside it.

    `progress` gets (done, expected, doing); `expected` is 0 while nobody can know.
    """

    def __init__(self, progress: Progress, learns: bool, sizes: int) -> None:
        self._progress, self._learns = progress, learns
        self._done, self._share, self._expected = 0.0, 0.0, sizes + (0.0 if learns else PREPARING)

    def prepared(self, share: float) -> None:
        """That share of what comes before all sizes was done."""
        if not self._learns:
            self._done += PREPARING * share
        self._tell("measuring what errors cost")

    def rounded(self, share: float) -> None:
        """That share of what a size usually takes was done."""
        if not self._learns:
            self._share = min(MOST, self._share + share)
        self._tell("rounding")

    def learned(self, share: float, how: str) -> None:
        """As much of a size is learned, in all."""
        self._share = share
        self._tell(f"learning: {how}")

    def finished(self, left: int) -> None:
        """A size is; so many are expected to follow."""
        self._done, self._share = self._done + 1, 0.0
        self._expected = self._done + left
        self._tell("")

    def _tell(self, doing: str) -> None:
        done = self._done + self._share
        self._progress(done, self._expected if done else 0.0, doing)
