"""Run a model in NumPy: plain enough to check by eye, fast enough to evaluate with.

    >>> run(model, images).shape                                # doctest: +SKIP
    (8, 1000)

float32 throughout. Convolution is a matrix product over patches; images go through one by one, so memory does not
grow with the batch and an image's logits do not depend on its neighbours in the batch.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from squeezenet.graph import (
    LRN,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Op,
    Pair,
    ReLU,
)
from squeezenet.model import FloatArray, Model


class Runner:
    """A model with its weights laid out for running; safe to use from several threads."""

    def __init__(self, model: Model) -> None:
        self.graph = model.graph
        self._last_use = model.graph.last_use()
        self._weights = {
            op.name: (_layout(op, model.weights[op.name].weight.values()), model.weights[op.name].bias)
            for op in model.graph.layers
        }

    def __call__(self, images: FloatArray) -> FloatArray:
        """(N, channels, height, width) -> (N, classes) logits. Raises `ValueError` for another shape."""
        if images.shape[1:] != self.graph.input_shape:
            raise ValueError(f"images of {images.shape[1:]} for a network that reads {self.graph.input_shape}")
        return np.stack([self._one(image) for image in images]) if len(images) else np.zeros((0, self.graph.classes))

    def _one(self, image: FloatArray) -> FloatArray:
        values: list[FloatArray | None] = [image]
        for index, op in enumerate(self.graph.ops):
            operands = [value for i in op.inputs if (value := values[i]) is not None]
            values.append(self._apply(op, operands))
            for i in op.inputs:
                if self._last_use[i] == index:
                    values[i] = None
        result = values[-1]
        assert result is not None
        return result

    def _apply(self, op: Op, operands: list[FloatArray]) -> FloatArray:
        x = operands[0]
        match op:
            case Conv():
                return _conv(op, x, *self._weights[op.name])
            case Linear():
                weight, bias = self._weights[op.name]
                return weight @ x + bias
            case ReLU():
                y = np.maximum(x, np.float32(0))
                return np.minimum(y, np.float32(op.cap)) if op.cap else y
            case MaxPool():
                return _windows(x, op.kernel, op.stride, op.padding, -np.inf, op.ceil).max((3, 4))
            case AvgPool():
                return _windows(x, op.kernel, op.stride, op.padding, 0, False).mean((3, 4), dtype=np.float32)
            case GlobalAvgPool():
                return x.mean((1, 2), keepdims=True, dtype=np.float32)
            case LRN():
                return _lrn(op, x)
            case Concat():
                return np.concatenate(operands)
            case Add():
                return x + operands[1]
            case Flatten():
                return x.ravel()


def run(model: Model, images: FloatArray) -> FloatArray:
    """Prepared images (N, channels, height, width) -> logits (N, classes)."""
    return Runner(model)(images)


def _layout(op: Conv | Linear, weight: FloatArray) -> FloatArray:
    """Convolutions as matrices, one a group: (groups, out per group, in per group x kernel height x width)."""
    return weight.reshape(op.groups, op.out // op.groups, -1) if isinstance(op, Conv) else weight


def _conv(op: Conv, x: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    if op.kernel == (1, 1) and op.stride == (1, 1) and op.padding == (0, 0):
        height, width = x.shape[1:]
        patches = x.reshape(op.groups, -1, height * width)
    else:
        windows = _windows(x, op.kernel, op.stride, op.padding, 0, False)  # (in, height, width, kh, kw)
        height, width = windows.shape[1:3]
        patches = windows.transpose(0, 3, 4, 1, 2).reshape(op.groups, -1, height * width)
    return (weight @ patches).reshape(op.out, height, width) + bias[:, None, None]


def _windows(x: FloatArray, kernel: Pair, stride: Pair, padding: Pair, fill: float, ceil: bool) -> FloatArray:
    """Every window of an image as a view: (channels, out height, out width, kernel height, kernel width)."""
    pads = [(0, 0)]
    for n, k, s, p in zip(x.shape[1:], kernel, stride, padding, strict=True):
        hang = -(n + 2 * p - k) % s if ceil else 0
        pads.append((p, p + hang))
    if any(after for _, after in pads):
        x = np.pad(x, pads, constant_values=fill)
    view = sliding_window_view(x, kernel, axis=(1, 2))[:, :: stride[0], :: stride[1]]
    return view if not ceil else view[:, : _starts(x, 1, pads, stride), : _starts(x, 2, pads, stride)]


def _starts(x: FloatArray, axis: int, pads: list[tuple[int, int]], stride: Pair) -> int:
    """Windows whose first pixel lies in the image or its leading padding: Caffe leaves the others out."""
    inside = x.shape[axis] - pads[axis][1]
    return -(-inside // stride[axis - 1])


def _lrn(op: LRN, x: FloatArray) -> FloatArray:
    before, after = op.size // 2, (op.size - 1) // 2
    squares = np.pad(x * x, ((before, after), (0, 0), (0, 0)))
    total = sliding_window_view(squares, op.size, axis=0).sum(-1, dtype=np.float32)
    scale = np.float32(op.k) + np.float32(op.alpha / op.size) * total
    return x / scale ** np.float32(op.beta)
