"""What a user of `explore` can choose from: plain data, which needs neither PyTorch nor Optuna.

>>> SWEEPS["sr"].values
(0.125, 0.25, 0.5, 0.75, 1.0)
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Method = Literal["squeeze", "deep-compression", "none"]
METHODS: tuple[Method, ...] = ("squeeze", "deep-compression", "none")

STORAGES = "a file, postgresql://user@host/database, or redis://host:6379"
"""Where the results of trials can be stored."""

ATTEMPTS = 3  # after so many failed or killed attempts a trial is not tried again

PUBLISHED = {"base_e": 128, "incr_e": 128, "freq": 2, "sr": 0.125, "pct3x3": 0.5, "fires": 8, "bypass": "none"}
"""What SqueezeNet v1.0 and v1.1 have in common. They differ in the stem: conv1 and the positions of the pools."""


@dataclass(frozen=True)
class Sweep:
    """The values of one metaparameter, and the values that the other metaparameters have in the paper's sweep."""

    about: str
    values: tuple[Any, ...]
    fixed: dict[str, Any] = field(default_factory=dict)


SWEEPS: dict[str, Sweep] = {
    "sr": Sweep("squeeze ratio (figure 3 a)", (0.125, 0.25, 0.5, 0.75, 1.0), {"pct3x3": 0.5}),
    "pct3x3": Sweep("share of 3x3 filters (figure 3 b)", (0.01, 0.125, 0.25, 0.5, 0.75, 0.99), {"sr": 0.5}),
    "bypass": Sweep("bypass connections (table 3)", ("none", "simple", "complex")),
    "stem": Sweep("conv1 and the positions of the pools, as in SqueezeNet v1.0 or v1.1", (), PUBLISHED),
    "base_e": Sweep("number of expand filters in fire2", (32, 64, 96, 128)),
    "incr_e": Sweep("number of expand filters that are added after every freq modules", (0, 32, 64, 128)),
    "freq": Sweep("number of Fire modules between two additions", (1, 2, 4)),
    "image_size": Sweep("side of the image in pixels", ()),
}
