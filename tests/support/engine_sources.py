"""The C files of the engine, for tests that compile it."""

import re

from support import ROOT

ENGINE = ROOT / "engine"
FOUND = re.findall(r"^(\w+) =((?: \\\n +[\w/.]+)+)", (ENGINE / "sources.mk").read_text(encoding="utf-8"), re.MULTILINE)
LISTS = {name: files.replace("\\", "").split() for name, files in FOUND}
CORE = [ENGINE / name for group in ("SMALL", "FAST", "VECTORS", "EXACT") for name in LISTS[group]]
"""All but the Python module."""
KERNELS = [path for path in CORE if path.parent.name == "kernels"]
INCLUDES = [f"-I{ENGINE / name}" for name in ("include", "src", "kernels")]
"""Options of the compiler."""
