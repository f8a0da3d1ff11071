"""Training processes that are killed at any moment, inside saving included, end with the bits of one that never was.

SQUEEZENET_KILLS=200 python -m pytest tests/training/test_kills.py        # the long run; six kills otherwise
"""

import errno
import multiprocessing
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenet.data import Data, Examples
from squeezenet.data.augment import Augmentation
from squeezenet.errors import CheckpointError
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.training import Recipe, Setup, train
from squeezenet.training.checkpoint import load_newest, save_checkpoint

KILLS = int(os.environ.get("SQUEEZENET_KILLS", "6"))
RECIPE = Recipe(
    epochs=15, batch_size=12, micro_batch=5, optimizer="muon", lr=0.1, momentum=0.8, ema=0.9, density=0.5,
    augmentation=Augmentation(pad=1, rotate=5), cutmix=1.0,
)  # fmt: skip


def learn(out: Path, seed: int) -> None:
    """One small run, which saves after every step."""
    numbers = np.random.default_rng(0)
    images = [Image.fromarray(numbers.integers(0, 255, (8, 8)).astype(np.uint8)) for _ in range(90)]
    examples = Examples("noise", images, np.arange(90) % 3, ("a", "b", "c"))
    network = create_seeded(
        "squeezenet_32", seed, base_e=16, incr_e=8, sr=0.25, fires=3, classes=3, in_channels=1, norm="batch"
    )
    data = Data(examples, examples.take(np.arange(30)))
    preparation = Preparation(8, 8, "stretch", "L", (128.0,), (60.0,))
    held = 2**30 if seed % 2 else 0  # every other run decodes its images again and again
    setup = Setup(checkpoint_seconds=0.0, threads=1, cache_bytes=held)
    train(network, data, preparation, replace(RECIPE, seed=seed), out, setup)


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")  # PyTorch is imported once, not once a life
    context.set_forkserver_preload(["squeezenet.training", "squeezenet.models"])
    return context


def run_whole(processes, out: Path, seed: int) -> bytes:
    process = processes.Process(target=learn, args=(out, seed))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    return (out / "model.safetensors").read_bytes()


def half_written(out: Path) -> list[Path]:
    return list((out / "checkpoints").glob(".*.tmp"))


@pytest.mark.timeout(36_000 if KILLS > 50 else 600)
def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path, processes):
    chance = random.Random(0)
    kills = inside = seed = 0
    while kills < KILLS:
        expected = run_whole(processes, tmp_path / f"whole {seed}", seed)
        out = tmp_path / f"killed {seed}"
        while True:
            process = processes.Process(target=learn, args=(out, seed))
            process.start()
            in_saving = chance.random() < 0.5
            end = time.monotonic() + chance.uniform(0.3, 2.5)
            while process.is_alive() and time.monotonic() < end:
                time.sleep(0 if in_saving else 0.005)
            while in_saving and process.is_alive() and not half_written(out) and time.monotonic() < end + 60:
                pass  # until it is writing
            if kills >= KILLS:
                process.join(300)
            process.kill()
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -9
            kills += 1
            inside += bool(half_written(out))
        assert (out / "model.safetensors").read_bytes() == expected
        assert not half_written(out)
        rows = (out / "metrics.jsonl").read_text().splitlines()
        assert len(rows) == RECIPE.epochs  # none twice, none missing
        seed += 1
    assert inside > 0  # some died between the first byte and the renaming


def test_a_full_disk_is_one_error_and_the_old_checkpoint_is_still_there(tmp_path, monkeypatch):
    import torch

    tensors = {"w": torch.arange(1000.0)}
    save_checkpoint(tmp_path, 1, tensors, {"loss": 1.0})
    write = os.fsync

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*free some space"):
        save_checkpoint(tmp_path, 2, tensors, {"loss": 0.5})
    monkeypatch.setattr(os, "fsync", write)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000001.json", "step-000000001.safetensors"]
    assert load_newest(tmp_path).step == 1


def test_two_processes_do_not_train_in_one_folder(tmp_path, processes):
    process = processes.Process(target=learn, args=(tmp_path / "run", 0))
    process.start()
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run/checkpoints").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(CheckpointError, match="another process is training there"):
            learn(tmp_path / "run", 0)
    finally:
        process.kill()
        process.join()
