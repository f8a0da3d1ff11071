"""PyTorch weights in files: `.pth` (weights only, never code) and `.safetensors`.

    >>> write(model, Path("mine.pth"))                                          # doctest: +SKIP
    >>> module.load_state_dict(torch.load("mine.pth", weights_only=True))       # doctest: +SKIP
    >>> model = read(Path("mine.pth"))                                          # doctest: +SKIP

Our files are flat state dicts of float32 tensors with torchvision's names, and describe their network, images and
labels (`formats.description`): a `.safetensors` in its metadata, a `.pth` in the `_metadata` that PyTorch stores with
every state dict. `formats.foreign` reads files without a description.
"""

import io
import json
import os
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from squeezenet.errors import ModelError
from squeezenet.files import atomic_file, open_regular, write_atomically
from squeezenet.formats import pickles
from squeezenet.formats.about import NOTHING, About, refuse
from squeezenet.formats.description import DAMAGE, KEY, describe, float_arrays, line, restore
from squeezenet.formats.foreign import Keys, build, from_module, from_weights
from squeezenet.limits import MAX_DESCRIPTION, MAX_LIVE, MAX_MODEL_FILE, MAX_TENSOR_HEADER
from squeezenet.model import Model
from squeezenet.preparation import Preparation
from squeezenet.printable import printable
from squeezenet.sqz import costs

__all__ = ["from_module", "read", "read_tensors", "write"]

CONTAINERS = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "state_dict", "model_state_dict", "model", "net")
"""Under which name programs put the weights into a checkpoint; the mean over the training (EMA) is preferred."""

SHOWN = 4
"""Entries of a file that an error message names."""

_TEXT = "description"  # in the _metadata of a .pth, which has a dictionary for each module


def read(path: Path, about: About = NOTHING) -> Model:
    """A model from a state dict; `about` describes a file without a description.

    Raises `ModelError` if the file is damaged, asks for more memory than it has bytes, or if something is missing.
    """
    state, text = _load(path)
    if text is None:
        model = from_weights(state, path, about)
    else:
        refuse(about, path)
        model = _described(state, text, path)
    costs.check_limits(model.graph, model.preparation.resize, path.stat().st_size)
    return model


def read_tensors(path: Path) -> Keys:
    """The tensors of a file by name, of any network.

    Raises `ModelError` if the file is damaged or asks for more memory than it has bytes, `OSError` that names it.
    """
    return _load(path)[0]


def write(model: Model, path: Path) -> None:
    """Write float weights by the names of their layers (torchvision's, for SqueezeNet), and the description."""
    text = describe(model)
    if len(text) > MAX_DESCRIPTION:
        raise ModelError(f"{path}: labels and provenance take {len(text):,} bytes; the limit is {MAX_DESCRIPTION:,}")
    state = OrderedDict((name, torch.from_numpy(array.copy())) for name, array in float_arrays(model).items())
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise ModelError(f"{path}: a weight is not a finite number; the file was not written")
    if path.suffix == ".safetensors":
        header, tensors = _ordered(save(dict(state), {"format": "pt", KEY: text}))
        with atomic_file(path) as file:
            file.write(header)
            file.write(tensors)
        return
    state._metadata = {KEY: {_TEXT: text}}  # type: ignore[attr-defined]
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def _ordered(data: bytes) -> tuple[bytes, memoryview]:
    """The head and the tensors of a .safetensors file, with the metadata sorted by name."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text, memoryview(data)[end:]


def _load(path: Path) -> tuple[Keys, str | None]:
    """The tensors of a file, and our description if there is one."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_MODEL_FILE:
            raise ModelError(f"{path}: larger than {MAX_MODEL_FILE >> 20} MiB")
        try:
            state, text = _load_safetensors(file, path) if path.suffix == ".safetensors" else _load_pickle(file)
        except MemoryError:
            raise
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
        except Exception as error:  # a damaged pickle can fail in any way, since it is a program
            raise ModelError(f"{path}: not a state dict that can be read safely ({line(error)})") from None
    state = _inside(state)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(
            f"{path}: no state dict in it, but {_found(state)}; save one with torch.save(model.state_dict(), ...)"
        )
    text = _description(state) if text is None else text
    held = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if held > size:
        raise ModelError(f"{path}: tensors of {held:,} bytes in a file of {size:,}; save them with .contiguous()")
    if text is not None and len(text) > MAX_DESCRIPTION:
        raise ModelError(f"{path}: a description of {len(text):,} bytes; the limit is {MAX_DESCRIPTION:,}")
    return {str(key): value for key, value in state.items()}, text


def _inside(state: Any) -> Any:
    """The state dict in a checkpoint of a training, whose other entries are left out."""
    if isinstance(state, dict):
        for key in CONTAINERS:
            if isinstance(state.get(key), dict) and state[key]:
                return _inside(state[key])
    return state


def _found(state: Any) -> str:
    """What a file holds instead of a state dict."""
    if not isinstance(state, dict) or not state:
        return f"a {type(state).__name__}"
    entries = [f"{printable(str(key))} (a {type(value).__name__})" for key, value in list(state.items())[:SHOWN]]
    return f"{', '.join(entries)}{' and more' * (len(state) > SHOWN)}"


def _load_safetensors(file: IO[bytes], path: Path) -> tuple[Keys, str | None]:
    header = int.from_bytes(file.read(8), "little")
    if header > MAX_TENSOR_HEADER:
        raise ModelError(f"a header of {header:,} bytes; the limit is {MAX_TENSOR_HEADER:,}")
    with safe_open(path, "pt") as tensors:
        return {key: tensors.get_tensor(key) for key in tensors.keys()}, (tensors.metadata() or {}).get(KEY)  # noqa: SIM118


def _load_pickle(file: IO[bytes]) -> tuple[Any, None]:
    pickles.check(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old pickles
        return torch.load(file, map_location="cpu", weights_only=True), None


def _described(state: Keys, text: str, path: Path) -> Model:
    try:
        described = json.loads(text)
        if "architecture" in described:
            return _trained(state, described)
        return restore(described, {key: value.float().numpy() for key, value in state.items()})
    except DAMAGE as error:
        raise ModelError(f"{path}: tensors and description do not fit together ({line(error)})") from None


def _description(state: Any) -> str | None:
    """The description in the `_metadata` of a state dict."""
    kept = getattr(state, "_metadata", None)
    ours = kept.get(KEY) if isinstance(kept, dict) else None
    text = ours.get(_TEXT) if isinstance(ours, dict) else None
    return text if isinstance(text, str) else None


class _Measured(TorchDispatchMode):
    """Inside, a network runs without numbers. One of too large activations is refused before it takes any memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_meta and result.numel() > MAX_LIVE:
            raise ModelError(f"intermediate results of more than {MAX_LIVE:,} elements are needed at once")
        return result


def _trained(state: Keys, described: dict[str, Any]) -> Model:
    """The model in a file of `squeezenet train`, which names its network."""
    architecture = described["architecture"]
    module = build(architecture, state)
    preparation = Preparation.from_dict(described["preparation"])
    with _Measured():  # type: ignore[no-untyped-call]
        values = {name: value.to("meta") for name, value in module.state_dict().items()}
        functional_call(module.eval(), values, (torch.empty(1, *preparation.shape, device="meta"),))
    provenance = {str(key): str(value) for key, value in described.get("provenance", {}).items()}
    labels = tuple(map(str, described["labels"]))
    return from_module(module, preparation, labels, {"name": architecture["name"], **provenance})
