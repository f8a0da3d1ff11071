"""The campaigns in recipes/ run in miniature, go on where they were, and print their table last."""

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from squeezenet import zoo
from squeezenet.architectures import ARCHITECTURES
from squeezenet.cli import compress, compress_recipe, explore, train, train_run
from squeezenet.cli.main import _parser, main
from squeezenet.errors import UsageError
from squeezenet.training.surroundings import computing_threads
from support import ROOT

RECIPES = ROOT / "recipes"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 3)):
        for label in range(10):
            (folder / split / str(label)).mkdir(parents=True)
            for number in range(count):
                image = random.integers(0, 90, (32, 32, 3)).astype(np.uint8)
                image[:, 3 * label : 3 * label + 3] += 150
                Image.fromarray(image).save(folder / split / str(label) / f"{number}.png")
    return folder


def campaign(name, *arguments):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(RECIPES / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def here(name, *arguments):
    """What the campaign prints, in this process, which has imported PyTorch."""
    recipe, said = imported(name.removesuffix(".py")), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), computing_threads(1):
        patch.setattr(sys, "argv", [str(RECIPES / name), *map(str, arguments)])
        recipe.main()
    return said.getvalue()


def test_one_network_of_a_comparison_is_trained_once(pictures, tmp_path, monkeypatch):
    recipe = imported("squeezenet_vs_alexnet")
    monkeypatch.setattr(recipe, "NETWORKS", {"squeezenet, simple bypass": {"bypass": "simple"}})
    arguments = ["--cifar10", pictures, "--out", tmp_path, "--epochs", 1, "--images", 20, "--val-images", 10]
    first = here("squeezenet_vs_alexnet.py", *arguments)
    assert first.strip().splitlines()[-1].startswith("| CIFAR-10 | squeezenet, simple bypass |")
    (model,) = tmp_path.glob("*/model.safetensors")
    before = model.stat().st_mtime_ns
    assert here("squeezenet_vs_alexnet.py", *arguments) == first
    assert model.stat().st_mtime_ns == before


@pytest.mark.long
def test_squeezenet_against_alexnet(pictures, tmp_path):
    arguments = ["--cifar10", pictures, "--out", tmp_path, "--epochs", 1, "--images", 40, "--val-images", 20]
    first = campaign("squeezenet_vs_alexnet.py", *arguments)
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["network"].split(",")[0] for row in rows] == ["alexnet", *["squeezenet"] * 3]
    assert rows[0]["parameters"] > 30 * rows[1]["parameters"]
    assert rows[1]["parameters"] == rows[2]["parameters"] < rows[3]["parameters"]
    assert all(row["bytes"] > 3 * row["parameters"] and row["gradient_bytes"] == 4 * row["parameters"] for row in rows)
    assert first.strip().splitlines()[-1].startswith("| CIFAR-10 | squeezenet, complex bypass |")
    times = {p: p.stat().st_mtime for p in tmp_path.glob("*/model.safetensors")}
    assert here("squeezenet_vs_alexnet.py", *arguments) == first
    assert {p: p.stat().st_mtime for p in tmp_path.glob("*/model.safetensors")} == times  # nothing was trained again


def imported(name):
    sys.path.insert(0, str(RECIPES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(RECIPES))


@pytest.mark.long
def test_the_zoo(pictures, tmp_path):
    plan = imported("zoo").PLANS["shipped"]
    for name in plan.students:
        for size in plan.sizes:  # to squeeze two million weights takes minutes
            shutil.copy(zoo.find("cifar10"), tmp_path / f"{name}-{size}.sqz")
    table = campaign("zoo.py", "--cifar10", pictures, "--out", tmp_path, "--epochs", 1)
    assert f"| {zoo.find('cifar10').stat().st_size:,} |" in table.strip().splitlines()[-1]
    for name in (plan.teacher, *plan.students):
        assert f"| {name}, 1 epochs |" in table
    assert table == (tmp_path / "table.md").read_text() + "\n"


@pytest.mark.parametrize("name", imported("zoo").PLANS)
def test_the_zoo_trains_and_squeezes_by_commands_that_there_are(name, monkeypatch, tmp_path):
    recipe, asked = imported("zoo"), []

    def together(commands):
        asked.extend(commands)
        return [{"epochs": 1, "parameters": 1, "top1": 1, "top5": 1, "bytes": 1, "images_per_second": 1}] * len(
            commands
        )

    monkeypatch.setattr(recipe, "together", together)
    monkeypatch.setattr(sys, "argv", ["zoo.py", "--cifar10", "images", "--out", str(tmp_path), "--plan", name])
    recipe.main()
    plan = recipe.PLANS[name]
    for command in (command[1:] for command in asked if command[0] == "train"):
        job = train_run.settings(_parser("train", train).parse_args(command))
        assert job.model in ARCHITECTURES
        assert job.recipe.epochs > 0
    squeezed = [command[1:] for command in asked if command[0] == "compress"]
    assert len(squeezed) == len(plan.students) * len(plan.sizes)
    for command in squeezed:
        wanted = compress_recipe.asked(_parser("compress", compress).parse_args(command)).recipe
        assert wanted.max_bytes <= 100_000
        assert wanted.learning.epochs == plan.epochs
        assert wanted.teacher == str(tmp_path / plan.teacher)


def test_what_runs_together_says_what_each_verb_prints_or_ends_the_campaign(pictures, tmp_path):
    recipe = imported("zoo")
    command = ["evaluate", "cifar10", "--data", str(pictures)]
    first, second = recipe.together([command, [*command, "--limit", "10"]])
    assert (first["images"], second["images"]) == (30, 10)
    with pytest.raises(SystemExit) as ended:
        recipe.together([["evaluate", str(tmp_path / "none.sqz"), "--data", str(pictures)], command])
    assert ended.value.code in (1, 2)


@pytest.mark.parametrize("name", ["learning.step_lr", "learning.features", "augmentation.pad"])
@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_learning_with_numbers_that_cannot_work_is_refused(name, value, capsys):
    setting = f"{name}={value}"
    assert main(["compress", "cifar10", "--data", "images", "--out", "f.sqz", "--epochs", "1", "--set", setting]) == 2
    assert re.search(rf"{name}( {value}.*: must be .* or more| = '{value}': must be a)", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (["--teacher", "big"], "give learning.epochs as well"),
        (["--teacher", "big", "--set", "learning.features=1", "--epochs", "1"], "leave one of the two out"),
    ],
)
def test_learning_options_that_do_not_go_together_are_refused(told, why):
    arguments = _parser("compress", compress).parse_args(["run", "--data", "d", "--out", "f.sqz", *told])
    with pytest.raises(UsageError, match=why):
        compress_recipe.asked(arguments)


def design_space(run, pictures, tmp_path, trials):
    """Run this campaign twice, the first time by `run`."""
    small = ["--miniature", "--epochs", 1, "--images", 40, "--val-images", 20, "--base-e", 16, "--seeds", 1]
    small += ["--method", "none"]  # to squeeze takes four fifths of the time; tests/explore does
    arguments = ["--cifar10", pictures, "--out", tmp_path, *small, "--publish", tmp_path / "docs"]
    first = run("design_space.py", *arguments)
    assert "the paper's figures are of ImageNet" in first
    out = tmp_path / "cifar10"
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(rows) == trials
    for name in ("results.jsonl", "report.html", "tables.txt"):
        assert (tmp_path / "docs" / "cifar10" / name).read_bytes() == (out / name).read_bytes()
    times = {p: p.stat().st_mtime_ns for p in out.glob("runs/*/squeezed.sqz")}
    assert here("design_space.py", *arguments) == first
    assert {p: p.stat().st_mtime_ns for p in out.glob("runs/*/squeezed.sqz")} == times


@pytest.mark.long
def test_the_design_space(pictures, tmp_path):
    design_space(campaign, pictures, tmp_path, 5 + 6 + 3 - 2)


@pytest.mark.slow
def test_one_sweep_of_the_design_space(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(imported("design_space"), "SWEEPS", ("bypass",))
    design_space(here, pictures, tmp_path, 3)


def test_a_search_is_held_against_both_versions_and_repeated(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(RECIPES)
    recipe = importlib.import_module("design_space")
    better = [{"name": name} for name in ("first", "second", "third", "fourth")]
    asked = []
    monkeypatch.setattr(recipe, "call", lambda *command: asked.append(command) or "")
    monkeypatch.setattr(recipe, "read_results", lambda folder: [])
    monkeypatch.setattr(recipe, "compare", lambda rows: ([], better))
    (tmp_path / "cifar10").mkdir()
    recipe.one("cifar10", "images", {**recipe.FULL, "search": 2}, 3, tmp_path)
    versions = [command for command in asked if "version" in command]
    assert [command[-2:] for command in versions] == [
        ("--seeds", "3"), ("--squeeze-bytes", "100000"), ("--squeeze-bytes", "50000"),
    ]  # fmt: skip
    assert [command[-3:] for command in asked if "--search" in command] == [("2", "--max-bytes", "100000")]
    assert [command[-3] for command in asked if "--repeat" in command] == ["first", "second", "third"]
    parser = _parser("explore", explore)
    known = [parser.parse_args(command[1:]) for command in asked if command[0] == "explore"]
    assert {arguments.data for arguments in known} == {"images"}
