"""Two processes learn what one learns, judge exactly, and go on after one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from squeezenet.data import Data, Examples
from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.training import Recipe, Setup, train
from squeezenet.training.distributed import Gradients, Group, agree, join

SMALL = {"base_e": 8, "incr_e": 8, "sr": 0.25, "fires": 3, "classes": 3, "in_channels": 1, "dropout": 0.0}
PREPARATION = Preparation(8, 8, "stretch", "L", (128.0,), (60.0,))
# 50 images in batches of 13 and 12, so that the two processes never have the same number of them
RECIPE = Recipe(
    epochs=3, batch_size=13, micro_batch=3, lr=0.02, augmentation=Augmentation(pad=1, rotate=10), clip=1.0, ema=0.9
)


def bars(count: int, seed: int) -> Examples:
    """Images whose class is where a bright bar stands; the one at 4 cannot be read."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = random.integers(0, 90, (count, 8, 8)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 3 * label : 3 * label + 2] += 140
    sources: list[Image.Image | bytes] = [Image.fromarray(i) for i in images]
    sources[4] = b"no image"
    return Examples(f"bars {seed}", sources, labels.astype(np.int64), ("left", "middle", "right"))


def learn(
    out: Path,
    recipe: Recipe = RECIPE,
    cache_bytes: int = 2**30,
    group: Group | None = None,
    gradients: Gradients = "float32",
) -> None:
    setup = Setup(cache_bytes=cache_bytes, group=group or Group(), gradients=gradients)
    result = train(
        create_seeded("squeezenet_32", 0, **SMALL), Data(bars(50, 0), bars(31, 1)), PREPARATION, recipe, out, setup
    )
    sys.stdout.write(json.dumps({"run": out.name, "top1": result.top1, "skipped": result.skipped_images}) + "\n")


def processes(count: int, *arguments: str, options: tuple[str, ...] = ()):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    return subprocess.Popen([*launcher, *options, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


VARIANTS: dict[str, tuple[int, Gradients, float]] = {
    "in memory": (2**30, "float32", 1e-5), "streamed": (0, "float32", 1e-5), "bf16": (0, "bf16", 1e-2),
}  # fmt: skip
"""Name -> bytes of the cache, type of the gradients, largest difference between weights."""


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The run folders of all variants, from one start of two processes, and what both said."""
    folder = tmp_path_factory.mktemp("two")
    started = processes(2, __file__, str(folder))
    out, errors = started.communicate(timeout=200)
    assert started.returncode == 0, errors.decode()
    return folder, [json.loads(line) for line in out.decode().splitlines()]


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_learn_what_one_learns_and_judge_exactly(tmp_path, together, variant, capsys):
    cache_bytes, gradients, exact = VARIANTS[variant]
    learn(tmp_path, cache_bytes=cache_bytes)
    alone = json.loads(capsys.readouterr().out)
    told = [line for line in together[1] if line["run"] == variant]
    assert len(told) == 2
    assert told[0] == told[1]
    assert told[0]["skipped"] == alone["skipped"] == 2
    folders = tmp_path, together[0] / variant
    one, two = (load_file(folder / "model.safetensors") for folder in folders)
    fresh = create_seeded("squeezenet_32", 0, **SMALL).state_dict()
    for name, weight in one.items():
        assert torch.allclose(weight, two[name], atol=exact), name
    assert gradients == "float32" or any(not torch.allclose(one[name], two[name], atol=1e-6) for name in one)
    assert any(not torch.allclose(one[name], fresh[name], atol=1e-3) for name in one)
    rows = [[json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in folders]
    for a, b in zip(*rows, strict=True):
        if gradients == "bf16":
            continue
        assert (a["step"], a["top1"], a["train_top1"]) == (b["step"], b["top1"], b["train_top1"])
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)


TRAIN = [
    "-m", "squeezenet", "train", "--model", "squeezenet_32", "--recipe", "modern", "--data", "digits",
    "--set", "base_e=8", "--set", "incr_e=8", "--set", "fires=3",
]  # fmt: skip


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_a_killed_worker_brings_the_group_back_to_its_last_checkpoint(tmp_path):
    run = tmp_path / "run"
    command = [*TRAIN, "--epochs", "12", "--out", str(run), "--checkpoint-every", "0", "--json"]
    started = processes(2, *command, options=("--max-restarts", "2", "--monitor-interval", "0.1"))
    deadline = time.monotonic() + 200
    while len(list((run / "checkpoints").glob("*.json"))) < 2 and time.monotonic() < deadline:
        assert started.poll() is None, started.communicate()[1].decode()
        time.sleep(0.02)
    os.kill(children(started.pid)[-1], signal.SIGKILL)
    try:
        out, errors = started.communicate(timeout=200)
    finally:
        started.kill()
    assert started.returncode == 0, errors.decode()
    result = json.loads((run / "config.json").read_text())["result"]
    assert result["epochs"] == 12
    assert out.decode().count('"top1"') == 1  # one process speaks
    assert json.loads(out)["top1"] == result["top1"] > 15  # of ten classes; it learns on
    assert "SIGKILL" in errors.decode() or "-9" in errors.decode()  # it was killed indeed
    epochs = [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, 13))  # none twice, none missing


@given(st.integers(1, 9), st.integers(0, 200))
def test_slices_are_everything_once(size, count):
    slices = [Group(rank, 0, size).slice(np.arange(count)) for rank in range(size)]
    assert sorted(np.concatenate(slices).tolist()) == list(range(count))
    assert max(map(len, slices)) - min(map(len, slices)) <= 1


def test_alone_without_torchrun(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with join() as group:
        assert group == Group()
        assert group.add(1, 2) == [1, 2]
        assert (group.tell("x"), group.gather("y"), group.on_first(lambda: 3)) == ("x", ["y"], 3)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="LOCAL_RANK, WORLD_SIZE"), join():
        pass


def test_each_attempt_agrees_on_a_name_of_its_own():
    store = torch.distributed.HashStore()  # as the launchers' does, it remembers what dead processes said
    with ThreadPoolExecutor(3) as pool:
        attempts = [list(pool.map(lambda rank: agree(store, rank, 3), order)) for order in ((0, 1, 2), (2, 0, 1))]
    assert [len(set(names)) for names in attempts] == [1, 1]
    assert attempts[0][0] != attempts[1][0]


def test_a_batch_must_have_an_image_for_everyone(tmp_path):
    with pytest.raises(UsageError, match="no image for some of 4 processes"):
        learn(tmp_path, replace(RECIPE, batch_size=3), group=Group(0, 0, 4))


if __name__ == "__main__":
    with join() as me:
        for variant, (cache_bytes, gradients, _) in VARIANTS.items():
            learn(Path(sys.argv[1]) / variant, cache_bytes=cache_bytes, group=me, gradients=gradients)
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert not [name for name in threads if "gloo" in name], threads  # one that is left can abort the process
