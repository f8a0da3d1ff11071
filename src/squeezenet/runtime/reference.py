"""Runs a float network in NumPy: simple code that can be compared with the format, and fast enough for evaluation.

    >>> Runner(model)(images).shape                              # doctest: +SKIP
    (8, 1000)

Everything is float32. A convolution is a matrix product of weights and patches. Each image runs alone: memory does
not grow with the batch, and the logits of an image do not depend on the others.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL.Image import Image

from squeezenet.graph import (
    LRN,
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Select,
    Shape,
    Upsample,
    Window,
    sides,
)
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.image import Framing, normalise, pixels
from squeezenet.scalar_functions import evaluate

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Real = NDArray[Any]
"""float32, or float64 where large integers need it."""


MOST_PATCHES = 1 << 25
"""Most elements of patches in memory at once: 128 MiB of float32. No layer of VGG-16 has so many."""


class Runner:
    """A float network that is ready to run; safe to use from several threads.

    `threads` share the images of a batch; each image is run by one thread.
    """

    def __init__(self, model: Model, threads: int = 1) -> None:
        self.graph = model.graph
        self.labels, self.classes, self.outputs = model.labels, model.graph.classes, model.outputs
        self._preparation = how = model.preparation
        self.framing = Framing(how.resized, how.cropped, how.fit, how.channels)
        self._threads = threads
        self._shapes = model.graph.shapes()
        self._last_use = model.graph.last_use()
        self._weights = {op.name: self._layout(op, model) for op in model.graph.layers}

    def __call__(self, images: FloatArray) -> FloatArray:
        """(N, channels, height, width) -> (N, classes) logits. Raises `ValueError` for another shape."""
        if images.shape[1:] != self.graph.input_shape:
            raise ValueError(f"images of {images.shape[1:]} for a network that reads {self.graph.input_shape}")
        if self._threads == 1 or len(images) == 1:
            logits = [self._one(image) for image in images]
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                logits = list(pool.map(self._one, images))
        return np.array(logits, np.float32).reshape(-1, self.graph.classes)

    def see(self, image: Image) -> list[float]:
        """The logits of an image from `open_image`."""
        prepared = normalise(pixels(image, self._preparation), self._preparation)
        logits: list[float] = self(prepared[None])[0].tolist()
        return logits

    def logits(self, images: "ReadableBuffer") -> "memoryview[float]":
        """Images, float32 (N, channels, height, width) or flat -> logits (N, classes)."""
        given = np.asarray(memoryview(images))
        if given.dtype != np.float32 or given.size == 0:
            raise ValueError(f"no float32 images for a network that reads {self.graph.input_shape}")
        logits = self(given.reshape(-1, *self.graph.input_shape) if given.ndim == 1 else given)
        return logits.data.cast("B").cast("f", logits.shape)

    def _one(self, image: FloatArray) -> FloatArray:
        values: list[FloatArray | None] = [self._enter(image)]
        for index, op in enumerate(self.graph.ops):
            operands = [value for i in op.inputs if (value := values[i]) is not None]
            values.append(self._apply(op, index, operands, self._shapes[index + 1]))
            for i in op.inputs:
                if self._last_use[i] == index:
                    values[i] = None
        result = values[-1]
        assert result is not None
        return result

    def values(self, image: FloatArray) -> list[FloatArray]:
        """The image and the result of every operation: what an import compares with another program."""
        values = [self._enter(image)]
        for index, op in enumerate(self.graph.ops):
            values.append(self._apply(op, index, [values[i] for i in op.inputs], self._shapes[index + 1]))
        return values

    def _layout(self, op: Conv | Linear, model: Model) -> tuple[Real, Real]:
        """Weight and bias. A convolution has a matrix for each group: (groups, out / groups, in / groups x kernel)."""
        held = model.weights[op.name]
        weight = held.weight.values()
        return weight.reshape(op.groups, op.out // op.groups, -1) if isinstance(op, Conv) else weight, held.bias

    def _enter(self, image: FloatArray) -> FloatArray:
        return image

    def _apply(self, op: Op, index: int, operands: list[FloatArray], shape: Shape) -> FloatArray:
        x = operands[0]
        y: Any
        match op:
            case Conv():
                weight, bias = self._weights[op.name]
                y = convolve(op, x, weight, (shape[1], shape[2])) + bias[:, None, None]
            case Linear():
                weight, bias = self._weights[op.name]
                y = weight @ x + bias
            case ReLU():
                y = np.maximum(x, np.float32(0))
                y = np.minimum(y, np.float32(op.cap)) if op.cap else y
            case Activation():
                y = evaluate(op, x.astype(np.float64))
            case MaxPool():
                y = reduce(np.maximum, offsets(x, op, (shape[1], shape[2]), -np.inf))
            case AvgPool():
                y = reduce(np.add, offsets(x, op, (shape[1], shape[2]), 0)) / averaged(op, x.shape)
            case AdaptivePool():
                y = adaptive(op, x, np.max if op.maximum else np.mean)
            case GlobalAvgPool():
                y = x.mean((1, 2), keepdims=True, dtype=np.float32)
            case LRN():
                y = _lrn(op, x)
            case LayerNorm():
                centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
                y = centred / np.sqrt((centred * centred).mean(0) + np.float32(op.epsilon))
            case Concat():
                y = np.concatenate(operands)
            case Select():
                y = x[op.picks()]
            case Upsample():
                y = x.repeat(op.factor[0], 1).repeat(op.factor[1], 2)
            case Add():
                y = x + operands[1]
            case Multiply():
                y = x * operands[1]
            case Flatten():
                y = x.ravel()
        return np.asarray(y, np.float32)


def convolve(op: Conv, x: Real, weight: Real, out: tuple[int, int], most_patches: int = MOST_PATCHES) -> Real:
    """A convolution without its bias: a matrix product over patches; `weight` as `Runner._layout` gives it.

    Where the patches would hold more than `most_patches` elements, some rows of the result are computed at a time.
    """
    if op.kernel == (1, 1) and op.stride == (1, 1) and not any(op.padding):
        plain: Real = weight @ x.reshape(op.groups, -1, out[0] * out[1])
        return plain.reshape(op.out, *out)
    views = list(offsets(x, op, out, 0))
    rows = max(1, min(out[0], most_patches // (len(views) * x.shape[0] * out[1])))
    parts = []
    for row in range(0, out[0], rows):
        patches = np.stack([view[:, row : row + rows] for view in views], axis=1)  # (in, kernel, rows, width)
        parts.append((weight @ patches.reshape(op.groups, weight.shape[2], -1)).reshape(op.out, -1, out[1]))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def offsets(x: Real, op: Window, out: tuple[int, int], fill: float) -> Iterator[Real]:
    """For each kernel position, the elements under it in all windows: a view (channels, out height, out width)."""
    before = sides(op.padding)[:2]
    reach = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(out, op.stride, op.kernel, op.dilation, strict=True)]
    after = [max(0, r - p - n) for r, p, n in zip(reach, before, x.shape[1:], strict=True)]
    if any(before) or any(after):
        x = np.pad(x, [(0, 0), (before[0], after[0]), (before[1], after[1])], constant_values=fill)
    (rows, columns), (down, right) = out, op.stride
    for i in range(0, op.kernel[0] * op.dilation[0], op.dilation[0]):
        for j in range(0, op.kernel[1] * op.dilation[1], op.dilation[1]):
            yield x[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right]


def averaged(op: AvgPool, shape: Shape) -> FloatArray:
    """How many elements each window of an average pool has that count: (out height, out width)."""
    top, left, bottom, right = sides(op.padding)
    _, rows, columns = op.shape(*shape)
    counted = np.ones((1, *shape[1:]), np.float32)
    if op.counted:
        counted = np.pad(counted, [(0, 0), (top, bottom), (left, right)], constant_values=1)
        op = replace(op, padding=(0, 0))
    counts: FloatArray = reduce(np.add, offsets(counted, op, (rows, columns), 0))[0]
    return counts


def adaptive(op: AdaptivePool, x: Real, reduced: Callable[..., Any]) -> Real:
    """`reduced` over each window of an adaptive pool."""
    rows, columns = (
        [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        for size, count in zip(x.shape[1:], op.size, strict=True)
    )
    found: Real = np.stack([reduced(x[:, row, column], axis=(1, 2)) for row in rows for column in columns], axis=-1)
    return found.reshape(-1, *op.size)


def _lrn(op: LRN, x: FloatArray) -> FloatArray:
    before, after = op.size // 2, (op.size - 1) // 2
    squares = np.pad(x * x, ((before, after), (0, 0), (0, 0)))
    total = sliding_window_view(squares, op.size, axis=0).sum(-1, dtype=np.float32)
    # alpha is rounded to float32 as in the file: a model gives the same logits before and after it was written
    scale: FloatArray = np.float32(op.k) + np.float32(op.alpha) / np.float32(op.size) * total
    return x / scale ** np.float32(op.beta)
