"""The search: budgets, halving, the front, latency."""

import json
from dataclasses import replace

import numpy as np
import pytest

from squeezenet import sqz
from squeezenet.errors import MissingDependency, UsageError
from squeezenet.explore import latency as latencies
from squeezenet.explore import search as searches
from squeezenet.explore import work as works
from squeezenet.explore.halving import is_hopeless
from squeezenet.explore.latency import ESTIMATE, Latency, expected_latency, untrained, working_memory
from squeezenet.explore.ledger import Entry, Ledger
from squeezenet.explore.results import dominates, pareto, read_results
from squeezenet.explore.search import Budgets, Space, search, study_of
from squeezenet.explore.sweeps import trials
from squeezenet.explore.trial import Squeezed, costs
from squeezenet.explore.versions import compare, version_of
from squeezenet.explore.work import Work
from squeezenet.runtime.integers import IntegerRunner
from support.exploring import TINY, memory, stub


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

    def counted(trial, data, work, on_epoch):
        calls.append(trial.name)
        share = 0.1 if trial.network.bypass == "none" else 1.0  # hopeless
        return stub(trial, data, work, lambda row: on_epoch({**row, "top1": share * row["top1"]}))

    monkeypatch.setattr(works, "measure", counted)
    base = replace(trial, squeeze=Squeezed(), recipe=replace(trial.recipe, epochs=9.0))
    space, budgets = Space(base, frozenset({"fires"})), Budgets(bytes=2000, ram=12_000, macs=2_000_000)
    work = Work(Ledger(memory(tmp_path)), data, tmp_path)
    progress = search(work, space, budgets, 20, halving=True)
    assert progress.finished == len(calls) == len(set(calls)) == 20
    assert progress.refused > 0
    assert progress.stopped > 0
    rows = read_results(tmp_path)
    assert all(r["macs"] <= 2_000_000 and r["ram"] <= 12_000 and r.get("bytes", 0) <= 2000 for r in rows)
    assert len({json.dumps(r["trial"]["network"]) for r in rows}) > 8
    assert search(work, space, budgets, 20, halving=True) == progress
    assert len(calls) == 20
    front = pareto(rows)
    assert 0 < len(front) <= progress.done
    # A worker that was killed between proposing and finishing: its trial is the next one's.
    orphan = trial.seeded(9)
    asked = study_of(work, space, budgets).ask()
    asked.set_user_attr("trial", orphan.to_dict())
    asked.set_user_attr("name", orphan.name)
    search(work, space, budgets, 21, halving=False)
    assert calls[20:] == [orphan.name]
    monkeypatch.setattr(searches, "REFUSED", 5)
    with pytest.raises(UsageError, match="over budget"):
        search(work, space, Budgets(macs=10), 1, halving=False)


def test_a_budget_of_milliseconds_is_kept_before_training(trial, data, tmp_path, monkeypatch):
    monkeypatch.setattr(works, "measure", stub)
    asked = []

    def expected(trial):
        asked.append(costs(trial).macs / 1e6)
        return Latency(asked[-1], "stub")

    monkeypatch.setattr(searches, "expected_latency", expected)
    base = replace(trial, squeeze=Squeezed())
    work = Work(Ledger(memory(tmp_path)), data, tmp_path)
    progress = search(work, Space(base), Budgets(ms=2.0), 6, halving=False)
    assert progress.done == 6
    assert max(asked) > 2.0
    assert all(row["latency_ms"] <= 2.0 for row in read_results(tmp_path))


def test_a_network_is_timed_before_it_is_trained(trial):
    model = untrained(trial.network, trial.image_size)
    assert sum(model.graph.macs()) == costs(trial).macs
    image = np.zeros((1, *model.graph.input_shape), np.float32)
    assert IntegerRunner(sqz.decode(sqz.encode(model)))(image).shape == (1, 10)
    known = expected_latency(trial)
    assert known.ms > 0
    assert expected_latency(trial.seeded(1)) == known  # of one shape: taken once


def test_without_the_engine_a_latency_is_called_an_estimate():
    slow, fast = (latencies.latency(b"", macs, paths=()) for macs in (10**9, 10**6))
    assert slow.on == fast.on == ESTIMATE
    assert slow.ms == pytest.approx(1000 * fast.ms)


def test_without_the_engine_ram_is_unknown_and_no_budget(trial):
    assert working_memory(trial, paths=()) is None
    assert Budgets(macs=1, paths=()).macs == 1
    with pytest.raises(MissingDependency, match="--max-ram needs the C engine"):
        Budgets(ram=100_000, paths=())
    row = stub(trial, None, None)
    assert dominates({**row, "bytes": 1}, {**row, "ram": None})


def test_trials_of_an_earlier_version_are_timed_once(trial, data, tmp_path, monkeypatch):
    def earlier(trial, data, work, on_epoch):
        row = stub(trial, data, work, on_epoch)
        work.mkdir(parents=True)
        sqz.write(untrained(trial.network, trial.image_size), work / "squeezed.sqz")
        return {key: value for key, value in row.items() if not key.startswith("latency")}

    monkeypatch.setattr(works, "measure", earlier)
    ledger = Ledger(memory(tmp_path))
    Work(ledger, data, tmp_path).sweep([trial])
    (row,) = read_results(tmp_path)
    assert row["latency_ms"] > 0
    assert "latency_ms" not in ledger.look([trial.name])[0].result
    monkeypatch.setattr(works, "latency", None)  # it would be called in vain
    Work(ledger, data, tmp_path).sweep([trial])
    assert read_results(tmp_path) == [row]


def test_latencies_count_on_one_machine_and_where_they_differ(trial):
    row = stub(trial, None, None)
    slower = {**row, "latency_ms": 1.5 * row["latency_ms"]}
    same = {**row, "latency_ms": 1.03 * row["latency_ms"]}
    assert dominates(row, slower)
    assert not dominates(slower, row)
    assert not dominates(row, same)
    assert not dominates(row, {**slower, "latency_on": "elsewhere"})
    assert not dominates(row, {key: value for key, value in slower.items() if key != "latency_ms"})
    better = {**slower, "latency_on": "elsewhere", "top1_squeezed": row["top1_squeezed"] + 1}
    assert dominates(better, row)
    assert pareto([row, slower, same]) == [row, same]


def test_versions_of_squeezenet_are_compared_at_every_size(trial):
    narrow = replace(trial, network=replace(TINY, norm="batch"), squeeze=Squeezed())
    both = trials(narrow, "stem", None, seeds=2)
    assert [version_of(t) for t in both] == ["v1.0", "v1.1"] * 2
    assert [t.network.norm for t in both] == ["batch"] * 4
    assert version_of(narrow) == version_of(replace(both[0], network=replace(both[0].network, sr=0.25))) == ""
    assert [costs(t).parameters for t in both[:2]] == [726474, 726474]  # 727,626 but for two channels of colour
    assert costs(both[1]).macs < 0.6 * costs(both[0]).macs

    def row(trial, top1, size):
        return {**stub(trial, None, None), "top1_squeezed": top1, "bytes": size}

    rows = [row(both[0], 80.0, 240_000), row(both[2], 82.0, 240_000), row(both[1], 81.0, 200_000)]
    half, better, worse, large = (replace(narrow, images=n) for n in range(100, 104))
    found = [row(half, 81.0, 100_000), row(better, 82.5, 200_000), row(worse, 80.9, 100_000), row(large, 99.0, 200_001)]
    known, beating = compare([*rows, *found])
    assert [(name, row["bytes"], row["top1_squeezed"]) for name, row in known] == [
        ("v1.0", 240_000, 81.0), ("v1.1", 200_000, 81.0),
    ]  # fmt: skip
    assert [row["name"] for row in beating] == [better.name, half.name]
    small = [replace(t, squeeze=Squeezed(max_bytes=50_000)) for t in both[:2]]
    _, beating = compare([*rows, row(small[0], 70.0, 50_000), row(small[1], 71.0, 50_000), *found])
    assert [row["name"] for row in beating] == [better.name, half.name]  # a larger file need not be better than 50,000
    assert compare([rows[0], *found]) == (compare(rows[:1])[0], [])
