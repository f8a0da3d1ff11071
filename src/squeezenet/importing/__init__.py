"""Turns networks of other programs into graphs (docs/adr/0026-pytorch-by-its-operations.md).

>>> from squeezenet.importing import trace
>>> graph, weights = trace(create_model("squeezenet1_0"), (3, 227, 227))    # doctest: +SKIP
"""

from squeezenet.importing.module import Imported, import_module, trace

__all__ = ["Imported", "import_module", "trace"]
