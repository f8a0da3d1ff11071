"""Trials by content, sweeps of them, and the command that carries them out."""

import json
import shlex
import signal
import sys
from argparse import ArgumentParser
from dataclasses import replace

import pytest

from squeezenet.cli import train, train_run
from squeezenet.cli.live import Live
from squeezenet.cli.main import _explain, main
from squeezenet.data import load_data
from squeezenet.errors import UsageError
from squeezenet.explore import work as works
from squeezenet.explore.ledger import Ledger
from squeezenet.explore.results import curves, read_results
from squeezenet.explore.sweeps import trials
from squeezenet.explore.trial import Squeezed, Trial, costs, fingerprint, squeeze_command, train_command
from squeezenet.explore.work import Work
from squeezenet.models import Metaparameters
from squeezenet.runtime.engine import PATHS
from squeezenet.training import PAPER
from support.exploring import QUICK, TINY, memory, stub


def test_a_trial_is_named_by_what_it_consists_of(trial, data):
    assert trial.name == Trial.from_dict(json.loads(json.dumps(trial.to_dict()))).name
    assert trial.name == replace(trial, recipe=replace(trial.recipe, name="other title")).name
    others = [trial.seeded(1), replace(trial, images=121), replace(trial, squeeze=Squeezed(max_bytes=3501)),
              replace(trial, network=replace(TINY, sr=0.5)), replace(trial, data="0" * 16)]  # fmt: skip
    assert len({t.name for t in [trial, *others]}) == 6
    assert fingerprint(data) == fingerprint(load_data("digits"))
    assert fingerprint(load_data("digits", seed=1)) == fingerprint(data)  # digits has its own split
    with pytest.raises(UsageError, match="another version"):
        Trial.from_dict({**trial.to_dict(), "network": {"depth": 3}})
    for wrong in (("squeeze", -1), ("none", 100), ("zip", 0)):
        with pytest.raises(UsageError):
            Squeezed(*wrong)


def test_the_command_of_a_point_trains_that_network(trial):
    odd = replace(trial.recipe, ema=0.9, seed=7, augmentation=replace(trial.recipe.augmentation, erase=3))
    iterations = replace(PAPER, iterations=20, batch_size=30)
    for recipe in (odd, iterations):
        point = replace(trial, network=replace(TINY, stem="32 late", bypass="simple", sr=0.75), recipe=recipe)
        parser = ArgumentParser()
        train.configure(parser)
        words = shlex.split(train_command(point, "photos"))
        job = train_run.settings(parser.parse_args(words[2:]))
        assert (job.max_images, job.val_images) == (120, 40)
        assert job.split_seed == (0 if recipe.seed else None)
        assert replace(job.recipe, name=recipe.name) == recipe
        assert replace(point.network, **job.network) == point.network
        assert job.image_size == 16
        meta = {**Metaparameters(stem="32").__dict__, **job.network, "classes": 10, "in_channels": 1}
        assert Metaparameters(**meta) == point.network


def explore(capsys, *arguments, code=0):
    assert main(["explore", *map(str, arguments), "--json"]) == code
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    return json.loads(out), err


def test_a_sweep_is_done_once_and_grows(tmp_path, capsys):
    command = [*QUICK, "--out", tmp_path, "--vary", "sr", "--values", "0.25,0.5"]
    first, _ = explore(capsys, *command)
    assert (first["done"], first["failed"]) == (2, 0)
    rows = read_results(tmp_path)
    assert {row["name"] for row in rows} == {t["name"] for t in first["trials"]}
    for row in rows:
        file = tmp_path / "runs" / row["name"] / "squeezed.sqz"
        assert row["bytes"] == file.stat().st_size <= 3500
        assert (row["judged"], row["source"]) == (40, "digits")
        assert row["float_bytes"] == 4 * row["parameters"]
        assert {"macs", "ram", "seconds", "versions", "hardware"} <= set(row)
        assert row["latency_ms"] > 0
        assert PATHS == () or row["latency_on"].endswith(PATHS[-1])
        assert not (tmp_path / "runs" / row["name"] / "checkpoints").exists()
    written = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/*")}
    again, _ = explore(capsys, *command)
    assert again["trials"] == first["trials"]
    assert first["trials"][0]["latency_ms"] == next(
        r["latency_ms"] for r in rows if r["name"] == first["trials"][0]["name"]
    )
    more, _ = explore(capsys, *command, "--seeds", 2)
    assert (more["done"], len(read_results(tmp_path))) == (4, 4)
    assert written.items() <= {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/*")}.items()
    (curve,) = curves(read_results(tmp_path), "sr")
    assert [(p.value, p.seeds) for p in curve.points] == [(0.25, 2), (0.5, 2)]
    assert PATHS == () or curve.points[0].ram < curve.points[1].ram
    shown, _ = explore(capsys, *QUICK, "--out", tmp_path, "--search", 1, "--set", "freq=1", "--max-macs", 500_000)
    assert shown["done"] + shown["failures"] == 1
    assert shown["best"] is None or shown["best"]["command"].startswith("squeezenet train")
    assert all(row["macs"] <= 500_000 for row in shown["trials"] if row["state"] == "done")


def test_the_commands_of_a_trial_make_its_file_again(trial, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trial = trial.seeded(3)
    result = works.measure(trial, data, tmp_path / "trial")
    for command in (train_command(trial, "digits"), squeeze_command(trial, result["parameters"], "digits")):
        assert main(shlex.split(command)[1:]) == 0
    assert f"top-1 {result['top1']:.1f}%" in capsys.readouterr().out
    assert (tmp_path / "squeezed.sqz").read_bytes() == (tmp_path / "trial" / "squeezed.sqz").read_bytes()


def test_a_trial_is_repeated_with_other_seeds(trial, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(works, "measure", stub)
    trial = replace(trial, squeeze=Squeezed(ratio=17.0))  # no option says so
    Work(Ledger(memory(tmp_path)), data, tmp_path).sweep([trial])
    again = ["--data", "digits", "--out", tmp_path, "--repeat", trial.name[:8]]
    told, _ = explore(capsys, *again, "--seeds", 3)
    assert [(row["value"], row["name"]) for row in told["trials"]] == [(n, trial.seeded(n).name) for n in range(3)]
    for wrong in (["--epochs", 2], ["--set", "sr=1"], ["--max-macs", 3]):
        assert main(["explore", *map(str, [*again, *wrong])]) == 2
    assert main(["explore", *map(str, again[:-1]), "ffff"]) == 2
    assert capsys.readouterr().err.count("\n") == 4


def test_a_network_is_trained_once_for_several_sizes(trial, data, tmp_path):
    heard = []
    work = Work(Ledger(memory(tmp_path)), data, tmp_path, lambda trial, what, about: heard.append(what))
    small = replace(trial, squeeze=Squeezed(max_bytes=900))
    work.sweep([trial, small])
    assert heard == ["begins", "epoch", "done", "begins", "done"]
    rows = {row["name"]: row for row in read_results(tmp_path)}
    assert rows[small.name]["trained_as"] == trial.name
    assert rows[small.name]["bytes"] <= 900 < rows[trial.name]["bytes"]
    assert rows[small.name]["top1"] == rows[trial.name]["top1"]
    whole = works.measure(small, data, tmp_path / "whole")
    assert whole["top1_squeezed"] == rows[small.name]["top1_squeezed"]


def test_what_was_interrupted_goes_on(trial, data, tmp_path):
    trial = replace(trial, recipe=replace(trial.recipe, epochs=2.0))
    heard = []

    def stop(trial, what, about):
        heard.append((what, about.get("epoch")))
        if what == "epoch":
            signal.raise_signal(signal.SIGINT)

    ledger = Ledger(memory(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        Work(ledger, data, tmp_path, stop).sweep([trial])
    assert ledger.look([trial.name])[0].state == "open"
    assert ledger.look([trial.name])[0].attempts == 0
    calm = Work(ledger, data, tmp_path, lambda trial, what, about: heard.append((what, about.get("epoch"))))
    calm.sweep([trial])
    assert heard == [("begins", None), ("epoch", 1.0), ("begins", None), ("epoch", 2.0), ("done", None)]
    (row,) = read_results(tmp_path)
    whole = works.measure(trial, data, tmp_path / "whole")
    assert [row[key] for key in ("top1", "bytes", "top1_squeezed")] == [
        whole[key] for key in ("top1", "bytes", "top1_squeezed")
    ]


def test_failures_are_recorded_and_retried_up_to_a_limit(trial, data, tmp_path, monkeypatch):
    tries = []

    def broken(trial, *rest):
        tries.append(trial.network.sr)
        if trial.network.sr == 0.5:
            raise RuntimeError("CUDA out of memory\n  a second line")
        if trial.network.sr == 0.25:
            raise UsageError("too small")
        return stub(trial, *rest)

    monkeypatch.setattr(works, "measure", broken)
    ledger = Ledger(memory(tmp_path))
    planned = trials(trial, "sr", (0.25, 0.5, 1.0), seeds=1)
    Work(ledger, data, tmp_path).sweep(planned)
    assert sorted(tries) == [0.25, 0.5, 0.5, 0.5, 1.0]  # what is impossible is not tried again
    assert [ledger.look([t.name])[0].state for t in planned] == ["failed", "failed", "done"]
    assert ledger.look([planned[1].name])[0].reason == "RuntimeError: CUDA out of memory a second line"
    Work(ledger, data, tmp_path).sweep(planned)
    assert len(tries) == 5
    Work(Ledger(memory(tmp_path), attempts=4), data, tmp_path).sweep(planned)
    assert len(tries) == 6


def test_a_failed_sweep_says_so(tmp_path, capsys):
    told, _ = explore(capsys, *QUICK, "--out", tmp_path, "--vary", "bypass", "--values", "none", "--attempts", 1,
                      "--squeeze-bytes", 300, code=1)  # fmt: skip
    assert (told["done"], told["failed"]) == (0, 1)
    assert "300 bytes" in told["trials"][0]["reason"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--vary", "sr", "--max-macs", "5"], "--max-macs is only for --search"),
        (["--search", "3", "--values", "1"], "--values is only for --vary"),
        (["--vary", "sr", "--values", "much"], "must be numbers"),
        (["--vary", "sr", "--values", "-1"], "cannot work for sr"),
        (["--vary", "base_e", "--values", "8"], "fixes what --vary base_e varies"),
        (["--vary", "image_size", "--values", "2"], "do not fit"),
        (["--vary", "sr", "--model", "alexnet_32"], "no metaparameters"),
        (["--vary", "version", "--values", "v2"], "the usual are ('32', '32 v1.1')"),
        (["--search", "0"], "at least 1"),
        (["--search", "1", "--max-ms", "0"], "more than 0"),
        (["--vary", "sr", "--max-ms", "1"], "--max-ms is only for --search"),
        (
            ["--search", "1", "--max-ms", "1", "--method", "none"],
            "--max-ms needs --method squeeze",
        ),
        (["--search", "1", "--max-bytes", "9", "--method", "none"], "--method squeeze"),
        (["--vary", "sr", "--max-images", "0"], "at least 1"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path, capsys, wrong, said):
    settings = [] if {"--model", "--method"} & {*wrong} else QUICK[2:]
    assert main(["explore", "--data", "digits", *settings, *wrong, "--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "runs").exists()


def test_without_optuna_one_line_says_what_to_install():
    said = _explain(ModuleNotFoundError("No module named 'optuna'", name="optuna"))
    assert "pip install 'sqznet[explore]'" in str(said)


def test_pages_of_progress(trial):
    class Terminal:
        text = ""

        def isatty(self):
            return True

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    terminal = Terminal()
    with Live(lambda: (2 * costs(trial).macs * 120.0, 1), lambda trial: "sr 0.125", terminal) as live:
        sys.stderr.write("a warning\n")
        live.listen(trial, "begins", {})
        live.listen(trial, "epoch", {"epoch": 1.0, "top1": 33.0})
        live.listen(trial, "done", stub(trial, None, None) | {"seconds": 300.0})
        live.listen(trial.seeded(1), "failed", {"reason": "no luck"})
    assert "a warning" in terminal.text
    last = terminal.text.split("\x1b[")[-1]
    assert "1 done, 1 failed here; about 10 minutes left, 1 at work" in last
    assert "failed: no luck" in last
