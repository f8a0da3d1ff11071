"""SqueezeNet: train, squeeze and ship image classifiers small enough for anything.

    import squeezenet

    model = squeezenet.load("imagenet")           # or "model.sqz"; no PyTorch needed
    model.classify("photo.jpg")[0].label
    model.classify(["a.jpg", "b.png"], top=1)     # also bytes, open files, Pillow images, NumPy arrays

Importing the package imports neither PyTorch nor NumPy nor Pillow; the parts are loaded when they are used.
"""

import os

from squeezenet.version import __version__

TYPE_CHECKING = False  # `typing` is slow to import, and the command `squeezenet` imports this first
if TYPE_CHECKING:
    from typing import Any

    from squeezenet.runtime import Classifier, Prediction

__all__ = ["Classifier", "Prediction", "__version__", "load"]


def load(model: str | os.PathLike[str], threads: int = 1) -> "Classifier":
    """A classifier from MODEL: a `.sqz` file, or a model that ships by its name ("imagenet").

    Also a run folder of `squeezenet train`, a `.safetensors`, `.pth`, `.onnx` or `.net` file, or a model that was
    pulled, with PyTorch: pip install 'sqznet[train]'. `threads` share out each call. Raises `ModelError`, which names
    the file.
    """
    from squeezenet import runtime, zoo
    from squeezenet.errors import MissingDependency, NotSqz

    path = zoo.located(model)
    if zoo.is_file(path) and not path.endswith((".safetensors", ".pth", ".pt", ".net", ".onnx")):
        try:
            return runtime.load(model, threads)
        except NotSqz:
            if path.endswith(".sqz"):
                raise
    try:
        from squeezenet.formats import load_model

        return runtime.Classifier(load_model(os.fspath(model)), threads, os.fspath(model))
    except ImportError as error:
        if not zoo.exists(path):
            return runtime.load(model, threads)  # which says so
        raise MissingDependency(
            f"{path}: without {error.name} only .sqz files can be read; pip install 'sqznet[train]'"
        ) from None


def __getattr__(name: str) -> "Any":
    if name in ("Classifier", "Prediction"):
        from squeezenet import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module 'squeezenet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # `help` looks here for what is loaded when it is used
