"""The authors' compressed SqueezeNet, `compressed_SqueezeNet.net` (songhan/SqueezeNet-Deep-Compression).

    >>> model = read(Path("compressed_SqueezeNet.net"))         # doctest: +SKIP

Little-endian, no magic, no lengths: uint32 non-zeros of each of the 26 layers; then for each layer float32
codebook[256], float32 bias[out], a byte of code per weight, and 4-bit gaps, low nibble first. Code 0 is a filler, a
weight of zero. The input channels are BGR, and so they stay: the preparation says BGR.
"""

import struct
from math import prod
from pathlib import Path

import numpy as np

from squeezenet.errors import ModelError
from squeezenet.files import read_regular, write_atomically
from squeezenet.formats.imagenet import imagenet_labels
from squeezenet.graph import Graph
from squeezenet.importing import trace
from squeezenet.limits import MAX_MODEL_FILE
from squeezenet.model import Model, Shared, Weights
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.sqz.positions import to_positions, to_symbols

CODEBOOK = 256
GAP = 16  # a weight follows a gap of 15 too, since a filler has its own code


def read(path: Path) -> Model:
    """The model in the authors' file. Raises `ModelError` if its size or contents are not those of SqueezeNet v1.0."""
    data = read_regular(path, MAX_MODEL_FILE)
    graph = _graph()
    shapes = graph.weight_shapes()
    header = 4 * len(shapes)
    if len(data) < header:
        raise ModelError(f"{path}: too short to be the authors' compressed SqueezeNet")
    stored = struct.unpack_from(f"<{len(shapes)}I", data)
    expected = header + sum(
        4 * CODEBOOK + 4 * shape[0] + n + (n + 1) // 2 for n, shape in zip(stored, shapes.values(), strict=True)
    )
    if len(data) != expected:
        raise ModelError(
            f"{path}: {len(data)} bytes where its own counts make {expected}; only SqueezeNet v1.0 is stored like this"
        )
    if too_many := [name for n, (name, shape) in zip(stored, shapes.items(), strict=True) if n > prod(shape)]:
        raise ModelError(f"{path}: {too_many[0]} holds more weights than the layer has")
    weights = {}
    at = header
    for count, (name, shape) in zip(stored, shapes.items(), strict=True):
        codebook = np.frombuffer(data, "<f4", CODEBOOK, at)
        at += 4 * CODEBOOK
        bias = np.frombuffer(data, "<f4", shape[0], at)
        at += 4 * shape[0]
        codes = np.frombuffer(data, np.uint8, count, at)
        at += count
        packed = np.frombuffer(data, np.uint8, (count + 1) // 2, at)
        at += packed.size
        gaps = np.stack([packed & 15, packed >> 4], 1).ravel()[:count].astype(np.int64)
        where = to_positions(gaps, GAP)
        if count and where[-1] >= prod(shape):
            raise ModelError(f"{path}: {name} holds more weights than the layer has")
        indices = np.zeros(prod(shape), np.uint16)
        indices[where] = codes
        weights[name] = Weights(Shared(indices.reshape(shape), codebook[1:].copy()), bias.copy())
    provenance = {"name": "squeezenet1_0", "source": "songhan/SqueezeNet-Deep-Compression", "license": "BSD-2-Clause"}
    return Model(graph, weights, Preparation.imagenet_caffe(), imagenet_labels(), provenance)


def write(model: Model, path: Path) -> None:
    """Write a compressed SqueezeNet v1.0 in the authors' format.

    The file has no graph, preparation and labels; `read` supplies those of the authors. Raises `ModelError` for a model
    with others.
    """
    names = [op.name for op in model.graph.layers]
    usual = _graph()
    if len(names) != len(usual.layers) or model.graph.ops != usual.renamed(names).ops:
        raise ModelError(f"{path}: only SqueezeNet v1.0 with 1,000 classes can be a .net file")
    if model.preparation != Preparation.imagenet_caffe():
        raise ModelError(f"{path}: a .net file is read with the authors' preparation of images, this model has another")
    if model.labels != imagenet_labels():
        raise ModelError(f"{path}: a .net file is read with ImageNet's labels, this model has others")
    if model.outputs != "classes":
        raise ModelError(f"{path}: a .net file is read as a network whose outputs are classes, not labels")
    counts, body = [], bytearray()
    for op in model.graph.layers:
        held = model.weights[op.name]
        if not isinstance(held.weight, Shared) or held.weight.codebook.size >= CODEBOOK:
            raise ModelError(f"{path}: {op.name} has no codebook of at most 8 bits; compress the model first")
        flat = held.weight.indices.ravel().astype(np.int64)
        symbols = to_symbols(np.flatnonzero(flat), GAP)
        codes = np.zeros(symbols.size, np.uint8)
        codes[symbols < GAP] = flat[flat > 0]
        gaps = np.minimum(symbols, GAP - 1).astype(np.uint8)
        gaps = np.append(gaps, np.zeros(gaps.size % 2, np.uint8))
        codebook = np.zeros(CODEBOOK, "<f4")
        codebook[1 : 1 + held.weight.codebook.size] = held.weight.codebook
        counts.append(symbols.size)
        body += codebook.tobytes() + held.bias.astype("<f4").tobytes() + codes.tobytes()
        body += (gaps[::2] | gaps[1::2] << 4).tobytes()
    write_atomically(path, struct.pack(f"<{len(counts)}I", *counts) + bytes(body))


def _graph() -> Graph:
    return trace(create_seeded("squeezenet1_0", 0), (3, 227, 227))[0]
