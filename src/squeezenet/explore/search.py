"""A search over all metaparameters for several objectives: accuracy and bytes after squeezing, MACs, RAM, latency.

    >>> search(work, Space(base), Budgets(bytes=200_000), count=100, halving=True)         # doctest: +SKIP

Optuna's tree-structured Parzen estimator proposes networks; the ledger ensures that every proposal is trained once. If
a worker is killed, another worker continues its trial. Budgets are constraints from which the sampler learns. A network
that is over a budget is refused before it is trained.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import InitVar, asdict, dataclass, replace
from typing import Any

import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from squeezenet.errors import MissingDependency, UsageError
from squeezenet.explore.halving import is_hopeless
from squeezenet.explore.latency import expected_latency, working_memory
from squeezenet.explore.results import COSTS, LATENCY
from squeezenet.explore.trial import Squeezed, Trial, costs, short_hash
from squeezenet.explore.versions import MIDDLE, SMALL
from squeezenet.explore.work import Work
from squeezenet.runtime.engine import PATHS

REFUSED = 200
"""After more refused proposals in a row, the search ends with an error: the budgets are too small."""

RATIOS = (8.0, 40.0)
"""Smallest and largest compression ratio: from no loss of accuracy to a large loss (docs/RESULTS.md)."""


@dataclass(frozen=True)
class Budgets:
    """Upper limits: bytes of the file; RAM in bytes, MACs and milliseconds for one image. None means no limit.

    Raises `MissingDependency` for a limit of RAM without the C engine, which computes the RAM.
    """

    bytes: int | None = None
    ram: int | None = None
    macs: int | None = None
    ms: float | None = None
    paths: InitVar[tuple[str, ...]] = PATHS

    def __post_init__(self, paths: tuple[str, ...]) -> None:
        if self.ram is not None and not paths:
            raise MissingDependency("--max-ram needs the C engine, which was not built here: see squeezenet doctor")

    def excess(self, trial: Trial) -> dict[str, float]:
        """By what fraction MACs, RAM and latency exceed their budgets; 0 or less: they do not.

        They are known before training: the latency is that of random weights. The file is squeezed to its budget.
        """
        over = {}
        if self.macs is not None:
            over["macs"] = costs(trial).macs / self.macs - 1
        if self.ram is not None:
            over["ram"] = (working_memory(trial) or 0) / self.ram - 1
        if self.ms is not None:
            over["ms"] = expected_latency(trial).ms / self.ms - 1
        return over


@dataclass(frozen=True)
class Space:
    """The settings that the search varies: metaparameters, image size, compression ratio, except those in `fixed`."""

    base: Trial
    fixed: frozenset[str] = frozenset()

    def propose(self, optuna_trial: optuna.Trial, budgets: Budgets) -> Trial:
        """A trial with values that the sampler chooses. Raises `UsageError` if this network cannot be built."""
        ask, network, side = optuna_trial, self.base.network, self.base.image_size
        small = ("32", "32 v1.1", "32 late", "64") if side <= SMALL else ("64", "64 v1.1", "v1.1", "32")
        stems = small if side <= MIDDLE else ("v1.0", "v1.1")
        chosen: dict[str, Callable[[], Any]] = {
            "base_e": lambda: ask.suggest_int("base_e", 16, 128, step=8),
            "incr_e": lambda: ask.suggest_int("incr_e", 0, 128, step=8),
            "freq": lambda: ask.suggest_int("freq", 1, 4),
            "sr": lambda: ask.suggest_float("sr", 0.125, 1.0, step=0.125),
            "pct3x3": lambda: ask.suggest_float("pct3x3", 0.125, 0.875, step=0.125),
            "fires": lambda: ask.suggest_int("fires", 3, 8),
            "bypass": lambda: ask.suggest_categorical("bypass", ("none", "simple", "complex")),
            "stem": lambda: ask.suggest_categorical("stem", stems),
        }
        network = replace(network, **{name: pick() for name, pick in chosen.items() if name not in self.fixed})
        if "image_size" not in self.fixed:
            low, high = (max(round(side * share / 4) * 4, 8) for share in (0.5, 1.25))
            side = ask.suggest_int("image_size", low, high, step=4)
        trial = replace(self.base, network=network, image_size=side)
        return replace(trial, squeeze=self._squeeze(ask, trial, budgets))

    def _squeeze(self, ask: optuna.Trial, trial: Trial, budgets: Budgets) -> Squeezed:
        how = trial.squeeze
        if how.method != "squeeze":
            return how
        if not how.max_bytes and "ratio" not in self.fixed:
            how = replace(how, ratio=float(round(ask.suggest_float("ratio", *RATIOS, log=True))))
        over = budgets.bytes is not None and how.goal(costs(trial).parameters) > budgets.bytes
        return Squeezed(max_bytes=budgets.bytes or 0) if over else how


@dataclass(frozen=True)
class Progress:
    """Number of trials of a search in each state."""

    done: int
    stopped: int
    failed: int
    refused: int
    running: int

    @property
    def finished(self) -> int:
        """Number of trials that count towards the `count` of `search`: not the running and refused ones."""
        return self.done + self.stopped + self.failed


def search(work: Work, space: Space, budgets: Budgets, count: int, halving: bool) -> Progress:
    """Work until all workers together finished `count` trials. Raises `UsageError` if all proposals are refused."""
    study, refused = study_of(work, space, budgets), 0
    while (progress := settle(study, work)).finished < count:
        if _take_up(study, work, halving):
            continue
        if progress.finished + progress.running >= count:
            work.wait()
            continue
        trial = _ask(study, space, budgets)
        refused = 0 if trial else refused + 1
        if refused > REFUSED:
            raise UsageError(
                f"{REFUSED} networks in a row were over budget, or known already; allow more, or stop here"
            )
    work.write()
    return progress


def study_of(work: Work, space: Space, budgets: Budgets) -> Study:
    """The Optuna study of this search, in the storage of the ledger. Other budgets or settings have another study."""
    about = [space.base.to_dict(), sorted(space.fixed), asdict(budgets), COSTS]
    return optuna.create_study(
        study_name=f"squeezenet search {short_hash(about)}",
        storage=work.ledger.storage,
        directions=[StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(COSTS)],
        load_if_exists=True,
    )


def settle(study: Study, work: Work) -> Progress:
    """Copy new results from the ledger to the study; returns the progress of the search."""
    found: Counter[str] = Counter()
    entries = {entry.name: entry for entry in work.ledger.entries()}
    for row in study.get_trials(deepcopy=False):
        name, outcome = row.user_attrs.get("name"), row.user_attrs.get("outcome", "running")
        if row.state == TrialState.RUNNING and name in entries:
            entry = entries[name]
            if entry.state in ("done", "stopped", "failed"):
                outcome = entry.state
                _tell(study, row.number, outcome, entry.result)
        if name or outcome == "refused":  # otherwise its worker was killed before it had proposed a network
            found[outcome] += 1
    return Progress(*(found[what] for what in ("done", "stopped", "failed", "refused", "running")))


def _tell(study: Study, number: int, outcome: str, result: Mapping[str, Any] | None = None) -> None:
    storage = study._storage
    row = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    try:
        storage.set_trial_user_attr(row, "outcome", outcome)
        if outcome == "done":
            assert result is not None
            study.tell(number, [result["top1_squeezed"], *(_cost(result, cost) for cost in COSTS)])
        else:
            worth_learning = outcome in ("stopped", "refused")
            study.tell(number, state=TrialState.PRUNED if worth_learning else TrialState.FAIL)
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError):  # another worker has reported it already
        return


def _cost(result: Mapping[str, Any], cost: str) -> float:
    """The cost of a trial. If none is stored, it is that of an untrained network of this shape."""
    if cost == "ram":
        return float(working_memory(Trial.from_dict(result["trial"])) or 0)
    if cost == LATENCY and cost not in result:
        return expected_latency(Trial.from_dict(result["trial"])).ms
    return float(result[cost])


def _take_up(study: Study, work: Work, halving: bool) -> bool:
    """Carry out one proposed trial that no worker does. False if there is none."""
    entries = work.ledger.entries
    for row in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "name" not in row.user_attrs:
            continue
        trial = Trial.from_dict(row.user_attrs["trial"])
        claim = work.ledger.claim(trial.name, trial.to_dict())
        if claim is not None:
            work.carry_out(trial, claim, lambda it, epoch, top1: halving and is_hopeless(it, epoch, top1, entries()))
            return True
    return False


def _ask(study: Study, space: Space, budgets: Budgets) -> Trial | None:
    """Add a proposal to the study. None if it was refused or is in the study already."""
    rows: list[FrozenTrial] = study.get_trials(deepcopy=False)
    seed = (space.base.recipe.seed * 1_000_003 + len(rows)) % 2**32  # another seed for each
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    asked = study.ask()
    try:
        trial = space.propose(asked, budgets)
        excess = budgets.excess(trial)
    except UsageError:
        _tell(study, asked.number, "refused")
        return None
    for name, value in excess.items():
        asked.set_constraint(name, value)
    if max(excess.values(), default=0.0) > 0:
        _tell(study, asked.number, "refused")
        return None
    if any(row.user_attrs.get("name") == trial.name for row in rows):
        _tell(study, asked.number, "twin")
        return None
    asked.set_user_attr("trial", trial.to_dict())
    asked.set_user_attr("name", trial.name)
    return trial
