"""`train`: one training run in a folder of its own. A run that was stopped goes on from its last checkpoint.

    >>> data = load_data("digits")                                             # doctest: +SKIP
    >>> preparation = default_preparation(data.train)                          # doctest: +SKIP
    >>> model = create_seeded("squeezenet_32", 0, classes=10, in_channels=1)   # doctest: +SKIP
    >>> train(model, data, preparation, MODERN, Path("run")).top1              # doctest: +SKIP
    99.17

Everything random depends on (seed, step) or (seed, epoch) alone. On a CPU, a run that was stopped and taken up again
ends with the same bits as one that never stopped. Under `torchrun` every process makes the same call.
"""

import logging
import shlex
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from squeezenet.data.examples import Data
from squeezenet.data.judged import remember
from squeezenet.errors import DataError, UsageError
from squeezenet.files import write_atomically
from squeezenet.model import Model
from squeezenet.preparation import Preparation
from squeezenet.printable import counted
from squeezenet.training import run_folder
from squeezenet.training.epochs import Epochs, Setup, TrainResult
from squeezenet.training.job import Job, to_toml
from squeezenet.training.recipe import START, Recipe
from squeezenet.training.start import black_answer
from squeezenet.training.surroundings import computing_threads
from squeezenet.training.teacher import load_teacher

_log = logging.getLogger(__name__)

ONE_THREAD = 10**10  # parameters x pixels x images of a step; below, one thread computes: the same bits on all machines


def train(
    model: nn.Module,
    data: Data,
    preparation: Preparation,
    recipe: Recipe,
    out: Path,
    setup: Setup | None = None,
    *,
    architecture: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    reader: Model | None = None,
    job: Job | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    say: Callable[[str], None] = _log.info,
) -> TrainResult:
    """The result of training `model` in place in the run folder `out`, where a run that was stopped goes on.

    `architecture` is what `models.describe` gives, so that the weights can be used without this call; a
    `models.network.Network` needs none. `origin` is what `start.begin` says of a model that training starts from, saved
    and held against a run that goes on; `reader` is imitated where the recipe's teacher is `START`. `job` is saved,
    with the recipe as it was resolved, so that the run can be repeated. `on_epoch` gets each row of metrics.jsonl,
    `say` a line for a person. In a group, rank 0 alone writes, and alone needs to see `out`.

    Raises `DataError`, `CheckpointError`, and `TrainingError` for a loss that is not a number or a network that does
    not begin to learn. Ctrl-C and SIGTERM write a checkpoint, then raise `KeyboardInterrupt`.
    """
    setup = setup or Setup()
    group, device = setup.group, setup.device or setup.group.device()
    classes = _check(model.to(device), data, preparation)
    if recipe.batch_size < group.size:
        raise UsageError(f"a batch of {recipe.batch_size} has no image for some of {group.size} processes")
    parameters = sum(p.numel() for p in model.parameters())
    part = min(recipe.micro_batch or -(-recipe.batch_size // group.size), len(data.train))
    tiny = parameters * prod(preparation.cropped) * part < ONE_THREAD
    recipe = replace(recipe, precision=group.on_first(lambda: _precision(recipe, device, tiny, out, say)))
    config = {
        "architecture": dict(architecture) if architecture else None,
        "parameters": parameters,
        "preparation": preparation.to_dict(),
        "labels": list(data.train.classes),
        "start": dict(origin) if origin else None,
        "recipe": asdict(recipe),
        "data": {
            name: {"source": images.name, "images": len(images)}
            for name, images in (("train", data.train), ("validation", data.validation))
        },
        "held_out": data.held_out.to_dict() if data.held_out else None,
        "versions": run_folder.versions(),
        "processes": group.size,
    }
    config = group.on_first(lambda: run_folder.open_run(out, config))
    if "result" in config:
        saved = config["result"]
        if group.first:
            run_folder.load_weights(out / "model.safetensors", model)
            say(
                f"{out}: is finished ({counted(saved['epochs'], 'epoch')}, top-1 {saved['top1']:.2f}%) and was left "
                f"as it is; use another --out to train anew, and --model {shlex.quote(str(out))} to go on from it"
            )
        return TrainResult(**{**saved, "empty_classes": tuple(saved["empty_classes"]), "out": str(out)})
    if job and group.first:
        write_atomically(out / "recipe.toml", to_toml(replace(job, recipe=recipe)).encode())
    imitated = reader if recipe.teacher == START else recipe.teacher
    teacher = load_teacher(imitated, preparation, data.train.classes, classes, device) if imitated else None
    with ExitStack() as stack:
        group.on_first(lambda: stack.enter_context(run_folder.locked(out)))
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        stack.enter_context(computing_threads(setup.threads or (1 if tiny else None)))
        epochs = Epochs(model, data, preparation, recipe, out, replace(setup, device=device), teacher, say)
        epochs.take(on_epoch)
        result = epochs.result()
        model.load_state_dict(epochs.state.shipped.state_dict())
        if group.first:
            provenance = {**(origin or {}).get("provenance", {}), **remember(data)}
            described = (architecture, preparation, data.train.classes, provenance)
            run_folder.save_model(out / "model.safetensors", model, *described)
            run_folder.write_config(out, {**config, "result": asdict(result)})
    return result


def _precision(recipe: Recipe, device: torch.device, tiny: bool, out: Path, say: Callable[[str], None]) -> str:
    """The precision that "auto" means: that of the run in `out`, else bf16 where it is fast and there is enough to do.

    So a run that was moved to another machine goes on as it began.
    """
    if recipe.precision != "auto":
        return recipe.precision
    able = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    usual = "bf16" if able and not tiny else "float32"
    begun = run_folder.saved_precision(out) or usual
    if begun != usual:
        say(f"{out}: goes on in {begun}, as it began; a new run would take {usual} on this machine")
    return begun


def _check(model: nn.Module, data: Data, preparation: Preparation) -> int:
    """Number of classes. Raises `DataError` before any work is done if network and data do not fit together."""
    classes = data.require_classes()
    if not len(data.validation):
        raise DataError(f"{data.validation.name}: no validation images; give --val")
    logits = black_answer(model, preparation)
    if logits.shape != (1, classes):
        raise DataError(
            f"the network has {logits.shape[-1]} outputs for {classes} classes; build it with classes={classes}"
        )
    return classes
