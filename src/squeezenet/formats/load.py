"""Loading and saving of models; the suffix of a file tells its format.

>>> load_model("RUN"), load_model("six.sqz"), load_model("squeezenet1_0.pth")       # doctest: +SKIP
"""

import contextlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from squeezenet import sqz, zoo
from squeezenet.architectures import ARCHITECTURES
from squeezenet.errors import ModelError, UsageError
from squeezenet.files import open_regular
from squeezenet.formats import onnx_file, pickles
from squeezenet.formats.about import NOTHING, About, refuse
from squeezenet.formats.description import is_described
from squeezenet.limits import MAX_TENSOR_HEADER
from squeezenet.model import Model
from squeezenet.sqz.delta_file import MAGIC as DELTA

TENSORS = (".pth", ".pt", ".safetensors")
KNOWN = f"known are {', '.join(('.sqz', '.net', '.onnx', *TENSORS))} and run folders"


def load_model(where: str | Path, random_weights: int | None = None, about: About = NOTHING) -> Model:
    """The model in a `.sqz`, `.safetensors`, `.pth`, `.onnx` or `.net` file or in a run folder of `squeezenet train`.

    `where` may also be the name of a model that ships or was pulled, or, with `random_weights` (a seed), of a network.
    `about` describes a file of weights without a description, or an ONNX file; for other files it must be left out.
    Raises `ModelError`, `UsageError`, or `OSError` that names the file.
    """
    if random_weights is not None:
        refuse(about, where)
        return _fresh(str(where), random_weights)
    path = zoo.find(where)
    if path.is_dir():
        path = path / "model.safetensors"
        if not path.exists():
            raise ModelError(f"{where}: a folder without model.safetensors; is training finished?")
    if not path.exists():
        if str(where) in ARCHITECTURES and str(where) not in zoo.PUBLISHED:
            raise ModelError(f"{where} is a network without weights here; train it, or pass --random-weights SEED")
        raise zoo.not_found(where)
    with sqz.named(path):
        return _read(path, about)


def save_model(model: Model, path: str | Path) -> None:
    """Write a model; the suffix of `path` says how.

    The model that is read again has the same logits. A model that the format cannot hold is refused.
    Raises `UsageError` for an unknown suffix, `ModelError`, or `OSError` that names the file.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder to write into")
    with sqz.named(path):
        if path.suffix == ".onnx":
            raise UsageError(f"{path}: ONNX files are written by `squeezenet export MODEL --to onnx --out {path.name}`")
        if (kind := _format(path)) is None:
            raise UsageError(f"{path}: do not know how to write {path.suffix or 'a name without suffix'}; {KNOWN}")
        kind.write(model, path)


def is_ours(path: Path) -> bool:
    """Whether this package wrote the file `path` in the format of its suffix. False for a `.net`, which cannot tell.

    Raises `OSError`.
    """
    with open_regular(path) as file:
        if path.suffix == ".sqz":
            return file.read(len(sqz.MAGIC)) == sqz.MAGIC
        if path.suffix == ".sqzd":
            return file.read(len(DELTA)) == DELTA
        if path.suffix == ".safetensors":
            return is_described(file.read(min(int.from_bytes(file.read(8), "little"), MAX_TENSOR_HEADER)))
        if path.suffix in (".pth", ".pt") and pickles.is_archive(file):
            with contextlib.suppress(ModelError):
                return is_described(pickles.pickle_in(file))
    return False


def _format(path: Path) -> ModuleType | None:
    """The module that reads and writes files with the suffix of `path`, if there is one."""
    if path.suffix == ".sqz":
        return sqz
    if path.suffix == ".net":
        from squeezenet.formats import authors_net

        return authors_net
    if path.suffix in TENSORS:
        from squeezenet.formats import state_dict

        return state_dict
    return None


def _read(path: Path, about: About) -> Model:
    # The suffix decides, but a .sqz file is recognised by its first bytes, whatever its name.
    with open_regular(path) as file:
        kind = sqz if file.read(len(sqz.MAGIC)) == sqz.MAGIC else _format(path)
    if kind is None and path.suffix == ".onnx":
        return onnx_file.from_onnx(path, about)
    if kind is None:
        raise UsageError(f"{path}: not a model file; {KNOWN}")
    if kind is not sqz and path.suffix in TENSORS:
        described: Model = kind.read(path, about)
        return described
    refuse(about, path)
    model: Model = kind.read(path)
    return model


def _fresh(name: str, seed: int) -> Model:
    from squeezenet.formats.state_dict import from_module
    from squeezenet.models import create_seeded, find_architecture
    from squeezenet.preparation import Preparation

    side = find_architecture(name).input_size
    usual = Preparation.imagenet_caffe()
    preparation = usual if side == usual.crop else replace(usual, resize=side, crop=side)
    provenance = {"name": name, "source": f"random weights, seed {seed}"}
    return from_module(create_seeded(name, seed), preparation, provenance=provenance)
