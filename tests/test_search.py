"""The search: budgets, halving, the front, latency."""

import json
from dataclasses import replace

import pytest

from exploring import TINY, memory, stub
from squeezenet.errors import UsageError
from squeezenet.explore import search as searches
from squeezenet.explore import work as works
from squeezenet.explore.halving import is_hopeless
from squeezenet.explore.ledger import Entry, Ledger
from squeezenet.explore.results import pareto, read_results
from squeezenet.explore.search import Budgets, Space, search, study_of
from squeezenet.explore.trial import Squeezed
from squeezenet.explore.work import Work


def test_a_trial_is_hopeless_only_among_its_peers(trial):
    trial = replace(trial, recipe=replace(trial.recipe, epochs=9.0))
    large = replace(trial, network=replace(TINY, base_e=64))

    def entry(number, of, top1):
        return Entry(f"{number}", of.to_dict(), "done", 0, {}, "", {3: top1})

    rivals = [entry(n, trial, top1) for n, top1 in enumerate((50.0, 60.0, 70.0))]
    assert is_hopeless(trial, 3, 40.0, rivals)
    assert not is_hopeless(trial, 3, 65.0, rivals)
    assert not is_hopeless(trial, 2, 40.0, rivals)  # no rung
    assert not is_hopeless(trial, 3, 40.0, rivals[:1])  # too few to say
    assert not is_hopeless(trial, 3, 40.0, [entry(n, large, 90.0) for n in range(5)])  # they cost more
    assert not is_hopeless(trial, 3, 40.0, [entry(n, replace(trial, images=99), 90.0) for n in range(5)])
    assert is_hopeless(large, 3, 40.0, rivals)


def test_a_search_keeps_to_its_budgets_and_to_its_count(trial, data, tmp_path, monkeypatch):
    calls = []

    def counted(trial, *rest):
        calls.append(trial.name)
        return stub(trial, *rest)

    monkeypatch.setattr(works, "measure", counted)
    base = replace(trial, squeeze=Squeezed(), recipe=replace(trial.recipe, epochs=9.0))
    space, budgets = Space(base, frozenset({"fires"})), Budgets(bytes=2000, ram=4000, macs=2_000_000)
    work = Work(Ledger(memory(tmp_path)), data, tmp_path)
    progress = search(work, space, budgets, 12, halving=True)
    assert progress.finished == len(calls) == len(set(calls)) == 12
    assert progress.refused > 0
    assert progress.stopped > 0
    rows = read_results(tmp_path)
    assert all(r["macs"] <= 2_000_000 and r["ram"] <= 4000 and r.get("bytes", 0) <= 2000 for r in rows)
    assert len({json.dumps(r["trial"]["network"]) for r in rows}) > 8
    assert search(work, space, budgets, 12, halving=True) == progress
    assert len(calls) == 12
    front = pareto(rows)
    assert 0 < len(front) <= progress.done
    # A worker that was killed between proposing and finishing: its trial is the next one's.
    orphan = trial.seeded(9)
    asked = study_of(work, space, budgets).ask()
    asked.set_user_attr("trial", orphan.to_dict())
    asked.set_user_attr("name", orphan.name)
    search(work, space, budgets, 13, halving=False)
    assert calls[12:] == [orphan.name]
    monkeypatch.setattr(searches, "REFUSED", 5)
    with pytest.raises(UsageError, match="over budget"):
        search(work, space, Budgets(macs=10), 1, halving=False)
