"""The C engine, built where there is a compiler; without one everything works, slower. The rest: pyproject.toml."""

import sys
from glob import glob

from setuptools import Extension, setup

engine = Extension(
    "squeezenet._engine",
    sources=sorted(glob("engine/*.c")),
    depends=sorted(glob("engine/*.h")),
    include_dirs=["engine"],
    libraries=[] if sys.platform == "win32" else ["m"],
    extra_compile_args=[] if sys.platform == "win32" else ["-g0"],  # an eighth of the size
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
    py_limited_api=True,
    optional=True,
)
setup(ext_modules=[engine], options={"bdist_wheel": {"py_limited_api": "cp311"}})
