"""SqueezeNet: train, squeeze and ship image classifiers small enough for anything.

    import squeezenet
    model = squeezenet.load("model.sqz")          # no PyTorch needed
    model.classify("photo.jpg")[0].label

Importing the package imports neither PyTorch nor NumPy; the parts are loaded when they are used.
"""

from typing import TYPE_CHECKING, Any

from squeezenet.version import __version__

if TYPE_CHECKING:
    from squeezenet.runtime import Classifier, load

__all__ = ["Classifier", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Classifier", "load"):
        from squeezenet import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module 'squeezenet' has no attribute {name!r}")
