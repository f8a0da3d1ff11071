"""Models in files: our own `.sqz` and run folders; `.pth`, `.safetensors`, `.onnx` and `.net` of other programs.

>>> model = load_model("mine.pth")                          # doctest: +SKIP
>>> save_model(model, "mine.sqz")                           # doctest: +SKIP
"""

from squeezenet.formats.about import About
from squeezenet.formats.load import is_ours, load_model, save_model
from squeezenet.formats.onnx_file import from_onnx

__all__ = ["About", "from_onnx", "is_ours", "load_model", "save_model"]
