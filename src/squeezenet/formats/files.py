"""Load and save a model by the kind of its file.

>>> load_model("RUN"), load_model("six.sqz"), load_model("squeezenet1_0.pth")       # doctest: +SKIP
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from squeezenet import sqz, zoo
from squeezenet.errors import ModelError, UsageError
from squeezenet.model import Model

SUFFIXES = (".sqz", ".net", ".pth", ".pt", ".safetensors")


def load_model(where: str | Path, random_weights: int | None = None) -> Model:
    """The model in a `.sqz`, `.safetensors`, `.pth` or `.net` file or in a run folder of `squeezenet train`.

    `where` may also be a name: of a model that ships or was pulled, or with `random_weights` (a seed) of a network.
    Raises `ModelError` or `UsageError`.
    """
    if random_weights is not None:
        return _fresh(str(where), random_weights)
    path = zoo.find(where)
    if path.is_dir():
        path = path / "model.safetensors"
        if not path.exists():
            raise ModelError(f"{where}: a folder without model.safetensors; is training finished?")
    if not path.exists():
        raise _not_found(where)
    return _reader(path)(path)


def save_model(model: Model, path: str | Path) -> None:
    """Write a model; the suffix of `path` says how. Raises `UsageError` for a suffix that is not known."""
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder to write into")
    if path.suffix == ".sqz":
        sqz.write(model, path)
    elif path.suffix == ".net":
        from squeezenet.formats import authors_net

        authors_net.write(model, path)
    elif path.suffix in (".pth", ".pt", ".safetensors"):
        from squeezenet.formats import state_dict

        state_dict.write(model, path)
    else:
        raise UsageError(f"{path}: do not know how to write {path.suffix or 'a name without suffix'}; {_known()}")


def _reader(path: Path) -> Callable[[Path], Model]:
    # The suffix decides, but our own file is known by its first bytes whatever it is called.
    with path.open("rb") as file:
        magic = file.read(len(sqz.MAGIC))
    if path.suffix == ".sqz" or magic == sqz.MAGIC:
        return sqz.read
    if path.suffix == ".net":
        from squeezenet.formats import authors_net

        return authors_net.read
    if path.suffix in (".pth", ".pt", ".safetensors"):
        from squeezenet.formats import state_dict

        return state_dict.read
    raise UsageError(f"{path}: not a model file; {_known()}")


def _fresh(name: str, seed: int) -> Model:
    from squeezenet.formats.state_dict import from_module
    from squeezenet.models import create_seeded, find_architecture
    from squeezenet.preparation import Preparation

    side = find_architecture(name).input_size
    usual = Preparation.imagenet_caffe()
    preparation = usual if side == usual.crop else replace(usual, resize=side, crop=side)
    provenance = {"name": name, "source": f"random weights, seed {seed}"}
    return from_module(create_seeded(name, seed), preparation, provenance=provenance)


def _not_found(where: str | Path) -> ModelError:
    if str(where) in zoo.PUBLISHED:
        return ModelError(f"{where} is without weights here; fetch them with: squeezenet pull {where}")
    try:
        from squeezenet.models import ARCHITECTURES
    except ImportError:
        return ModelError(f"{where}: no such file")
    if str(where) in ARCHITECTURES:
        return ModelError(f"{where} is a network without weights here; train it, or pass --random-weights SEED")
    return ModelError(f"{where}: no such file or run folder")


def _known() -> str:
    return f"known are {', '.join(SUFFIXES)} and run folders"
