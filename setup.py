"""Builds the C engine if there is a compiler; without one everything works, but slower. All else is in pyproject.toml.

`engine/sources.mk` lists the C files, and says which are compiled to be small and which to be fast.
"""

import os
import re
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path
from sysconfig import get_config_var

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError, PlatformError

ELSEWHERE = "_PYTHON_HOST_PLATFORM" in os.environ  # release/wheels.py compiles for another system, and says how to link
LIMITED = not get_config_var("Py_GIL_DISABLED")  # a free-threaded Python has no stable ABI before 3.15
UNIX = sys.platform != "win32"
LISTS = re.findall(
    r"^(\w+) =((?: \\\n +[\w/.]+)+)", Path("engine/sources.mk").read_text(encoding="utf-8"), re.MULTILINE
)
SOURCES = {name: [f"engine/{file}" for file in files.replace("\\", "").split()] for name, files in LISTS}
FOLDERS = [f"engine/{name}" for name in ("include", "src", "kernels", "python")]
COMMON = ["-g0", "-fvisibility=hidden", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
COMMON += ["-ffunction-sections", "-fdata-sections"]
COMMON = [*COMMON, "-fno-align-functions", "-fno-align-jumps"] if UNIX else []
APART = "-ffp-contract=off"  # each product and each sum is rounded: the same bits as NumPy and Pillow
VECTORS = ["-O2", "-ftree-vectorize"]
FLAGS = {
    "SMALL": ["-Os"], "FAST": ["-O2"], "VECTORS": VECTORS, "EXACT": [*VECTORS, APART],
    "PYTHON_SMALL": ["-Os"], "PYTHON_EXACT": ["-O3", APART],
}  # fmt: skip
# Leave out what a module does not use; on Linux, no zeros between the parts.
LINKED = {"linux": ["-Wl,--gc-sections", "-Wl,-z,noseparate-code"], "darwin": ["-Wl,-dead_strip"]}.get(sys.platform, [])
LINKED = [] if ELSEWHERE else LINKED


class Modules(build_py):
    """Also copies the engine's sources into the package: `squeezenet export --to c` writes them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # they are read from engine/
            return
        folder = Path(self.build_lib, "squeezenet/export/c/engine")
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(glob("engine/[iks]*/*.[ch]")):  # include, kernels, src
            shutil.copy(name, folder)
        self.copy_web()

    def copy_web(self) -> None:
        """The ES module and the engine in WebAssembly, if it was built or can be: `export --to web` writes them."""
        brought = Path("web/engine.wasm").exists() and not Path("web/build").exists()  # by the source distribution
        if not brought and all(map(shutil.which, ("make", "clang", "wasm-ld"))):
            subprocess.run(["make", "-C", "web"], check=False)
        folder = Path(self.build_lib, "squeezenet/export/web/module")
        folder.mkdir(parents=True, exist_ok=True)
        for path in (Path("web/squeezenet.js"), *Path("web").glob("*.wasm")):
            shutil.copy(path, folder)


class Build(build_ext):
    """Compiles each file once, for both modules. The flags are those of GCC and Clang; other compilers get none."""

    def build_extensions(self) -> None:
        ext = self.extensions[0]
        try:
            objects = [name for group, flags in FLAGS.items() for name in self.compiled(ext, SOURCES[group], flags)]
        except (CompileError, PlatformError) as error:  # the latter from Windows without a compiler
            self.warn(f"the engine is not built: {error}")
            return
        for each in self.extensions:
            each.extra_objects = objects
        super().build_extensions()

    def compiled(self, ext: Extension, sources: list[str], flags: list[str]) -> list[str]:
        return self.compiler.compile(
            sources,
            output_dir=self.build_temp,
            macros=ext.define_macros,
            include_dirs=ext.include_dirs,
            extra_postargs=COMMON + flags if UNIX else [],
            depends=ext.depends,
        )


def module(name: str, group: str) -> Extension:
    """A Python module whose own files are those of `group`; `Build` adds all others."""
    return Extension(
        f"squeezenet.{name}",
        sources=SOURCES[group],
        depends=["setup.py", "engine/sources.mk", *sorted(glob("engine/*/*.[ch]"))],
        include_dirs=FOLDERS,
        libraries=["m"] if UNIX else [],
        extra_compile_args=[*COMMON, "-Os"] if UNIX else [],
        extra_link_args=LINKED,
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED else [],
        py_limited_api=LIMITED and not ELSEWHERE,  # only for the name of the file
        optional=True,
    )


setup(
    ext_modules=[module("_engine", "PYTHON_ENGINE"), module("_workshop", "PYTHON_WORKSHOP")],
    cmdclass={"build_ext": Build, "build_py": Modules},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)
