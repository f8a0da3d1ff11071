"""The layers and the types of a network for hls4ml, as plain dictionaries: no hls4ml is needed to make them.

>>> layers(network)[1]["class_name"]                                    # doctest: +SKIP
'Conv2D'

hls4ml reads other formats into a list of such dictionaries. Ours is made directly: a two-input join has its axis, a
pool has its padding on each side, and every type is known, so nothing is guessed or rounded.
"""

from typing import Any

import numpy as np

from squeezenet.export.fixed import Convolution, Join, Network, Pool, Stage, Value
from squeezenet.fixed_point import Integers
from squeezenet.graph import Shape

Layers = list[dict[str, Any]]
Types = dict[str, dict[str, str]]


def layers(network: Network) -> Layers:
    """The layers, in the order they run; channels are last."""
    names = [name_of(i) for i in range(len(network.values))]
    channels, height, width = network.image.shape
    found: Layers = [{"class_name": "InputLayer", "name": names[0], "input_shape": [height, width, channels]}]
    for index, stage in enumerate(network.stages, 1):
        shapes = [network.values[i].shape for i in _sources(stage)]
        made: dict[str, Any] = {
            "name": names[index],
            "inputs": [names[i] for i in _sources(stage)],
            "data_format": "channels_last",
        }
        match stage:
            case Convolution():
                weights, biases = _whole(stage, network.values[stage.source])
                point, bias_point = int(stage.points.min()), int(stage.bias_points.min())
                made |= {
                    "class_name": "Conv2D",
                    "weight_data": np.ldexp(weights.transpose(2, 3, 1, 0).astype(np.float64), point),
                    "bias_data": np.ldexp(biases.astype(np.float64), bias_point),
                    "n_chan": shapes[0][0], "dilation_height": 1, "dilation_width": 1,
                    **_windows("filt", (stage.weights.shape[2], stage.weights.shape[3]), stage, shapes[0]),
                }  # fmt: skip
            case Pool():
                if any(stage.padding):
                    found.append(_padding(stage, names[index], made["inputs"], shapes[0]))
                    made["inputs"] = [found[-1]["name"]]
                pool = {"class_name": "MaxPooling2D", "pool_op": "Max", "count_pad": False}
                made |= pool | _windows("pool", stage.kernel, stage, shapes[0])
                top, left, bottom, right = stage.padding
                made |= {"in_height": shapes[0][1] + top + bottom, "in_width": shapes[0][2] + left + right}
                made |= dict.fromkeys(("pad_top", "pad_left", "pad_bottom", "pad_right"), 0)
            case Join():
                made |= {"class_name": "Concatenate", "op": "concatenate3d", "axis": 3}
            case _:
                made |= {"class_name": "Merge", "op": "add"}
        found.append(made)
    return found


def types(network: Network) -> Types:
    """The types of each layer; its result limits and rounds as the value does."""
    found: Types = {name_of(0): {"result": _type(network.image, "RND_CONV")}}
    for index, stage in enumerate(network.stages, 1):
        rounding = "TRN" if isinstance(stage, Convolution) else "RND"
        made = {"result": _type(stage.result, rounding)}
        if isinstance(stage, Convolution):
            weights, biases = _whole(stage, network.values[stage.source])
            point, bias_point = int(stage.points.min()), int(stage.bias_points.min())
            most = stage.largest(network.values[stage.source]) << (stage.bias_points - bias_point)
            made["weight"] = _signed(_bits(weights), point)
            made["bias"] = _signed(_bits(biases), bias_point)
            made["accum"] = _signed(_bits(most), bias_point)
        elif isinstance(stage, Pool):
            made["accum"] = made["result"]
            found[f"{name_of(index)}_padding"] = {"result": made["result"]}
        found[name_of(index)] = made
    return found


def _padding(stage: Pool, name: str, inputs: list[str], shape: Shape) -> dict[str, Any]:
    """A layer that adds zeros around unsigned bytes: pools of hls4ml's streams take no padding."""
    channels, height, width = shape
    top, left, bottom, right = stage.padding
    size = {
        "in_height": height,
        "in_width": width,
        "out_height": height + top + bottom,
        "out_width": width + left + right,
    }
    around = {"pad_top": top, "pad_left": left, "pad_bottom": bottom, "pad_right": right, "n_chan": channels}
    return {"class_name": "ZeroPadding2D", "name": f"{name}_padding", "inputs": inputs, "data_format": "channels_last",
            **size, **around}  # fmt: skip


def name_of(value: int) -> str:
    """The name of the layer that makes a value. It does not depend on the model, which may hold any characters."""
    return f"value{value}"


def _sources(stage: Stage) -> tuple[int, ...]:
    return stage.sources if not isinstance(stage, Convolution | Pool) else (stage.source,)


def _windows(what: str, kernel: tuple[int, int], stage: Convolution | Pool, shape: Shape) -> dict[str, int]:
    names = {f"{what}_height": kernel[0], f"{what}_width": kernel[1], "n_filt": stage.result.shape[0]}
    names |= dict(zip(("pad_top", "pad_left", "pad_bottom", "pad_right"), stage.padding, strict=True))
    names |= dict(zip(("stride_height", "stride_width"), stage.stride, strict=True))
    names |= dict(zip(("in_height", "in_width"), shape[1:], strict=True))
    return names | dict(zip(("out_height", "out_width"), stage.result.shape[1:], strict=True))


def _whole(stage: Convolution, read: Value) -> tuple[Integers, Integers]:
    """Weights and biases in the smallest unit of all outputs; groups become weights of 0."""
    shifts = stage.points - stage.points.min()
    weights = stage.weights << shifts.reshape(-1, 1, 1, 1)
    if stage.groups > 1:
        out, inside = weights.shape[0] // stage.groups, weights.shape[1]
        spread = np.zeros((weights.shape[0], read.shape[0], *weights.shape[2:]), np.int64)
        for group in range(stage.groups):
            rows = slice(group * out, (group + 1) * out)
            spread[rows, group * inside : (group + 1) * inside] = weights[rows]
        weights = spread
    return weights, stage.biases << (stage.bias_points - stage.bias_points.min())


def _bits(integers: Integers) -> int:
    return max(2, 1 + int(np.abs(integers).max()).bit_length())


def _signed(bits: int, point: int) -> str:
    return f"fixed<{bits},{bits + point}>"


def _type(value: Value, rounding: str) -> str:
    kind, limit = "fixed" if value.signed else "ufixed", "SAT_SYM" if value.narrow else "SAT"
    return f"{kind}<{value.bits},{value.bits + value.point},{rounding},{limit}>"
