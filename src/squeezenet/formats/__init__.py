"""Models in files: our own `.sqz` and run folders, and `.pth`, `.safetensors` and `.net` of other programs.

>>> model = load_model("mine.pth")                          # doctest: +SKIP
>>> save_model(model, "mine.sqz")                           # doctest: +SKIP
"""

from squeezenet.formats.about import About
from squeezenet.formats.load import is_ours, load_model, save_model

__all__ = ["About", "is_ours", "load_model", "save_model"]
