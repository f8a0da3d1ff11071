"""The files of a run: RUN/model.safetensors, config.json, metrics.jsonl, tensorboard/, checkpoints/.

    >>> json.loads(Path("run/config.json").read_text())["result"]["top1"]       # doctest: +SKIP
    99.17

`model.safetensors` can be moved alone: its metadata say how to build the network and how to prepare an image.
"""

import fcntl
import json
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch
from torch import nn

from squeezenet import formats
from squeezenet.errors import CheckpointError, SqueezeNetError
from squeezenet.files import read_regular, remove_leftovers, write_atomically
from squeezenet.formats.state_dict import read_tensors
from squeezenet.model import Model
from squeezenet.models.network import Network, dense, to_weights
from squeezenet.preparation import Preparation
from squeezenet.version import __version__

_log = logging.getLogger(__name__)

LOCK, CHECKPOINTS = ".lock", "checkpoints"

WRITTEN = ("config.json", "model.safetensors", "metrics.jsonl", "recipe.toml", "report.html", "skipped.txt")
"""Files of a run folder that are replaced whole."""

OURS = (*WRITTEN, LOCK, CHECKPOINTS, "tensorboard")
"""Names in a run folder. None of them may be a symbolic link: what it points at is somebody else's."""

MAX_CONFIG = 1 << 26
"""Bytes of config.json that are read: 64 MiB, of which class names are the most."""

COMPARED = ("architecture", "parameters", "preparation", "labels", "start", "recipe", "data")
"""Parts of the configuration that must be the same for a run to go on."""


def save_model(
    path: Path,
    model: nn.Module,
    architecture: Mapping[str, Any] | None,
    preparation: Preparation,
    labels: tuple[str, ...],
    provenance: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write weights under the module's own names, with all that is needed to use them in the metadata.

    A `Network` is written as `formats.save_model` writes models: its graph takes the place of an architecture.
    """
    if isinstance(model, Network):
        formats.save_model(Model(model.graph, to_weights(model), preparation, labels, provenance), path)
        return
    about = {
        "architecture": architecture, "preparation": preparation.to_dict(), "labels": list(labels),
        "provenance": dict(provenance),
    }  # fmt: skip
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(path, safetensors.torch.save(tensors, {"squeezenet": json.dumps(about)}))


def load_weights(path: Path, model: nn.Module) -> None:
    """Load what `save_model` wrote into the same network. Raises `CheckpointError` if the file is damaged."""
    try:
        state = dense(formats.load_model(path)).state_dict() if isinstance(model, Network) else read_tensors(path)
        model.load_state_dict(state)
    except (OSError, RuntimeError, SqueezeNetError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({' '.join(str(error).split())[:100]}); start again with another --out"
        ) from None


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from training in `out`; the lock ends with this process, however it ends.

    Raises `CheckpointError` if another one is at work there.
    """
    try:
        handle = os.open(out / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise CheckpointError(f"{out / LOCK}: cannot be opened ({error.strerror}); use another --out") from None
    with os.fdopen(handle, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"{out}: another process is training there; wait for it, or use another --out"
            ) from None
        except OSError:
            _log.debug("%s: this file system has no locks", out)
        remove_leftovers(out, WRITTEN)
        remove_leftovers(out / CHECKPOINTS, ("step-*",))
        yield


def versions() -> dict[str, str]:
    """What a run was made with."""
    made = {"squeezenet": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    with suppress(PackageNotFoundError):
        made["simplejpeg"] = version("simplejpeg")
    return made


def open_run(out: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Create the folder of a run, or find it again: the configuration as it is on disk, with `result` when done.

    Raises `CheckpointError` if something else is there, or a run of another configuration.
    """
    check_place(out)
    if (out / "config.json").exists():
        saved, now = read_config(out), json.loads(json.dumps(config))  # as JSON gives it back: lists for tuples
        differences = [d for part in COMPARED for d in _differences(part, saved.get(part), now[part])]
        if differences:
            raise CheckpointError(
                f"{out}: holds another run ({'; '.join(differences[:3])}); use another --out, or the same options"
            )
        return saved
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_config(out, config)
    except OSError as error:
        raise CheckpointError(f"{out}: cannot be written to ({error.strerror}); use another --out") from None
    return config


def saved_precision(out: Path) -> str | None:
    """The precision that the run in `out` has begun with; None where there is no run."""
    check_place(out)
    recipe = read_config(out).get("recipe") if (out / "config.json").exists() else None
    precision = recipe.get("precision") if isinstance(recipe, dict) else None
    return precision if precision in ("float32", "bf16") else None


def check_place(out: Path) -> None:
    """Raise `CheckpointError` if `out` can be no run folder: a file, a link in it, or a folder with other things."""
    for name in OURS:
        if (out / name).is_symlink():
            raise CheckpointError(f"{out / name}: is a symbolic link; remove it, or use another --out")
    if (out / "config.json").exists():
        return
    if out.is_file():
        raise CheckpointError(f"{out}: is a file; give --out a folder that is empty or new")
    if out.is_dir() and any(out.iterdir()):
        raise CheckpointError(f"{out}: is a folder with other things in it; give --out one that is empty or new")


def read_config(out: Path) -> dict[str, Any]:
    """The configuration of a run. Raises `CheckpointError` if it is damaged."""
    try:
        config = json.loads(read_regular(out / "config.json", MAX_CONFIG))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{out}/config.json: damaged ({error}); start again with another --out") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{out}/config.json: damaged (not an object); start again with another --out")
    return config


def write_config(out: Path, config: Mapping[str, Any]) -> None:
    """Write config.json."""
    write_atomically(out / "config.json", json.dumps(config, indent=2).encode())


def cut_metrics(path: Path, step: int) -> None:
    """Forget the rows after `step`, and a row that a crash cut in two: they will be written again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    write_atomically(path, "".join(line + "\n" for line in kept).encode())


def _differences(name: str, saved: Any, new: Any) -> list[str]:
    if isinstance(saved, dict) and isinstance(new, dict):
        keys = [*saved, *(key for key in new if key not in saved)]
        return [d for key in keys for d in _differences(f"{name}.{key}", saved.get(key), new.get(key))]
    if saved == new:
        return []
    short = [text if len(text := json.dumps(value)) <= 40 else text[:37] + "..." for value in (saved, new)]
    return [f"{name.removeprefix('recipe.')} was {short[0]}, now {short[1]}"]
