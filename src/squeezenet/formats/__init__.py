"""Models in files: our own `.sqz` and run folders, and other people's `.pth`, `.safetensors` and `.net`.

>>> model = load_model("squeezenet1_0.pth")                 # doctest: +SKIP
>>> save_model(model, "squeezenet1_0.sqz")                  # doctest: +SKIP
"""

from squeezenet.formats.files import load_model, save_model

__all__ = ["load_model", "save_model"]
