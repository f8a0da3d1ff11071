"""The C engine, built where there is a compiler; without one everything works, slower. The rest: pyproject.toml.

Most of it runs once a file or an operation, and is compiled to be small; `FAST` has the loops that take the time.
"""

import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

UNIX = sys.platform != "win32"
FAST = sorted(f"engine/{name}.c" for name in ("convolution", "floats", "levels", "prepare"))
FAST += sorted(glob("engine/kernels_*.c"))
COMMON = ["-g0", "-fvisibility=hidden", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"] if UNIX else []
QUICK = ["-O2", "-ftree-vectorize"] if UNIX else []
SMALL = ["-Os"] if UNIX else []


class Build(build_ext):
    """Compiles what need not be fast to be small; flags are known to GCC and Clang, and no other compiler gets any."""

    def build_extension(self, ext: Extension) -> None:
        small = sorted(set(glob("engine/*.c")) - set(FAST))
        ext.extra_objects = self.compiler.compile(
            small,
            output_dir=self.build_temp,
            macros=ext.define_macros,
            include_dirs=ext.include_dirs,
            extra_postargs=COMMON + SMALL,
            depends=ext.depends,
        )
        super().build_extension(ext)


engine = Extension(
    "squeezenet._engine",
    sources=FAST,
    depends=sorted(glob("engine/*")),
    include_dirs=["engine"],
    libraries=["m"] if UNIX else [],
    extra_compile_args=COMMON + QUICK,
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
    py_limited_api=True,
    optional=True,
)
setup(
    ext_modules=[engine],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
