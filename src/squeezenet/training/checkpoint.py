"""Checkpoints: weights, optimiser, averages and position of a run, as safetensors beside JSON, checked when read.

>>> save_checkpoint(Path("run/checkpoints"), 100, tensors, {"loss": 1.5})     # doctest: +SKIP
>>> load_newest(Path("run/checkpoints")).step                                 # doctest: +SKIP
100
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from squeezenet.errors import CheckpointError
from squeezenet.files import write_atomically

KEEP = 2
"""Checkpoints that are kept: the newest, and one to fall back to."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What was saved after `step` steps."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write one checkpoint and remove all but the newest `KEEP`. Raises `CheckpointError` if the disk refuses."""
    data = safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    body: dict[str, Any] = {"step": step, "state": dict(state)}
    body["sha256"] = _digest(step, body["state"], data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(_tensors_path(folder, step), data)
        # The JSON comes last: without it, the tensors are not a checkpoint.
        write_atomically(_tensors_path(folder, step).with_suffix(".json"), json.dumps(body).encode())
        for old in _steps(folder)[KEEP:]:
            _tensors_path(folder, old).with_suffix(".json").unlink(missing_ok=True)
            _tensors_path(folder, old).unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot write a checkpoint ({error.strerror}); free some space") from None


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None where none was written yet.

    A damaged one is named in the log and passed over. Raises `CheckpointError` if all are damaged.
    """
    steps = _steps(folder)
    for step in steps:
        try:
            return _load(folder, step)
        except CheckpointError as error:
            _log.warning("%s; falling back to the one before", error)
    if steps:
        raise CheckpointError(f"{folder}: every checkpoint is damaged; start again with another --out")
    return None


def _load(folder: Path, step: int) -> Checkpoint:
    path = _tensors_path(folder, step)
    try:
        data = path.read_bytes()
        body = json.loads(path.with_suffix(".json").read_bytes())
        if body["sha256"] != _digest(body["step"], body["state"], data) or body["step"] != step:
            raise CheckpointError(f"{path}: damaged checkpoint, its bytes are not those that were written")
        return Checkpoint(step, safetensors.torch.load(data), body["state"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged checkpoint ({' '.join(str(error).split())})") from None


def _digest(step: int, state: Mapping[str, Any], data: bytes) -> str:
    head = json.dumps([step, state], sort_keys=True).encode()
    return hashlib.sha256(head + data).hexdigest()


def checkpoint_name(step: int) -> str:
    """The name of the files of a checkpoint, without a suffix."""
    return f"step-{step:09d}"


def _tensors_path(folder: Path, step: int) -> Path:
    return folder / f"{checkpoint_name(step)}.safetensors"


def _steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in `folder`, newest first."""
    return sorted((int(p.stem[5:]) for p in folder.glob("step-*.json") if p.stem[5:].isdigit()), reverse=True)


def optimiser_tensors(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter: momentum and the like."""
    return {
        f"{prefix}{index}.{key}": value
        for index, held in optimiser.state_dict()["state"].items()
        for key, value in held.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Give an optimiser back what `optimiser_tensors` took."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    held: dict[int, dict[str, Tensor]] = {}
    for name, tensor in under(prefix, tensors).items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        if tensor.shape == like.shape:  # in the parameter's own memory layout, which fused optimisers rely on
            tensor = torch.empty_like(like, requires_grad=False).copy_(tensor)
        held.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": held, "param_groups": optimiser.state_dict()["param_groups"]})


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, which is left out."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def restore_module(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Load the tensors called `prefix...`. Raises `CheckpointError` if they belong to another network."""
    try:
        module.load_state_dict(under(prefix, tensors))
    except RuntimeError:
        raise CheckpointError("the checkpoint belongs to another network; use another --out") from None
