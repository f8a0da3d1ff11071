"""Recipe files, and what they can ask of training: Muon, pruning on the way, mixing, growing images, a teacher."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from squeezenet.cli.main import main
from squeezenet.data.augment import Augmentation, augment, draw
from squeezenet.data.batches import Batch
from squeezenet.errors import UsageError
from squeezenet.formats import load_model, save_model
from squeezenet.formats.state_dict import from_module
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.training import PAPER, Recipe
from squeezenet.training.job import Job, read_job, to_toml
from squeezenet.training.mixing import Mix, mix
from squeezenet.training.muon import Muon, orthogonal
from squeezenet.training.sparsity import density_at, lamp_scores, masks
from squeezenet.training.start import take_weights
from squeezenet.training.state import State
from squeezenet.training.statistics import estimate_statistics
from squeezenet.training.teacher import load_teacher
from support import ROOT

RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
NORMED = {"base_e": 16, "incr_e": 16, "sr": 0.5, "fires": 2, "classes": 4, "norm": "batch", "dropout": 0.0}
DIGITS = tuple("0123456789")
PREPARATION = Preparation(16, 16, "stretch", "RGB", (120.0, 110.0, 100.0), (50.0, 60.0, 70.0))


def batch(count=24, seed=0):
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = torch.randint(0, 80, (count, 3, 16, 16), generator=random, dtype=torch.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * int(label) : 4 * int(label) + 3] += 150
    return Batch(images, labels, torch.arange(count), count)


def state(recipe, steps=20, **overrides):
    return State(create_seeded("squeezenet_32", 0, **{**NORMED, **overrides}), recipe, steps, PREPARATION)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_can_be_read_and_says_what_it_is_for(path):
    job = read_job(str(path))
    assert job.recipe.name == path.stem
    assert job.model
    assert path.read_text().startswith("# ")
    assert read_job_again(job) == job


def read_job_again(job, folder=None):
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(folder or temporary) / f"{job.recipe.name}.toml"
        path.write_text(to_toml(job), encoding="utf-8")
        return read_job(str(path))


@given(
    st.builds(
        Recipe,
        name=st.just("some"),
        epochs=st.floats(0, 100),
        batch_size=st.integers(1, 4096),
        micro_batch=st.integers(0, 64),
        lr=st.floats(1e-6, 10),
        optimizer=st.sampled_from(["sgd", "adamw", "muon"]),
        nesterov=st.booleans(),
        teacher=st.text(max_size=20),
        augmentation=st.builds(Augmentation, pad=st.integers(0, 8), area=st.floats(0.1, 1)),
    )
)
@settings(deadline=None, max_examples=50)
def test_a_resolved_recipe_is_enough_to_run_it_again(recipe):
    job = Job(recipe, "squeezenet_32", {"base_e": 64, "sr": 0.25, "bypass": "simple"}, 'a "b"\\c', None, 48)
    assert read_job_again(job) == job


def test_the_papers_protocol_is_the_papers():
    job = read_job(str(next(path for path in RECIPES if path.stem == "paper_imagenet")))
    assert replace(job.recipe, name="paper") == PAPER
    assert (PAPER.iterations, PAPER.batch_size, PAPER.micro_batch, PAPER.lr) == (170_000, 512, 32, 0.04)
    assert job.model == "squeezenet1_0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle = 'x'", "modle: no such setting; did you mean model"),
        ("like = 'x'", "known are finetune, modern, paper"),
        ("[training]\nlr = 'fast'", "r.toml: training.lr = 'fast': must be a number"),
        ("[training]\nbatch_size = 1.5", "must be a whole number"),
        ("[training]\noptimizer = 'lion'", "must be one of sgd, adamw, muon"),
        ("[training]\nrate = 1", "no such setting"),
        ("[training]\nlr = -1", "r.toml: training.lr -1.0 cannot work"),
        ("[network]\nclasses = 3", "no such setting"),
        ("training = 3", "training = 3: must be a table"),
        ("model = 'alexnet'\n[network]\nsr = 0.5", "has no .network. settings"),
        ("lr = = 1", "is not TOML"),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(tmp_path, text, said):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_job(str(path))
    with pytest.raises(UsageError, match="no such recipe"):
        read_job(str(tmp_path / "missing.toml"))


def test_a_run_can_be_repeated_from_its_folder(tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    options = ["--set", "base_e=8", "--set", "incr_e=8", "--set", "fires=3", "--set", "norm=batch", "--epochs", "1"]
    start = ["train", "--model", "squeezenet_32", "--data", "digits", "--recipe", "modern", "--json"]
    assert main([*start, *options, "--out", first]) == 0
    assert main(["train", "--recipe", f"{first}/recipe.toml", "--out", second, "--json"]) == 0
    assert Path(second, "model.safetensors").read_bytes() == Path(first, "model.safetensors").read_bytes()


def test_muon_steps_along_orthogonal_directions():
    update = orthogonal(torch.randn(20, 30, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(update)
    assert values.max() < 1.4
    assert values.min() > 0.3
    weight = nn.Parameter(torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1)))
    optimiser = Muon([weight], lr=0.1, momentum=0.5)
    weight.grad = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    before = weight.detach() * (8**0.5 / weight.detach().norm())
    optimiser.step()
    moved = before - weight.detach()
    assert torch.allclose(moved, 0.1 * orthogonal(1.5 * weight.grad.flatten(1)).view_as(moved), atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_every_optimiser_learns(optimizer, precision):
    lr = {"sgd": 0.3, "adamw": 0.03, "muon": 0.1}[optimizer]
    run = state(Recipe(lr=lr, optimizer=optimizer, precision=precision, micro_batch=0, decay_bias=False))
    losses = [float(run.advance(batch(seed=step))) for step in range(20)]
    assert losses[0] > 1.2
    # Muon leaves the last layer to a slow SGD: at a rate that learns this in 20 steps, it runs away on CIFAR-10.
    assert losses[-1] < (0.85 if optimizer == "muon" else 0.6) * losses[0]


def test_pruning_follows_its_schedule_and_dense_weights_come_back():
    recipe = Recipe(lr=0.05, density=0.2, sparse_from=0.2, sparse_full=0.5, dense_again=0.8, ema=0.5)
    run = state(recipe, steps=40)
    seen = []
    for step in range(40):
        run.advance(batch(seed=step))
        names = [name for name, module in run.model.named_modules() if isinstance(module, nn.Conv2d)][1:]
        weights = torch.cat([run.model.get_submodule(name).weight.flatten() for name in names])
        shipped = torch.cat([run.shipped.get_submodule(name).weight.flatten() for name in names])
        seen.append(float((weights != 0).float().mean()))
        if run.kept:
            assert torch.equal(weights == 0, shipped == 0)
    assert seen[5] == 1.0
    assert all(abs(density - 0.2) < 0.01 for density in seen[20:30])
    assert seen[12] > seen[15] > seen[19]
    assert seen[-1] > 0.95
    assert bool((run.model.features[0].weight != 0).all())  # the first layer stays whole
    assert density_at(PAPER, 0.9) == 1.0


@given(st.integers(0, 1000), st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=20)
def test_lamp_is_its_definition(seed, density):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), nn.ReLU(), nn.Linear(5, 6))
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=random)
    slow = []
    for layer in (model[1], model[3]):
        squares = layer.weight.detach().double().flatten().square().tolist()
        slow.append([s / sum(other for other in squares if other >= s) for s in squares])
        assert np.allclose(lamp_scores(layer.weight).flatten().numpy(), slow[-1])
    kept = masks(model, density)
    assert set(kept) == {"1.weight", "3.weight"}
    assert sum(int(mask.sum()) for mask in kept.values()) == max(1, round(density * 50))
    scores = np.array(slow[0] + slow[1])
    chosen = torch.cat([mask.flatten() for mask in kept.values()]).numpy()
    assert scores[chosen].min() >= scores[~chosen].max() - 1e-12


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (0.4, 0.4)])
def test_mixed_images_have_the_share_their_labels_say(mixup, cutmix):
    recipe = Recipe(mixup=mixup, cutmix=cutmix)
    random = torch.Generator().manual_seed(0)
    images = torch.zeros(2, 1, 32, 32)
    images[0] = 1.0
    labels = torch.tensor([1, 0])
    shares = []
    for _ in range(50):
        mixed = mix(recipe, random)
        seen = mixed.images(images)
        shares.append(mixed.share)
        assert float(seen[0].mean()) == pytest.approx(mixed.share, abs=0.05)
        assert float(seen.sum()) == pytest.approx(1024, abs=0.1)
        assert float(mixed.loss(lambda truth: truth.float()[0], labels)) == pytest.approx(mixed.share)
    assert len(set(shares)) == 50
    assert mix(Recipe(), random) == Mix()


def test_images_grow_to_their_full_side():
    recipe = Recipe(lr=0.01, first_resolution=0.5, full_resolution=0.5)
    run = state(recipe, steps=10)
    sides = []
    run.shared.register_forward_pre_hook(lambda module, inputs: sides.append(inputs[0].shape[-1]))
    for step in range(10):
        run.advance(batch(8, seed=step))
    assert sides[0] == 8
    assert sides == sorted(sides)
    assert sides[5:] == [16] * 5


def test_random_resized_crops_show_the_share_they_may():
    ramp = torch.arange(32.0).expand(1, 32, 32)
    images = torch.cat([ramp, ramp.transpose(1, 2)]).expand(200, 2, 32, 32)
    draws = draw(200, torch.Generator().manual_seed(0))
    cut = augment(images.to(torch.uint8), Augmentation(area=0.25), (24, 24), draws)
    assert cut.shape == (200, 2, 24, 24)
    width = (cut[:, 0, 0, -1] - cut[:, 0, 0, 0]).abs() / 31 * 24 / 23
    height = (cut[:, 1, -1, 0] - cut[:, 1, 0, 0]).abs() / 31 * 24 / 23
    assert 0.15 < float((width * height).min()) < 0.35
    assert float((width * height).max()) > 0.85
    mirrored = cut[:, 0, 0, 0] > cut[:, 0, 0, -1]
    assert 60 < int(mirrored.sum()) < 140
    assert cut.min() >= 0
    assert cut.max() <= 31


def test_the_teacher_sees_what_the_student_sees(tmp_path, capsys):
    """Whatever the student normalises by, the teacher answers the image as it would have prepared it."""
    small = ["--set", "base_e=8", "--set", "incr_e=8", "--set", "fires=3"]
    run = str(tmp_path / "teacher")
    start = ["train", "--model", "squeezenet_32", "--data", "digits", "--recipe", "modern", "--epochs", "1", "--json"]
    assert main([*start, *small, "--out", run]) == 0
    model = load_model(run)
    other = Preparation(16, 16, "stretch", "L", (90.0,), (30.0,))
    teacher = load_teacher(run, other, DIGITS, 10, torch.device("cpu"))
    pixels = torch.randint(0, 255, (4, 1, 16, 16)).float()
    own = (pixels - model.preparation.mean[0]) / model.preparation.std[0]
    seen = (pixels - 90) / 30
    answer = teacher.network(own)
    assert float(teacher.loss(seen, answer, PAPER)) == pytest.approx(0, abs=1e-5)
    assert float(teacher.loss(seen, answer + torch.randn(4, 10), PAPER)) > 0.001
    with pytest.raises(UsageError, match="knows 10 classes, the student 7"):
        load_teacher(run, other, DIGITS[:7], 7, torch.device("cpu"))
    with pytest.raises(UsageError, match="prepares images otherwise"):
        load_teacher(run, Preparation(32, 32), DIGITS, 10, torch.device("cpu"))
    capsys.readouterr()
    student = str(tmp_path / "student")
    assert main([*start, *small, "--out", student, "--teacher", run]) == 0
    assert main([*start, *small, "--out", str(tmp_path / "alone")]) == 0
    weights = [load_file(f"{folder}/model.safetensors") for folder in (student, str(tmp_path / "alone"))]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert "no such file" in failing(capsys, [*start, *small, "--out", str(tmp_path / "x"), "--teacher", "nowhere"])


@pytest.mark.parametrize(
    ("student", "order"),
    [
        (("cat", "ant", "bee"), [1, 2, 0]),  # by name
        (("0", "1", "2"), [0, 1, 2]),  # by number
        ((), [0, 1, 2]),
        (("bee", "cat", "dog"), None),
    ],
)
def test_the_teacher_answers_in_the_order_of_the_students_classes(student, order, tmp_path):
    preparation = Preparation(32, 32)
    network = create_seeded("squeezenet_32", 0, base_e=8, incr_e=8, fires=3, classes=3)
    model = from_module(network, preparation, ("bee", "cat", "ant"))
    save_model(model, tmp_path / "teacher.sqz")
    where = str(tmp_path / "teacher.sqz")
    if order is None:
        with pytest.raises(UsageError, match="its classes do not include 'dog'"):
            load_teacher(where, preparation, student, 3, torch.device("cpu"))
        return
    teacher = load_teacher(where, preparation, student, 3, torch.device("cpu"))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(teacher.answer(x), teacher.network(x)[:, order])


def failing(capsys, command):
    capsys.readouterr()
    assert main(command) != 0
    return capsys.readouterr().err


def test_averaged_weights_are_judged_with_statistics_of_their_own():
    model = create_seeded("squeezenet_32", 0, **NORMED).eval()
    images = batch(64).images.numpy()
    other = Preparation(16, 16, "stretch", "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    estimate_statistics(model, images, other, batch_size=64)
    assert not model.training
    x = torch.from_numpy(images).float()
    first = model.features[1][0]
    seen = model.features[0](x)
    assert torch.allclose(first.running_mean, seen.mean((0, 2, 3)), rtol=1e-3)
    assert torch.allclose(first.running_var, seen.var((0, 2, 3)), rtol=1e-3)
    assert first.momentum == 0.1
    answers = model(x)
    model.train()
    model.classifier[0].p = 0.0
    assert torch.allclose(answers, model(x), atol=1e-2)  # as if the images were a batch


def test_a_second_stage_starts_where_the_first_ended(tmp_path, capsys):
    small = ["--set", "base_e=8", "--set", "incr_e=8", "--set", "fires=3"]
    start = ["train", "--model", "squeezenet_32", "--data", "digits", "--recipe", "modern", "--epochs", "1", "--json"]
    first = tmp_path / "first"
    assert main([*start, *small, "--out", str(first)]) == 0
    model = create_seeded("squeezenet_32", 5, base_e=8, incr_e=8, fires=3, classes=10, in_channels=1)
    take_weights(model, first)
    saved = load_file(first / "model.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    other = create_seeded("squeezenet_32", 5, base_e=8, incr_e=8, fires=3, classes=4, in_channels=1)
    fresh = other.classifier[1].weight.clone()
    take_weights(other, first)
    assert torch.equal(other.features[0].weight, saved["features.0.weight"])
    assert torch.equal(other.classifier[1].weight, fresh)  # other classes: the last layer starts anew
    command = [*start, *small, "--lr", "1e-9", "--set", "ema=0", "--set", "weight_decay=0", "--weights", str(first)]
    assert main([*command, "--out", str(tmp_path / "second")]) == 0
    again = load_file(tmp_path / "second/model.safetensors")
    assert all(torch.allclose(tensor, again[name], atol=1e-5) for name, tensor in saved.items())
    said = failing(capsys, [*start, "--set", "base_e=16", "--weights", str(first), "--out", str(tmp_path / "x")])
    assert "weights of another network" in said
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "bad.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{")
    wrong = {"": "no such file", "pipe.safetensors": "is a pipe or a device", "bad.safetensors": "a header of"}
    for name, why in wrong.items():
        said = failing(capsys, [*start, *small, "--weights", str(tmp_path / name), "--out", str(tmp_path / "y")])
        assert why in said
        assert len(said.splitlines()) <= 1 or said.startswith("squeezenet: ")
