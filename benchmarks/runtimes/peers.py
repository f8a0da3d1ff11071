"""What is compared: the rows of the table, and the packages each needs."""

import subprocess
import sys
from dataclasses import dataclass

Rows = dict[str, tuple[str, str]]
"""Row of the table -> runtime and kind of it. Ours come first, the fastest of them before the others."""


@dataclass(frozen=True)
class Peer:
    """`packages` run it, `tools` (beside PyTorch) convert for it."""

    title: str
    kinds: tuple[str, ...]
    packages: tuple[str, ...]
    tools: tuple[str, ...] = ()


PEERS = {
    "pytorch": Peer("PyTorch", ("float", "compiled"), ("torch",)),
    "onnxruntime": Peer("ONNX Runtime", ("float", "int8"), ("onnxruntime",), ("onnx", "sympy")),
    "openvino": Peer("OpenVINO", ("float", "int8"), ("openvino",), ("nncf",)),
    "litert": Peer("LiteRT", ("float", "int8"), ("ai-edge-litert",), ("litert-torch", "ai-edge-quantizer")),
    "ncnn": Peer("ncnn", ("float",), ("ncnn",), ("pnnx",)),
}
ROWS: Rows = {f"{peer.title} {kind}": (name, kind) for name, peer in PEERS.items() for kind in peer.kinds}
"""How the table names a peer: which it is."""

OURS = "squeezenet"


def our_rows() -> Rows:
    """The engine on its fastest path, then on the others that are meant to be fast."""
    asked = [sys.executable, "-c", "from squeezenet.runtime.engine import PATHS; print(*PATHS)"]
    paths = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    if not paths:
        raise SystemExit("the C engine is not built; install the package where there is a C compiler")
    return {f"{OURS} {path}": (OURS, path) for path in reversed(paths[2:] or paths)}
