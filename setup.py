"""Builds the C engine if there is a compiler; without one everything works, but slower. All else is in pyproject.toml.

Most of the code runs once for a file or an operation, and is compiled to be small. `FAST` and `VECTORS` have the loops
that take the time. Those of `FAST` work on strips of constant length: Clang, and GCC from 12 on, vectorise them at -O2.
"""

import shutil
import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

UNIX = sys.platform != "win32"
FAST = ["engine/differences.c", "engine/levels.c", "engine/mixed_text.c"]
VECTORS = sorted(f"engine/{name}.c" for name in ("blocks", "convolution", "floats", "layers"))
VECTORS += sorted(glob("engine/kernels_*.c"))
EXACT = ["engine/python_rounding.c"]  # the same bits as NumPy: a product and a sum are rounded one after the other
COMMON = ["-g0", "-fvisibility=hidden", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
COMMON = [*COMMON, "-fno-align-functions", "-fno-align-jumps"] if UNIX else []
SMALL, QUICK, QUICKEST = (["-Os"], ["-O2"], ["-O2", "-ftree-vectorize"]) if UNIX else ([], [], [])
ROUNDED = ["-O3", "-ffp-contract=off"] if UNIX else []
LINKED = ["-Wl,-z,noseparate-code"] if sys.platform == "linux" else []  # no zeros between the parts


class Modules(build_py):
    """Also copies the engine's sources into the package: `squeezenet export --to c` writes them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # they are read from engine/
            return
        folder = Path(self.build_lib, "squeezenet/export/c/engine")
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(glob("engine/*.[ch]")):
            if not name.startswith(("engine/python", "engine/binding")):
                shutil.copy(name, folder)


class Build(build_ext):
    """Compiles most files to be small. The flags are those of GCC and Clang; other compilers get none."""

    def build_extension(self, ext: Extension) -> None:
        rest = sorted(set(glob("engine/*.c")) - {*FAST, *EXACT, *VECTORS})
        ext.extra_objects = []
        for sources, flags in ((rest, SMALL), (FAST, QUICK), (EXACT, ROUNDED)):
            ext.extra_objects += self.compiler.compile(
                sources,
                output_dir=self.build_temp,
                macros=ext.define_macros,
                include_dirs=ext.include_dirs,
                extra_postargs=COMMON + flags,
                depends=ext.depends,
            )
        super().build_extension(ext)


engine = Extension(
    "squeezenet._engine",
    sources=VECTORS,
    depends=["setup.py", *sorted(glob("engine/*"))],
    include_dirs=["engine"],
    libraries=["m"] if UNIX else [],
    extra_compile_args=COMMON + QUICKEST,
    extra_link_args=LINKED,
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
    py_limited_api=True,
    optional=True,
)
setup(
    ext_modules=[engine],
    cmdclass={"build_ext": Build, "build_py": Modules},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
