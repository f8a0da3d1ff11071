"""Carries out one trial: trains the network, squeezes it into a file, and evaluates this file.

>>> measure(trial, data, Path("runs/0123456789abcdef"))["top1"]              # doctest: +SKIP
87.31
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from squeezenet.compression import compress
from squeezenet.data import Data, default_preparation, load_pixels
from squeezenet.data.evaluate import evaluate
from squeezenet.data.examples import some
from squeezenet.explore.latency import latency, processor, working_memory
from squeezenet.explore.trial import NETWORK, Trial, costs
from squeezenet.files import write_atomically
from squeezenet.formats import load_model
from squeezenet.models import describe
from squeezenet.runtime.run import runner
from squeezenet.training import TrainResult, fresh_model, train
from squeezenet.training.job import Job
from squeezenet.training.run_folder import versions

OnEpoch = Callable[[dict[str, Any]], None]
"""A function that gets each row of metrics.jsonl. An exception from it stops training; the run can be continued."""


def measure(trial: Trial, data: Data, work: Path, on_epoch: OnEpoch = lambda row: None) -> dict[str, Any]:
    """The result of the trial. `work` is its run folder; a run that was stopped there continues.

    Accuracies are in percent of the trial's validation images. `bytes` and `latency_ms` are those of the squeezed file
    (`latency_on`: the processor and the path of the engine); `ram` is in bytes (`working_memory`); `seconds` do not
    include earlier runs in `work`. Raises what `train` and `compress` raise.
    """
    start = time.perf_counter()
    data = Data(some(data.train, trial.images), some(data.validation, trial.judges))
    trained = _train(trial, data, work, on_epoch)
    result = {
        **_about(trial, data),
        "top1": round(trained.top1, 4),
        "top5": round(trained.top5, 4),
        **_squeeze(trial, data, work),
        "epochs": trained.epochs,
        "images_per_second": trained.images_per_second,
        "seconds": round(time.perf_counter() - start, 1),
    }
    shutil.rmtree(work / "checkpoints", ignore_errors=True)  # three times the bytes of the weights
    return result


def stopped(trial: Trial, data: Data, epoch: float, top1: float, seconds: float) -> dict[str, Any]:
    """The result of a trial that was stopped early, after `epoch`, with the accuracy `top1`."""
    return {**_about(trial, data), "stopped": {"epoch": epoch, "top1": top1}, "seconds": round(seconds, 1)}


def hardware() -> str:
    """The name of the GPU, or of the processor and the number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{processor()}, {torch.get_num_threads()} threads"


def _about(trial: Trial, data: Data) -> dict[str, Any]:
    """The fields that are known without training. `source` is a name of the data that people can read."""
    known = costs(trial)
    return {
        "name": trial.name,
        "trial": trial.to_dict(),
        "source": Path(data.train.name).name,
        "parameters": known.parameters,
        "float_bytes": 4 * known.parameters,
        "macs": known.macs,
        "ram": working_memory(trial),
        "versions": versions(),
        "hardware": hardware(),
    }


def _train(trial: Trial, data: Data, work: Path, on_epoch: OnEpoch) -> TrainResult:
    preparation = default_preparation(data.train, trial.image_size)
    fitting = {"classes": len(data.train.classes), "in_channels": preparation.shape[0]}
    model = fresh_model(NETWORK, data, preparation, trial.recipe, **trial.overrides)
    about = describe(NETWORK, {**trial.overrides, **fitting})
    size, used, judges = trial.image_size, trial.images, trial.judges
    job = Job(trial.recipe, NETWORK, trial.overrides, image_size=size, max_images=used, val_images=judges, split_seed=0)
    return train(model, data, preparation, trial.recipe, work, architecture=about, job=job, on_epoch=on_epoch)


def _squeeze(trial: Trial, data: Data, work: Path) -> dict[str, Any]:
    """Bytes, accuracy and latency of the squeezed file; of the float32 file if the method is "none"."""
    model = load_model(work)
    recipe = replace(trial.compression(model.parameters), data=data.train.name)
    pixels = load_pixels(data.train, model.preparation, recipe.limit, progress=False)
    squeezed = compress(model, pixels, recipe)
    write_atomically(work / "squeezed.sqz", squeezed.data)
    run = runner(squeezed.model, torch.get_num_threads(), data=squeezed.data)
    score = evaluate(
        run, load_pixels(data.validation, model.preparation, progress=False), model.preparation, progress=False
    )
    return {
        "bytes": len(squeezed.data),
        "top1_squeezed": round(score.top1, 4),
        "top5_squeezed": round(score.top5, 4),
        "judged": score.images,
        **latency(squeezed.data, sum(squeezed.model.graph.macs())).to_row(),
    }
