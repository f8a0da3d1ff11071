"""`squeezenet reproduce table2` in miniature: the same rows, of small networks in place of the paper's."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from squeezenet import sqz
from squeezenet.cli import table2
from squeezenet.cli.main import main
from squeezenet.cli.table2 import TABLE_2
from squeezenet.compression import CompressionRecipe, Pruning, Sharing, compress
from squeezenet.formats import load_model
from squeezenet.formats.state_dict import from_module
from squeezenet.models import create_seeded

KINDS = [(row.network, row.method, row.data_type) for row in TABLE_2]


@pytest.fixture(scope="module")
def small(digits):
    """Layers of the same kinds, so that the papers' densities fit, for digits."""
    torch.manual_seed(0)
    alexnet = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 200), nn.ReLU(),
        nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10),
    )  # fmt: skip
    squeezenet = create_seeded("squeezenet_32", 0, base_e=16, incr_e=8, fires=8, classes=10, in_channels=1)
    return {
        name: from_module(net.eval(), digits[1]) for name, net in (("alexnet", alexnet), ("squeezenet", squeezenet))
    }


@pytest.fixture
def files(small, tmp_path, monkeypatch):
    """Both as files; and where the paper's networks would be made, these are."""
    paths = {name: str(tmp_path / f"{name}.sqz") for name in small}
    for name, path in paths.items():
        sqz.write(small[name], path)
    instead = {"alexnet": small["alexnet"], "squeezenet1_0": small["squeezenet"]}
    monkeypatch.setattr(table2, "load_model", lambda what, seed=None: instead.get(what) or load_model(what, seed))
    return paths


def run(capsys, *arguments):
    assert main(["reproduce", "table2", *map(str, arguments), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)["rows"]


def test_sizes_are_of_files_and_say_so(files, small, tmp_path, capsys):
    rows = run(capsys, "--out", tmp_path / "out")
    assert [(r["network"], r["method"], r["data_type"]) for r in rows] == KINDS
    for row in rows:
        model = sqz.read(row["file"])
        assert row["bytes"] == len(sqz.encode(model))
        assert row["ratio"] == pytest.approx(small["alexnet"].float32_bytes / row["bytes"], abs=0.01)
        assert (row["nonzero"], row["top1"], row["data"]) == (model.nonzero, None, None)
        assert (row["weights"], row["accuracy"]) == ("random, seed 0", "size only")
    whole, svd, pruned, deep, small_whole, eight, six = (row["bytes"] for row in rows)
    assert whole > svd > deep
    assert whole > pruned > deep
    assert small_whole > eight > six
    assert rows[1]["parameters"] <= small["alexnet"].parameters / 5
    assert rows[2]["nonzero"] == rows[3]["nonzero"] < small["alexnet"].parameters / 5
    assert [row["paper"]["ratio"] for row in rows] == [1, 5, 9, 35, 50, 363, 510]


def test_networks_trained_here_are_retrained_and_judged(files, tmp_path, capsys):
    rows = run(capsys, "--out", tmp_path / "out", "--alexnet", files["alexnet"], "--squeezenet", files["squeezenet"],
               "--data", "digits", "--epochs", 1, "--limit", 200)  # fmt: skip
    assert [(r["network"], r["method"], r["data_type"]) for r in rows] == 2 * KINDS
    assert len({row["file"] for row in rows}) == len(rows)
    for row in rows[7:]:
        assert row["weights"].endswith(".sqz, trained here")
        assert row["accuracy"] == "measured"
        assert (row["images"], row["data"]) == (359, "digits")
        assert 0 <= row["top1"] <= row["top5"] <= 100
    assert all(row["top1"] is None for row in rows[:7])


def test_published_weights_that_came_squeezed_are_not_squeezed_again(files, small, tmp_path, capsys):
    recipe = CompressionRecipe("deep-compression", pruning=Pruning(density=0.5), sharing=Sharing(fc_bits=8))
    published = compress(small["squeezenet"], None, recipe).model
    sqz.write(published, tmp_path / "published.sqz")
    rows = run(capsys, "--out", tmp_path / "out", "--weights", tmp_path / "published.sqz", "--imagenet-val", "digits")
    whole, eight, six = rows[4:]
    assert (whole["weights"], whole["top1"]) == ("random, seed 0", None)
    again, narrow = sqz.read(eight["file"]), sqz.read(six["file"])
    for name, held in published.weights.items():
        assert np.array_equal(again.weights[name].weight.values(), held.weight.values())
        assert narrow.weights[name].weight.codebook.size <= 64
    assert eight["nonzero"] == six["nonzero"] == published.nonzero
    assert eight["images"] == six["images"] == 359
    assert eight["weights"].endswith("published.sqz, as published")
    unjudged = run(capsys, "--out", tmp_path / "out", "--weights", tmp_path / "published.sqz")
    assert [row["accuracy"] for row in unjudged[4:]] == ["size only", "not judged", "not judged"]


def test_people_see_both_figures_and_what_was_not_measured(files, tmp_path, capsys):
    assert main(["reproduce", "table2", "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    (svd,) = (line for line in lines if line.startswith("AlexNet, SVD"))
    assert "48" in svd
    assert "5x" in svd
    assert "56.0 / 79.4" in svd
    assert "size only" in svd
    assert "random, seed 0" in svd


@pytest.mark.parametrize(
    "wrong",
    [
        ["--alexnet", "run"], ["--squeezenet", "run", "--data", "digits"], ["--data", "digits"], ["--val", "digits"],
        ["--imagenet", "digits"], ["--imagenet-val", "digits"],
    ],
)  # fmt: skip
def test_arguments_that_belong_together(tmp_path, capsys, wrong):
    assert main(["reproduce", "table2", "--out", str(tmp_path), *wrong]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert wrong[0] in err
    assert main(["reproduce", "table9", "--out", str(tmp_path)]) == 2
