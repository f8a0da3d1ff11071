"""From photographs to a model: training starts from a trained one, and is judged by images it has not learned from."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from squeezenet import sqz
from squeezenet.cli import train_run
from squeezenet.cli.compress import render
from squeezenet.cli.main import main
from squeezenet.compression import CompressionRecipe, compress
from squeezenet.data import Data, HeldOut, Pixels, load_evaluation, split
from squeezenet.data.classes import first_classes
from squeezenet.data.evaluate import evaluate
from squeezenet.data.judged import load_for, load_judged, recall, remember
from squeezenet.data.pixels import load_pixels
from squeezenet.errors import DataError, UsageError
from squeezenet.formats import load_model, save_model
from squeezenet.formats.state_dict import from_module
from squeezenet.models import create_seeded
from squeezenet.models.network import dense
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise
from squeezenet.runtime.reference import Runner
from squeezenet.training import FINETUNE, MODERN
from squeezenet.training.recipe import by_layer
from squeezenet.training.transfer import transfer
from support.photographs import photograph

SMALL = {"base_e": 8, "incr_e": 8, "sr": 0.5, "fires": 3, "dropout": 0.0}
PREPARATION = Preparation(36, 32, "shorter", "BGR", (100.0, 110.0, 120.0), (60.0, 60.0, 60.0))
COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 70), "red": (200, 50, 40)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir()
        for number in range(20):
            photograph(folder / name, colour, 100 * index + number)
    return folder


@pytest.fixture(scope="module")
def start():
    """A network for other classes; random weights see colours well enough."""
    module = create_seeded("squeezenet_32", 1, classes=7, in_channels=3, **SMALL)
    labels = tuple(f"old {i}" for i in range(7))
    return from_module(module, PREPARATION, labels, {"name": "old", "license": "MIT", "held_out": "other data"})


@pytest.fixture(scope="module")
def run(photos, start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    save_model(start, folder / "old.sqz")
    out = folder / "run"
    command = ["train", "--data", str(photos), "--model", str(folder / "old.sqz"), "--seed", "3", "--out", str(out)]
    alone = ["--set", "teacher_weight=0"]  # a network of random weights has nothing worth imitating
    assert main([*command, "--epochs", "3", *alone, "--json"]) == 0
    return out


def test_a_run_starts_from_a_model_and_says_so(photos, start, tmp_path, capsys):
    save_model(start, tmp_path / "old.sqz")
    faster = ["--epochs", "12", "--lr", "0.02", "--set", "body_lr=1", "--set", "frozen=0"]  # as it starts from chance
    command = ["train", "--data", str(photos), "--model", str(tmp_path / "old.sqz"), *faster, "--json"]
    assert main([*command, "--out", str(tmp_path / "my run")]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    said = "starts from old.sqz, at 32 x 32 pixels; its last layer, conv5, is replaced: 3 classes instead of 7"
    assert said in told.err
    assert told.err.count("images/s") == 12  # a line an epoch, as stderr is no terminal
    assert " left\n" in told.err
    assert (result["start"], result["replaced"], result["recipe"]) == ("old.sqz", "classifier.1", "finetune")
    assert (result["images"], result["judged"], result["top5"]) == (6, "held-out", None)
    assert result["top1"] >= 80
    assert result["next"] == (
        f"squeezenet compress '{tmp_path}/my run' --data {photos} --max-bytes 300kB --out '{tmp_path}/my run.sqz'"
    )
    assert all(os.path.exists(path) for path in [*result["files"], result["tensorboard"]])
    trained = load_model(tmp_path / "my run")
    assert trained.preparation == PREPARATION
    assert trained.labels == tuple(COLOURS)
    assert trained.provenance["license"] == "MIT"
    assert trained.provenance["trained from"] == "old.sqz"
    assert recall(trained.provenance).images == 60
    assert main([*command, "--out", str(tmp_path / "my run")]) == 0
    assert "is finished (12 epochs, top-1" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [".sqz", ".pth", ".safetensors", "integers", "run"])
def test_any_model_is_a_start(photos, start, run, tmp_path, kind, capsys):
    path = tmp_path / f"start{kind if kind.startswith('.') else '.sqz'}"
    if kind == "run":
        path = run
    elif kind == "integers":
        images = np.random.default_rng(0).integers(0, 255, (8, 3, 32, 32)).astype(np.uint8)
        recipe = CompressionRecipe(max_bytes=6000)
        save_model(compress(start, Pixels(images, None, np.arange(8)), recipe).model, path)
    else:
        save_model(start, path)
    command = ["train", "--data", str(photos), "--model", str(path), "--epochs", "1", "--json"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert json.loads(capsys.readouterr().out)["replaced"] == (None if kind == "run" else "classifier.1")
    assert load_model(tmp_path / "run").preparation == PREPARATION


def test_the_new_last_layer_answers_as_the_old_one_did_for_images_of_the_class(photos, start):
    train = load_evaluation(str(photos))
    new = transfer(start, train)[0]
    assert new.graph.classes == 3
    assert new.labels == train.classes
    body = [name for name in new.weights if name != "classifier.1"]
    assert all(np.array_equal(new.weights[n].weight.values(), start.weights[n].weight.values()) for n in body)
    rows = new.weights["classifier.1"].weight.values()
    assert np.allclose(rows.sum(0), 0, atol=1e-5)  # what classes have in common is left out
    assert np.abs(rows).max() > 0
    assert transfer(new, train) is None
    assert transfer(start, train, reader=False)[1] is None
    assert transfer(start, train, 48)[0].preparation == replace(PREPARATION, resize=54, crop=48)
    with pytest.raises(UsageError, match="--image-size 2: the model cannot read such images"):
        transfer(start, train, 2)


def test_a_reader_tells_the_new_classes_from_the_old_answers(photos, start):
    train = load_evaluation(str(photos))
    for classes in (3, 2):  # of two classes, a logistic regression has one row
        some = first_classes(train, classes)
        reader = transfer(start, some)[1]
        assert reader.labels == some.classes
        assert reader.graph.layers[:-1] == start.graph.layers
        pixels = load_pixels(some, reader.preparation, progress=False)
        assert evaluate(Runner(reader), pixels, reader.preparation, progress=False).top1 > 90


def test_a_class_without_images_is_not_what_a_reader_answers(photos, start):
    train = load_evaluation(str(photos))
    train = replace(train.take(np.flatnonzero(train.labels < 2)), classes=train.classes)
    reader = transfer(start, train)[1]
    pixels = load_pixels(train, reader.preparation, progress=False)
    assert set(Runner(reader)(normalise(pixels.images, reader.preparation)).argmax(1)) <= {0, 1}


def test_the_reader_is_imitated_unless_its_weight_is_nothing(photos, start, tmp_path, capsys):
    path = tmp_path / "old.sqz"
    save_model(start, path)
    command = ["train", "--data", str(photos), "--model", str(path), "--epochs", "1", "--json"]
    assert main([*command, "--out", str(tmp_path / "taught")]) == 0
    assert main([*command, "--out", str(tmp_path / "alone"), "--set", "teacher_weight=0"]) == 0
    taught, alone = (load_model(tmp_path / name).weights["classifier.1"].bias for name in ("taught", "alone"))
    assert not np.array_equal(taught, alone)


def test_epochs_follow_the_number_of_images():
    shown = {images: FINETUNE.for_images(images).epochs * images for images in (18, 270, 4500)}
    assert shown[270] == 3240
    assert list(shown.values()) == sorted(shown.values())
    assert FINETUNE.for_images(10**6).epochs == 2
    assert FINETUNE.for_images(1).epochs == 60


def test_frozen_layers_stay_and_the_body_learns_slowly(start):
    network = dense(start)
    layers = by_layer(network)
    assert len(layers) == 11
    (optimiser,) = FINETUNE.optimisers(network)
    assert [all(p.requires_grad for p in layer) for layer in layers] == [False] * 4 + [True] * 7
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert {rates[id(p)] for layer in layers[4:-1] for p in layer} == {FINETUNE.lr * FINETUNE.body_lr}
    assert {rates[id(p)] for p in layers[-1]} == {FINETUNE.lr}
    assert not {id(p) for layer in layers[:4] for p in layer} & rates.keys()
    module = create_seeded("squeezenet_32", 0, norm="batch", **SMALL)
    assert len(by_layer(module)[0]) == 3  # a weight, and scale and shift of the normalisation
    assert sum(p.numel() for layer in by_layer(module) for p in layer) == sum(p.numel() for p in module.parameters())


def test_a_stopped_run_from_a_model_goes_on_and_says_where(photos, start, tmp_path, capsys, monkeypatch):
    save_model(start, tmp_path / "old.sqz")
    command = ["train", "--data", str(photos), "--model", str(tmp_path / "old.sqz"), "--epochs", "3", "--json"]
    assert main([*command, "--out", str(tmp_path / "straight")]) == 0
    stop = {"after": 1}

    def line(row):
        if row["epoch"] >= stop["after"]:
            raise KeyboardInterrupt
        return ""

    with monkeypatch.context() as patch:
        patch.setattr(train_run, "epoch_line", line)
        assert main([*command, "--out", str(tmp_path / "run"), "--checkpoint-every", "0"]) == 130
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert "goes on after step 4 of 12 (epoch 1.0 of 3.0), from checkpoint step-000000004" in capsys.readouterr().err
    straight, resumed = (load_model(tmp_path / name) for name in ("straight", "run"))
    for name, held in straight.weights.items():
        assert np.array_equal(held.weight.values(), resumed.weights[name].weight.values())
    other = [*command[:-3], "--epochs", "3", "--seed", "1", "--json"]
    assert main([*other, "--out", str(tmp_path / "run")]) == 1


@pytest.mark.parametrize(
    ("options", "model", "recipe"),
    [
        ([], "imagenet", "finetune"),
        (["--from-scratch"], "squeezenet1_1", "modern"),
        (["--model", "squeezenet_64"], "squeezenet_64", "modern"),
        (["--model", "cifar10"], "cifar10", "finetune"),
        (["--data", "digits"], "squeezenet_32", "modern"),
        (["--data", "digits", "--from-scratch"], "squeezenet_32", "modern"),
        (["--recipe", "paper", "--model", "squeezenet1_0"], "squeezenet1_0", "paper"),
        (["--recipe", "finetune"], "imagenet", "finetune"),
        (["--recipe", "modern", "--from-scratch"], "squeezenet1_1", "modern"),
    ],
)
def test_what_is_trained_where_it_is_not_said(photos, options, model, recipe):
    args = parsed(["--data", str(photos), "--out", "run", *options])
    data = train_run._load(args, {})
    train_run.choose(args, data)
    job = train_run.settings(args)
    assert (job.model, job.recipe.name) == (model, recipe)


def test_the_next_command_judges_by_the_images_that_the_run_was_judged_by(photos, run, tmp_path, capsys):
    out = str(tmp_path / "next")
    command = ["train", "--data", str(photos), "--val", str(photos), "--model", str(run), "--epochs", "0.1", "--json"]
    assert main([*command, "--out", out]) == 0
    told = json.loads(capsys.readouterr().out)["next"]
    assert told == f"squeezenet compress {out} --data {photos} --val {photos} --max-bytes 300kB --out {out}.sqz"
    assert load_model(out).provenance.keys() == {"name", "license", "trained from", "learned_from"}


def parsed(options):
    import argparse

    from squeezenet.cli import train

    parser = argparse.ArgumentParser()
    train.configure(parser)
    return parser.parse_args(options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "squeeznet_32"], "did you mean squeezenet_32"),
        (["--model", "nowhere/x.sqz"], "no such file"),
        (["--model", "cifar10", "--from-scratch"], "is a model, not a network"),
        (["--model", "cifar10", "--set", "base_e=8"], "known are"),
        (["--recipe", "modern"], "--model missing"),
        (["--recipe", "finetune", "--from-scratch"], "starts from a model"),
        (["--weights", "somewhere"], "imagenet has weights of its own; name the network with --model"),
        (["--split-seed", "-1"], "at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(photos, tmp_path, capsys, options, said):
    command = ["train", "--data", str(photos), "--out", str(tmp_path / "run"), *options]
    try:
        code = main(command)
    except SystemExit as left:
        code = left.code
    assert code in (1, 2)
    assert said in capsys.readouterr().err


def test_one_class_is_refused_before_any_work(photos, tmp_path, capsys):
    shutil.copytree(photos / "red", tmp_path / "one" / "red")
    assert main(["train", "--data", str(tmp_path / "one"), "--out", str(tmp_path / "run")]) == 1
    err = capsys.readouterr().err
    assert "has one class only" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [[], ["--from-scratch"]])
def test_photographs_without_class_folders_are_refused_by_all_that_wants_labels(photos, tmp_path, capsys, options):
    assert main(["train", "--data", str(photos / "red"), "--out", str(tmp_path / "run"), *options]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "has no labels; give folders named after classes" in err
    assert not (tmp_path / "run").exists()


def test_a_folder_of_other_things_is_refused_before_the_images_are_read(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["train", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 1
    assert "folder with other things in it" in capsys.readouterr().err


def test_accuracy_is_of_images_that_were_not_learned_from(photos, run, tmp_path, capsys):
    saved = json.loads((run / "config.json").read_text())
    examples = load_evaluation(str(photos))
    held = HeldOut.from_dict(saved["held_out"])
    assert held.seed == 3
    names = {path.name for path in held.apply(examples).images}
    learned = {path.name for path in split(examples, held.every, held.seed).train.images}
    assert len(names) == 6
    assert not names & learned

    def evaluate(*words):
        capsys.readouterr()
        assert main(["evaluate", *map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    result = evaluate(run, "--data", photos, "--report", tmp_path / "report.html")
    assert (result["images"], result["judged"]) == (6, "held-out")
    assert result["top1"] == pytest.approx(saved["result"]["top1"], abs=1e-4)
    assert result["top1_error"] > 15
    assert result["top5"] is None
    assert "<img" not in (tmp_path / "report.html").read_text() or result["top1"] < 100
    assert evaluate(run, "--data", photos, "--split", "all")["images"] == 60
    out = tmp_path / "birds.sqz"
    assert main(["compress", str(run), "--data", str(photos), "--max-bytes", "6000", "--out", str(out), "--json"]) == 0
    compressed = json.loads(capsys.readouterr().out)
    assert (compressed["images"], compressed["judged"]) == (6, "held-out")
    assert "on 6 images held out from training" in render(compressed)
    assert compressed["top1_before"] == pytest.approx(saved["result"]["top1"], abs=1e-4)
    assert recall(sqz.read(out).provenance) == held
    assert evaluate(out, "--data", photos)["judged"] == "held-out"


def test_another_data_set_is_judged_whole_and_a_changed_one_is_told_of(photos, run, tmp_path, capsys, caplog):
    changed = tmp_path / "changed"
    shutil.copytree(photos, changed)
    photograph(changed / "red", COLOURS["red"], 999)
    assert main(["evaluate", str(run), "--data", str(changed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judged"] == "all"
    assert "top-1 is too high if the two have images in common" in caplog.text
    assert main(["evaluate", str(run), "--data", str(changed), "--split", "held-out"]) == 1
    assert "is not the data set that was split" in capsys.readouterr().err
    assert main(["evaluate", "cifar10", "--data", str(changed), "--split", "held-out"]) == 1
    assert "has no record of which images were held out" in capsys.readouterr().err


def test_a_second_training_holds_the_same_images_out(photos, run):
    held = recall(load_model(run).provenance)
    again = load_for(load_model(run).provenance, str(photos), seed=8)
    assert again.held_out == held
    assert load_for({}, str(photos), seed=8).held_out.seed == 8
    assert load_judged("digits", load_model(run).provenance)[1] == "validation"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"every":0,"seed":0,"images":1,"fingerprint":"x"}', "[" * 100_000])
def test_a_record_that_is_none_is_passed_over(text):
    assert recall({"held_out": text}) is None
    assert recall({}) is None


def test_who_judges_by_images_that_were_learned_from_is_warned(photos, caplog):
    """Where nothing was held out, as with --val."""
    folder = load_evaluation(str(photos))
    provenance = remember(Data(folder, load_evaluation("digits")))
    assert recall(provenance) is None
    assert load_judged(str(photos), provenance)[1] == "all"
    assert load_for(provenance, str(photos)).held_out is not None
    assert caplog.text.count("has learned from these images") == 2
    caplog.clear()
    load_judged(str(photos / "red"), provenance)
    load_judged("digits", provenance)
    load_judged(str(photos), {})
    load_for(provenance, str(photos), validation=str(photos))
    assert "has learned" not in caplog.text


def test_images_without_labels_judge_nothing_and_nobody_is_warned(photos, run, caplog):
    provenance = load_model(run).provenance
    assert load_for(provenance, str(photos / "red")).train.labels is None
    assert load_judged(str(photos / "red"), provenance)[1] == "all"
    assert "top-1" not in caplog.text


def test_split_all_of_a_source_with_its_own_validation_is_refused():
    with pytest.raises(DataError, match="has training and validation images"):
        load_judged("digits", {}, "all")


def test_the_weights_of_a_network_that_is_frozen_do_not_move(photos, start, tmp_path):
    save_model(start, tmp_path / "old.sqz")
    command = ["train", "--data", str(photos), "--model", str(tmp_path / "old.sqz"), "--epochs", "1", "--json"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    trained = load_model(tmp_path / "run")
    same = [
        np.array_equal(held.weight.values(), start.weights[name].weight.values())
        for name, held in trained.weights.items()
        if name != "classifier.1"
    ]
    assert same == [True] * 4 + [False] * 6
    assert MODERN.frozen == 0
    assert torch.isfinite(torch.tensor(trained.weights["classifier.1"].bias)).all()
