"""Training learns, resumes to the bit, says early what goes wrong, and leaves a run folder others can read."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image
from torch import nn

from squeezenet.cli import train as verb
from squeezenet.cli import train_run
from squeezenet.cli.main import main
from squeezenet.data import Data, Examples, load_data, load_pixels
from squeezenet.data.augment import Augmentation
from squeezenet.errors import CheckpointError, DataError, TrainingError, UsageError
from squeezenet.models import create_model, create_seeded, describe
from squeezenet.preparation import Preparation
from squeezenet.training import MODERN, PAPER, Recipe, Setup, evaluate, fresh_model, train
from squeezenet.training.checkpoint import load_newest, save_checkpoint
from squeezenet.training.start import scale_start
from squeezenet.training.watch import Watch

SMALL = {"base_e": 8, "incr_e": 8, "sr": 0.25, "fires": 3, "classes": 3, "in_channels": 1}
PREPARATION = Preparation(8, 8, "stretch", "L", (128.0,), (60.0,))
QUICK = replace(MODERN, epochs=4, batch_size=16, lr=0.01, augmentation=Augmentation(pad=1, rotate=5))


def bars(count, seed, classes=("left", "middle", "right")):
    """Images whose class is where a bright bar stands: easy, and never twice the same."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = random.integers(0, 90, (count, 8, 8)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 3 * label : 3 * label + 2] += 140
    return Examples(f"bars {seed}", [Image.fromarray(i) for i in images], labels.astype(np.int64), classes)


@pytest.fixture(scope="module")
def data():
    return Data(bars(60, 0), bars(30, 1))


def network(seed=0, **overrides):
    return create_seeded("squeezenet_32", seed, **{**SMALL, **overrides})


class Stop(Exception):
    """What a test raises to end a run where it pleases."""


def stop_at(step):
    def on_epoch(row):
        if row["step"] >= step:
            raise Stop

    return on_epoch


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_learns_and_leaves_a_run_folder(data, tmp_path):
    recipe = replace(QUICK, epochs=15, augmentation=Augmentation(mirror=False))
    model = fresh_model("squeezenet_32", data, PREPARATION, recipe, **SMALL)
    about = describe("squeezenet_32", SMALL)
    result = train(model, data, PREPARATION, recipe, tmp_path / "run", architecture=about)
    assert result.top1 > 90
    assert result.top5 == 100  # of three classes
    assert (result.epochs, result.steps, result.skipped_images, result.empty_classes) == (15, 60, 0, ())
    assert result.images_per_second > 0
    assert evaluate(model, data.validation, PREPARATION).top1 == result.top1
    assert evaluate(model, load_pixels(data.validation, PREPARATION), PREPARATION, batch_size=7).top1 == result.top1

    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "model.safetensors", "config.json", "metrics.jsonl", "tensorboard", "checkpoints", ".lock",
    }  # fmt: skip
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["recipe"]["seed"] == 0
    assert config["labels"] == ["left", "middle", "right"]
    assert config["result"]["top1"] == result.top1
    assert set(config["versions"]) >= {"squeezenet", "torch", "python"}
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 16))
    assert rows[-1]["loss"] < rows[0]["loss"]

    with safetensors.safe_open(tmp_path / "run/model.safetensors", "pt") as file:
        said = json.loads(file.metadata()["squeezenet"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    again = create_model(**said["architecture"])
    again.load_state_dict(state)
    assert Preparation.from_dict(said["preparation"]) == PREPARATION
    assert said["labels"] == ["left", "middle", "right"]
    assert evaluate(again, data.validation, PREPARATION).top1 == result.top1


@pytest.mark.parametrize(
    "recipe",
    [
        QUICK,
        replace(PAPER, epochs=4, batch_size=16, micro_batch=5),
        replace(QUICK, optimizer="sgd", ema=0.0, epochs=3.5),
    ],
    ids=["modern", "paper", "sgd"],
)
@pytest.mark.parametrize("every", [0.0, 1e9], ids=["checkpoints", "from the start"])
def test_a_stopped_run_ends_with_the_same_bits(data, tmp_path, recipe, every):
    straight = network()
    expected = train(straight, data, PREPARATION, recipe, tmp_path / "straight")
    with pytest.raises(Stop):
        train(
            network(), data, PREPARATION, recipe, tmp_path / "run", Setup(checkpoint_seconds=every), on_epoch=stop_at(8)
        )
    assert not (tmp_path / "run/model.safetensors").exists()
    resumed = network()
    steps = []
    result = train(resumed, data, PREPARATION, recipe, tmp_path / "run", on_epoch=lambda row: steps.append(row["step"]))
    assert steps[0] == (12 if every == 0 else 4)
    assert torch.equal(weights(straight), weights(resumed))
    assert (tmp_path / "run/model.safetensors").read_bytes() == (tmp_path / "straight/model.safetensors").read_bytes()
    assert result.top1 == expected.top1
    metrics = [
        [(row["step"], row["loss"], row["top1"]) for row in map(json.loads, path.read_text().splitlines())]
        for path in (tmp_path / "straight/metrics.jsonl", tmp_path / "run/metrics.jsonl")
    ]
    assert metrics[0] == metrics[1]


def test_a_run_goes_on_in_the_precision_that_it_began_with(data, tmp_path):
    bf16, auto = replace(QUICK, precision="bf16"), replace(QUICK, precision="auto")
    with pytest.raises(Stop):
        train(network(), data, PREPARATION, bf16, tmp_path / "run", on_epoch=stop_at(8))
    lines, resumed, straight = [], network(), network()
    train(resumed, data, PREPARATION, auto, tmp_path / "run", say=lines.append)  # too little to do for bf16
    assert lines[0].endswith("goes on in bf16, as it began; a new run would take float32 on this machine")
    train(straight, data, PREPARATION, bf16, tmp_path / "straight")
    assert torch.equal(weights(resumed), weights(straight))


def test_a_finished_run_is_not_repeated(data, tmp_path):
    first = train(network(), data, PREPARATION, QUICK, tmp_path)
    rows = []
    model = network(seed=1)
    assert train(model, data, PREPARATION, QUICK, tmp_path, on_epoch=rows.append) == first
    assert rows == []
    assert evaluate(model, data.validation, PREPARATION).top1 == first.top1


def test_reading_from_disk_does_not_depend_on_threads(data, tmp_path):
    models = [network(), network()]
    for workers, model in enumerate(models, 1):
        train(model, data, PREPARATION, QUICK, tmp_path / str(workers), Setup(cache_bytes=0, workers=workers))
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_seeds_differ(data, tmp_path):
    models = [network(), network()]
    for seed, model in enumerate(models):
        train(model, data, PREPARATION, replace(QUICK, epochs=1, seed=seed), tmp_path / str(seed))
    assert not torch.equal(weights(models[0]), weights(models[1]))


def test_the_global_generator_is_left_alone(data, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(network(), data, PREPARATION, replace(QUICK, epochs=1), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_micro_batches_give_the_gradient_of_the_batch(data, tmp_path):
    plain = Augmentation(mirror=False)
    models = [network(dropout=0.0), network(dropout=0.0)]
    for micro, model in zip((0, 7), models, strict=True):
        recipe = Recipe(epochs=1, batch_size=30, micro_batch=micro, lr=0.01, augmentation=plain)
        train(model, data, PREPARATION, recipe, tmp_path / str(micro))
    assert torch.allclose(weights(models[0]), weights(models[1]), atol=1e-6)
    assert not torch.equal(weights(models[0]), weights(network(dropout=0.0)))


@pytest.mark.parametrize("damage", ["flip", "cut", "json", "state"])
def test_a_damaged_newest_checkpoint_is_passed_over_loudly(data, tmp_path, caplog, damage):
    with pytest.raises(Stop):
        train(network(), data, PREPARATION, QUICK, tmp_path / "a", Setup(checkpoint_seconds=0.0), on_epoch=stop_at(8))
    newest = sorted((tmp_path / "a/checkpoints").glob("*.safetensors"))[-1]
    content = bytearray(newest.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif damage == "cut":
        newest.write_bytes(content[:100])
    elif damage == "json":
        newest.with_suffix(".json").write_text("{")
    else:
        body = json.loads(newest.with_suffix(".json").read_text())
        body["state"]["images"] += 1
        newest.with_suffix(".json").write_text(json.dumps(body))
    resumed, straight = network(), network()
    train(resumed, data, PREPARATION, QUICK, tmp_path / "a")
    assert "step-000000008.safetensors: damaged checkpoint" in caplog.text
    train(straight, data, PREPARATION, QUICK, tmp_path / "b")
    assert torch.equal(weights(resumed), weights(straight))


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"w": torch.ones(3) * step}, {"loss": 0.5})
    assert load_newest(tmp_path).step == 3
    assert len(list(tmp_path.iterdir())) == 4  # two are kept
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        load_newest(tmp_path)
    assert load_newest(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": replace(QUICK, lr=0.5)}, "lr was 0.01, now 0.5"),
        ({"recipe": replace(QUICK, augmentation=Augmentation(pad=2))}, "pad was 1, now 2"),
        ({"architecture": {"name": "alexnet"}}, "architecture"),
        ({"preparation": replace(PREPARATION, mean=(1.0,))}, "mean"),
    ],
)
def test_another_run_is_not_continued(data, tmp_path, change, said):
    call = {"recipe": QUICK, "architecture": {"name": "x"}, "preparation": PREPARATION}
    with pytest.raises(Stop):
        train(network(), data, out=tmp_path, on_epoch=stop_at(4), **call)
    with pytest.raises(CheckpointError, match=said):
        train(network(), data, out=tmp_path, **{**call, **change})


def test_a_folder_with_other_things_is_left_alone(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="other things"):
        train(network(), data, PREPARATION, QUICK, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(CheckpointError, match="is a file"):
        train(network(), data, PREPARATION, QUICK, tmp_path / "thesis.tex")


def test_a_loss_that_is_no_number_ends_the_run(data, tmp_path):
    recipe = replace(QUICK, optimizer="sgd", lr=1e30, clip=0.0, warmup=0.0, ema=0.0)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+ of 16.*last good checkpoint"):
        train(network(), data, PREPARATION, recipe, tmp_path)


class Constant(nn.Module):
    """A network whose logits do not depend on the image."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.bias.expand(len(x), 3) + 0 * x.mean()


def test_a_network_that_never_learns_is_told_of_and_stopped(data, tmp_path, caplog):
    short = Recipe(iterations=120, batch_size=20, lr=1e-6)
    train(Constant(), data, PREPARATION, short, tmp_path / "short")  # too short to be sure
    assert (
        "has not begun to learn after 100 of 120 steps: loss 1.099, a guess gives 1.099; try a lower --lr"
        in caplog.text
    )
    with pytest.raises(TrainingError, match="has not begun to learn after 300 of 1000 steps"):
        train(Constant(), data, PREPARATION, replace(short, iterations=1000), tmp_path / "long")


def test_a_network_that_learns_is_not_told_of(caplog):
    watch = Watch(1000, np.array([0, 1] * 50), 2)
    for step in range(1, 1001):
        watch.see(step, 0.69 if step < 60 else 0.6, 7 if step < 60 else 12, 16, 0.1)
    assert caplog.text == ""


def test_empty_classes_and_unreadable_images_are_reported(data, tmp_path, caplog):
    train_examples = bars(60, 0, ("left", "middle", "right", "behind"))
    images = [b"damaged" if i in (3, 30) else image for i, image in enumerate(train_examples.images)]
    broken = Data(replace(train_examples, images=images), bars(30, 1, train_examples.classes))
    results = [
        train(network(classes=4), broken, PREPARATION, QUICK, tmp_path / str(size), Setup(cache_bytes=size))
        for size in (0, 2**20)
    ]
    for result in results:
        assert result.skipped_images == 2
        assert result.empty_classes == ("behind",)
    assert "1 of 4 classes have no image to train on: behind" in caplog.text
    assert "2 images could not be read" in caplog.text
    assert "image 3:" in caplog.text


def test_what_does_not_fit_is_said_before_any_work(data, tmp_path):
    with pytest.raises(DataError, match="5 outputs for 3 classes"):
        train(network(classes=5), data, PREPARATION, QUICK, tmp_path)
    with pytest.raises(DataError, match="cannot read images of 1 x 8 x 8"):
        train(network(in_channels=3), data, PREPARATION, QUICK, tmp_path)
    with pytest.raises(DataError, match="has no labels"):
        train(network(), Data(replace(data.train, labels=None), data.validation), PREPARATION, QUICK, tmp_path)
    one = Examples("one", data.train.images, np.zeros(60, np.int64), ("left",))
    with pytest.raises(DataError, match="one class"):
        train(network(classes=1), Data(one, one), PREPARATION, QUICK, tmp_path)


def test_the_papers_recipe_is_the_papers():
    assert (PAPER.batch_size, PAPER.micro_batch, PAPER.iterations, PAPER.momentum) == (512, 32, 170_000, 0.9)
    assert (PAPER.weight_decay, PAPER.optimizer, PAPER.start) == (2e-4, "sgd", "paper")
    assert [PAPER.rate(s, 100) for s in (0, 50, 99)] == pytest.approx([0.04, 0.02, 0.0004])
    stretched = replace(PAPER, epochs=2)
    assert stretched.steps(50) == 100
    assert PAPER.steps(50) == 170_000


def test_warm_up_climbs_and_cosine_falls():
    rates = [MODERN.rate(step, 100) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == MODERN.lr
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01 * MODERN.lr


@pytest.mark.parametrize(
    "wrong", [{"lr": 0.0}, {"epochs": -1}, {"batch_size": 0}, {"warmup": 1.0}, {"lr": float("nan")}]
)
def test_a_recipe_that_cannot_work_is_refused(wrong):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))} .* cannot work"):
        Recipe(**wrong)


def test_weight_decay_spares_biases_only_when_told():
    groups = MODERN.optimisers(network())[0].param_groups
    assert [g["weight_decay"] for g in groups] == [MODERN.weight_decay, 0.0]
    assert all(p.ndim == 1 for p in groups[1]["params"])
    assert len(PAPER.optimisers(network())[0].param_groups) == 1


def test_scaled_start_gives_every_layer_unit_variance():
    model = network(in_channels=1, dropout=0.0, fires=8)
    images = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    scale_start(model, images)
    spread = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda m, x, y, name=name: spread.update({name: y.std().item()}))
    with torch.no_grad():
        model.eval()(images)
    assert spread.pop("classifier.1") == pytest.approx(0.3, rel=1e-3)
    assert list(spread.values()) == pytest.approx([1.0] * 25, rel=1e-3)


def arguments(*settings, model="squeezenet_32"):
    import argparse

    parser = argparse.ArgumentParser()
    verb.configure(parser)
    return parser.parse_args(["--model", model, "--data", "digits", "--out", "run", "--recipe", "modern", *settings])


def test_settings_reach_network_recipe_and_augmentation():
    given = [
        "--set",
        "base_e=32",
        "--set",
        "bypass=simple",
        "--set",
        "nesterov=true",
        "--set",
        "zoom=0.2",
        "--lr",
        "0.1",
    ]
    job = train_run.settings(arguments(*given, "--epochs", "3", "--recipe", "modern"))
    recipe = job.recipe
    assert job.network == {"base_e": 32, "bypass": "simple"}
    assert (recipe.nesterov, recipe.lr, recipe.epochs, recipe.augmentation.zoom) == (True, 0.1, 3.0, 0.2)
    assert recipe.augmentation.mirror is False  # digits
    assert train_run.settings(arguments("--set", "iterations=7", "--recipe", "modern")).recipe.steps(50) == 7


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("depth=3", "known are .*base_e"), ("base_e", "NAME=VALUE"), ("base_e=x", "whole number"),
        ("sr=half", "must be a number"), ("bypass=other", "must be one of none, simple, complex"),
        ("nesterov=1", "must be true or false"), ("classes=3", "known are"),
    ],
)  # fmt: skip
def test_unknown_settings_are_refused(setting, said):
    with pytest.raises(UsageError, match=said):
        train_run.settings(arguments("--set", setting))


@pytest.mark.parametrize("epochs", ["0", "-1"])
def test_no_epochs_at_all_are_refused(epochs, capsys):
    assert main(["train", "--data", "digits", "--out", "run", "--epochs", epochs]) == 2
    assert "must be more than 0" in capsys.readouterr().err


TINY = ["--model", "squeezenet_32", "--recipe", "modern", "--set", "base_e=8", "--set", "incr_e=8", "--set", "fires=3"]


def test_the_verb_prints_one_json_object(tmp_path, capsys):
    command = ["train", *TINY, "--data", "digits", "--out", str(tmp_path / "run"), "--epochs", "1", "--json"]
    assert main(command) == 0
    out = capsys.readouterr().out
    result = json.loads(out)
    assert out.count("\n") == 1
    assert set(result) >= {
        "top1", "top5", "parameters", "epochs", "images_per_second", "skipped_images", "empty_classes", "out",
    }  # fmt: skip
    assert "top-1" in verb.render(result)
    assert main(["train", *TINY, "--data", "digits", "--out", str(tmp_path / "run"), "--epochs", "2"]) == 1
    assert "epochs was 1.0, now 2.0" in capsys.readouterr().err


def test_a_terminated_run_saves_and_goes_on(tmp_path):
    command = [
        sys.executable, "-m", "squeezenet", "train", *TINY, "--data", "digits", "--epochs", "300",
        "--checkpoint-every", "1e9", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 240
    while not (tmp_path / "run/metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert load_newest(tmp_path / "run/checkpoints").step > 0


def test_alexnet_gets_the_images_it_can_read(tmp_path, monkeypatch):
    seen = {}

    def instead(model, data, preparation, recipe, out, setup, **_):
        seen.update(shape=preparation.shape, classes=model.classifier[-1].out_features)
        raise Stop

    monkeypatch.setattr(train_run, "train", instead)
    with pytest.raises(Stop):
        verb.run(arguments(model="alexnet_32"))
    assert seen == {"shape": (1, 32, 32), "classes": 10}
    with pytest.raises(UsageError, match="32 pixels only"):
        verb.run(arguments("--image-size", "48", model="alexnet_32"))


def test_evaluate_refuses_what_it_cannot_count(data):
    with pytest.raises(DataError, match="labels"):
        evaluate(network(), replace(data.validation, labels=None), PREPARATION)
    model = network()
    nn.init.constant_(model.features[0].weight, float("nan"))
    with pytest.raises(TrainingError, match="not numbers"):
        evaluate(model, data.validation, PREPARATION)
    assert load_data("digits").train.labels is not None
    assert logging.getLogger("squeezenet").handlers == []
