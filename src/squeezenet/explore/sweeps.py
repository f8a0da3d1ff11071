"""The paper's sweeps (figure 3, table 3) and similar ones: one metaparameter varies, all others are fixed.

>>> parse_values("sr", "0.125,0.5")
(0.125, 0.5)
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from squeezenet.errors import UsageError
from squeezenet.explore.choices import SWEEPS
from squeezenet.explore.trial import Trial, costs
from squeezenet.explore.versions import VERSIONS, stem_of

SIDES = (0.5, 0.75, 1.0, 1.25)


def trials(base: Trial, vary: str, values: Sequence[Any] | None, seeds: int, told: Sequence[str] = ()) -> list[Trial]:
    """The trials of a sweep: first all values with the first seed, then with the second, and so on.

    Without `values`, those of the paper are used. The other metaparameters have the paper's values instead of those of
    `base`, except the ones that the user has set (`told`). Raises `UsageError` if a network cannot be built.
    """
    if vary in told:
        raise UsageError(f"--set {vary}=... fixes what --vary {vary} varies; leave one of the two out")
    fixed = {name: value for name, value in SWEEPS[vary].fixed.items() if name not in told}
    base = replace(base, network=replace(base.network, **fixed))
    made = [_varied(base, vary, value) for value in values or _usual(base, vary)]
    return [trial.seeded(base.recipe.seed + seed) for seed in range(seeds) for trial in made]


def _usual(base: Trial, vary: str) -> tuple[Any, ...]:
    if vary == "stem":
        return tuple(stem_of(version, base.image_size) for version in VERSIONS)
    return SWEEPS[vary].values or tuple(round(base.image_size * share / 4) * 4 for share in SIDES)


def parse_values(vary: str, text: str) -> tuple[Any, ...]:
    """The values of metaparameter `vary` in a text such as `0.125,0.5`. Raises `UsageError`."""
    kind = {"sr": float, "pct3x3": float, "bypass": str, "stem": str}.get(vary, int)
    try:
        return tuple(dict.fromkeys(kind(word) for word in text.split(",")))
    except ValueError:
        kinds = {float: "numbers", int: "whole numbers"}
        raise UsageError(f"--values {text}: must be {kinds[kind]} with commas between, as in 1,2") from None


def _varied(base: Trial, vary: str, value: Any) -> Trial:
    """`base` with `value` for `vary`. Raises `UsageError` if the network cannot be built or cannot read the images."""
    try:
        if vary != "image_size":
            trial = replace(base, network=replace(base.network, **{vary: value}))
        elif value > 0:
            trial = replace(base, image_size=value)
        else:
            raise UsageError("no image has such a side")
    except UsageError:
        known = _usual(base, vary)
        raise UsageError(f"--values {value}: cannot work for {vary}; the usual are {known}") from None
    costs(trial)
    return trial
