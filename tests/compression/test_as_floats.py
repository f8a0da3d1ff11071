"""Learning as floats and rounding again: it lowers the loss on other images or is undone, and goes on after a stop."""

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from squeezenet.compression import CompressionRecipe, Learning, compress
from squeezenet.compression.finetune import Teaching, prepared, teacher_of
from squeezenet.compression.outcome import Listener
from squeezenet.compression.squeeze.as_floats import hold_out
from squeezenet.compression.squeeze.learning_to_size import learn_to_size
from squeezenet.compression.squeeze.prepared import prepare
from squeezenet.compression.squeeze.to_size import round_to_size
from squeezenet.compression.squeeze.trimming import trimmed
from squeezenet.data import Pixels
from squeezenet.model import Model
from support.integer_networks import NETWORKS, PREPARATION, coloured_noise, little_model


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return coloured_noise()


@pytest.fixture(scope="module", params=list(NETWORKS))
def model(request: pytest.FixtureRequest, pixels: Pixels) -> Model:
    return little_model(request.param, pixels)


def goal_of(model: Model) -> int:
    return 500 + model.float32_bytes // 8


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_learning_lowers_the_loss_on_images_that_it_does_not_see(model: Model, pixels: Pixels, device: str) -> None:
    told: list[tuple[float, float]] = []
    listener = Listener(learned=lambda before, after: told.append((before, after)))
    goal = 500 + model.float32_bytes // 18
    recipe = CompressionRecipe(max_bytes=goal, learning=Learning(epochs=24, batch_size=10, lr=3e-4))
    learned = compress(model, pixels, recipe, listener=listener, device=torch.device(device))
    ((before, after),) = told
    assert after < before or before < 2e-5  # there is nothing left to learn
    assert len(learned.data) <= goal


def test_learning_that_does_not_help_is_undone(model: Model, pixels: Pixels) -> None:
    """With wrong labels, or at a rate that destroys the network, the result is that of rounding alone."""
    known, goal, every = prepare(model, pixels), goal_of(model), torch.arange(len(pixels))
    wanted = trimmed(model, round_to_size(model, known, goal)[0], known, goal)[0]
    teacher = teacher_of(known.network)
    answers = teacher(prepared(Teaching(pixels, PREPARATION, "distill"), every)).argmax(1).numpy()
    _, held = hold_out(Teaching(pixels, PREPARATION, "labels"))
    wrong = np.where(np.isin(pixels.indices, held.pixels.indices), answers, (answers + 1) % 5)  # but on held-out images
    labelled = Teaching(replace(pixels, labels=wrong), PREPARATION, "labels")
    for teaching in (labelled, Teaching(pixels, PREPARATION, "distill", teacher)):
        how = Learning(epochs=2, batch_size=10, lr=0.05 if teaching.teacher else 30.0)
        learned = learn_to_size(model, known, goal, teaching, how, round_to_size)
        assert learned.after == learned.before
        for name, found in learned.network.to_weights().items():
            assert np.array_equal(found.weight.levels, wanted.weights[name].weight.levels)
            assert np.array_equal(found.bias, wanted.weights[name].bias)


def test_few_images_are_learned_from_and_judged_by(pixels: Pixels) -> None:
    few = Pixels(pixels.images[:3], None, pixels.indices[:3])
    learning, held = hold_out(Teaching(few, PREPARATION, "distill"))
    assert len(learning.pixels) == len(held.pixels) == 3
    learning, held = hold_out(Teaching(pixels, PREPARATION, "labels"))
    assert sorted([*learning.pixels.indices, *held.pixels.indices]) == list(range(len(pixels)))
    assert len(held.pixels) == len(pixels) // 10
    assert np.array_equal(held.pixels.labels, pixels.labels[held.pixels.indices])


def test_learning_that_was_stopped_goes_on(model: Model, pixels: Pixels, tmp_path: Path) -> None:
    """In the first round and in a later one; the shares that are told never fall."""
    recipe = CompressionRecipe(max_bytes=goal_of(model), learning=Learning(epochs=4, batch_size=18, lr=1e-3))
    whole = compress(model, pixels, recipe)
    for step in (2, 8):
        work = tmp_path / str(step)
        work.mkdir()
        stopped_and_continued(model, pixels, recipe, whole.data, work, step)
    other = compress(model, pixels, replace(recipe, seed=1), work=work)  # what is left there is of no use
    assert other.data == compress(model, pixels, replace(recipe, seed=1)).data


def stopped_and_continued(
    model: Model, pixels: Pixels, recipe: CompressionRecipe, whole: bytes, work: Path, step: int
) -> None:
    shares: list[float] = []

    def stop(done: float, expected: float, doing: str) -> None:
        shares.append(done)
        if doing.startswith("learning") and sum(share > 0 for share in shares) == step:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compress(model, pixels, recipe, work=work, listener=Listener(progress=stop))
    taken = shares[-1]
    shares.clear()
    listener = Listener(progress=lambda done, *_: shares.append(done))
    again = compress(model, pixels, recipe, work=work, listener=listener)
    assert again.data == whole
    assert min(share for share in shares if share > 0) > taken - 0.01
    assert shares == sorted(shares)
    assert shares[-1] <= 1.0
