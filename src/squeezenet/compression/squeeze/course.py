"""The progress of squeezing, in file sizes: how many are made, and how many are expected in all.

>>> told = []
>>> course = Course(lambda done, expected, doing: told.append((done, expected)), learns=False, sizes=1)
>>> course.prepared(1.0); course.rounded(0.5)
>>> told
[(0.5, 1.5), (1.0, 1.5)]
"""

from collections.abc import Callable

PREPARING = 0.5  # time of preparing, as a share of the time of rounding to one size
MOST = 0.95  # largest share of a size that is shown before the size is finished

Progress = Callable[[float, float, str], object]


class Course:
    """Adds up shares of the work. Where a network learns, only learning is counted: it takes nearly all the time.

    `progress` gets (done, expected, doing); `expected` is 0 until it can be known.
    """

    def __init__(self, progress: Progress, learns: bool, sizes: int) -> None:
        self._progress, self._learns = progress, learns
        self._done, self._share, self._expected = 0.0, 0.0, sizes + (0.0 if learns else PREPARING)

    def prepared(self, share: float) -> None:
        """This share of the preparation, which comes before all sizes, was done just now."""
        if not self._learns:
            self._done += PREPARING * share
        self._tell("measuring what errors cost")

    def rounded(self, share: float) -> None:
        """This share of the usual work of rounding to one size was done just now."""
        if not self._learns:
            self._share = min(MOST, self._share + share)
        self._tell("rounding")

    def learned(self, share: float, how: str) -> None:
        """This share of the learning of one size is done so far."""
        self._share = share
        self._tell(f"learning: {how}")

    def finished(self, left: int) -> None:
        """A size is finished; `left` more are expected."""
        self._done, self._share = self._done + 1, 0.0
        self._expected = self._done + left
        self._tell("")

    def _tell(self, doing: str) -> None:
        done = self._done + self._share
        self._progress(done, self._expected if done else 0.0, doing)
