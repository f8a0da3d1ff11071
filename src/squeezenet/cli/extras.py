"""The packages that each extra of `pip install 'sqznet[EXTRA]'` installs, as the installed distribution says.

>>> packages("numpy"), extra_with("optuna"), extra_with("tomllib")
(('numpy',), 'explore', None)
"""

import re
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTION = "sqznet"
IMPORTED_AS = {"scikit-learn": "sklearn"}
"""Packages whose module has another name."""


def packages(extra: str) -> tuple[str, ...]:
    """The packages of an extra, by the names they are installed by. None where the distribution is not installed."""
    try:
        lines = requires(DISTRIBUTION) or ()
    except PackageNotFoundError:
        return ()
    pattern = re.compile(rf"""([\w.-]+).*; extra == ["']{extra}["']$""")
    return tuple(match[1] for line in lines if (match := pattern.match(line)))


def modules(extra: str) -> set[str]:
    """The modules that the packages of an extra are imported as."""
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in packages(extra)}


def extra_with(module: str, small: bool = False) -> str | None:
    """The extra to install for `module`: the one for training, or with `small` one with less, if there is one."""
    extras = ("numpy", "train") if small else ("train", "explore", "fleet", "publish", "serve")
    return next((extra for extra in extras if module in modules(extra)), None)
