"""Weights without a description: the network that they belong to is found, the rest must be said.

    >>> from_weights(state, Path("mine.pth"), About(Preparation.imagenet_torchvision()))        # doctest: +SKIP

Names and shapes of the tensors fit one network or a few. They do not tell how images are prepared or what the classes
are called, and a wrong guess would silently cost most of the accuracy. So the caller says it (`About`). Only the files
that torchvision published are recognised, by their SHA-256.
"""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from squeezenet import zoo
from squeezenet.errors import BadGraph, ModelError
from squeezenet.formats import libraries
from squeezenet.formats.about import NOTHING, About, of_torchvision
from squeezenet.formats.imagenet import imagenet_labels
from squeezenet.graph import Graph, Shape
from squeezenet.importing import import_module
from squeezenet.model import Model, Outputs, Plain, Weights
from squeezenet.models import ARCHITECTURES, create_model
from squeezenet.preparation import Preparation
from squeezenet.printable import printable

PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What wrappers put before every name: DataParallel, torch.compile, and the modules of Lightning."""

Keys = dict[str, Tensor]


def from_weights(state: Keys, path: Path, about: About = NOTHING) -> Model:
    """The model whose weights `state`, read from `path`, holds. Raises `ModelError` if something is missing."""
    provenance = {"source": path.name}
    if (library := next((name for name in about.networks if libraries.is_known(name)), None)) is not None:
        return _of_library(library, state, path, about)
    state = _unwrapped(state)
    if about.graph is not None and about.preparation is not None and (fitting := _fitting(about.graph, state)):
        graph, weights = fitting
        labels = _labels(about, graph.classes, path)
        return Model(graph, weights, about.preparation, labels, provenance, outputs=about.outputs)
    found = candidates(state)
    for name in about.networks if len(about.networks) == 1 and about.networks[0] not in found else ():
        libraries.refuse_others(name, _like(name, state), state)
    if not found:
        raise ModelError(
            f"{path}: {_summary(state)}, belong to none of {', '.join(ARCHITECTURES)}; say --network timm/NAME or "
            "torchvision/NAME, or load your module in Python and use squeezenet.formats.state_dict.from_module"
        )
    if about.preparation is None and _is_published(path):
        known = of_torchvision()
        about = replace(known, labels=imagenet_labels(), networks=about.networks or known.networks)
    found = {name: settings for name, settings in found.items() if name in (about.networks or found)}
    if not found:
        raise ModelError(f"{path}: the tensors are not of {' or '.join(about.networks)}")
    preparation = _preparation(about, path)
    if len(found) > 1:
        raise ModelError(f"{path}: the tensors fit {' and '.join(found)}; say which with --network")
    ((name, settings),) = found.items()
    module = build({"name": name, **settings}, state)
    labels = _labels(about, settings["classes"], path)
    return from_module(module, preparation, labels, {"name": name, **provenance}, about.outputs)


def _of_library(name: str, state: Keys, path: Path, about: About) -> Model:
    """A network of timm or torchvision."""
    preparation = _preparation(about, path)
    state = _unwrapped(state)
    try:
        module = libraries.build(name, state)
    except ModelError as error:
        raise ModelError(f"{path}: {_summary(state)}: {error}") from None
    model = from_module(module, preparation, provenance={"name": name, "source": path.name}, outputs=about.outputs)
    return replace(model, labels=_labels(about, model.graph.classes, path))


def _unwrapped(state: Keys) -> Keys:
    """The tensors by the names that they have in the network itself."""
    state = {key: value for key, value in state.items() if key != "n_averaged"}  # of AveragedModel
    while prefix := next((prefix for prefix in PREFIXES if state and all(key.startswith(prefix) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _summary(state: Keys) -> str:
    """The tensors of a file, in a few words."""
    key, value = next(iter(state.items()), ("", torch.empty(0)))
    return f"{len(state)} tensors, the first of them {printable(key)} {tuple(value.shape)}"


def _preparation(about: About, path: Path) -> Preparation:
    if about.preparation is None:
        raise ModelError(
            f"{path}: holds weights alone, which do not say how images are prepared; say it once with "
            "`squeezenet convert`: --like a model of the same kind, or --resize, --channels, --mean and --std"
        )
    return about.preparation


def candidates(state: Keys) -> dict[str, dict[str, int]]:
    """The networks with tensors of these names and shapes: name -> arguments of `create_model`."""
    shapes = _shapes(state)
    found = {}
    for name in ARCHITECTURES:
        usual = _shapes(_outline(name).state_dict())
        kernels = [key for key, shape in usual.items() if len(shape) > 1]  # in the order they run; a file has another
        first, last = shapes.get(kernels[0], ()), shapes.get(kernels[-1], ())
        if shapes.keys() != usual.keys() or len(first) < 2 or 0 in first + last:
            continue
        settings = {"in_channels": first[1], "classes": last[0]}
        if _shapes(_outline(name, **settings).state_dict()) == shapes:
            found[name] = settings
    return found


def _like(name: str, state: Keys) -> Keys:
    """The tensors, without values, of a network that has as many classes as the last matrix of `state` has rows."""
    matrices = [tensor for tensor in state.values() if tensor.ndim > 1 and len(tensor)]
    return _outline(name, classes=len(matrices[-1]) if matrices else 1000).state_dict()


def build(architecture: dict[str, Any], state: Keys) -> nn.Module:
    """The network `create_model(**architecture)` with the tensors of `state`, without a copy of them.

    Raises `ModelError` if they do not fit it, `UsageError` if there is no such network.
    """
    fires = architecture.get("fires", 0)
    if not isinstance(fires, int) or fires > len(state):
        raise ModelError(f"{fires} Fire modules in {len(state)} tensors")
    module = _outline(**architecture)
    if _shapes(module.state_dict()) != _shapes(state):
        raise ModelError("the tensors are not those of the network that is named")
    module.load_state_dict(state, assign=True)
    return module.eval()


def from_module(
    module: nn.Module,
    preparation: Preparation,
    labels: tuple[str, ...] = (),
    provenance: dict[str, str] | None = None,
    outputs: Outputs | None = None,
) -> Model:
    """Any PyTorch classifier as a `Model` with float weights. Raises `UnsupportedOperation`.

    `outputs`: what the logits mean; "labels" for a network that was trained with a sigmoid for each output, which is
    also understood if the module ends with a sigmoid.
    """
    found = import_module(module, preparation.shape)
    weights = {name: Weights(Plain(weight), bias) for name, (weight, bias) in found.weights.items()}
    outputs = outputs or ("labels" if found.ending == "sigmoid" else "classes")
    return Model(found.graph, weights, preparation, labels, provenance or {}, outputs=outputs)


class _Undrawn(TorchFunctionMode):
    """Inside, modules do not initialise their parameters.

    On the device "meta", initialising would import much of PyTorch, which takes 1.2 s and 80 MB.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _outline(name: str, **settings: Any) -> nn.Module:
    """A network whose tensors have names and shapes, but no values."""
    with torch.device("meta"), _Undrawn():
        return create_model(name, **settings)


def _is_published(path: Path) -> bool:
    """Whether a file, whatever its name, is one that `squeezenet pull` downloads."""
    sha256 = zoo.sha256(path)
    return any(sha256.startswith(entry.sha256) for entry in zoo.PUBLISHED.values())


def _labels(about: About, classes: int, path: Path) -> tuple[str, ...]:
    if len(about.labels) not in (0, classes):
        raise ModelError(f"{path}: {len(about.labels):,} labels for {classes:,} classes; say what they are: --labels")
    return about.labels


def _fitting(graph: Graph, state: Keys) -> tuple[Graph, dict[str, Weights]] | None:
    """`state` as the weights of `graph`, if the tensors fit. The number of classes may differ."""
    last = state.get(f"{graph.layers[-1].name}.bias")
    if last is None or last.ndim != 1 or not len(last):
        return None
    with contextlib.suppress(BadGraph):
        graph = graph.with_classes(len(last))
    wanted: dict[str, Shape] = {}
    for name, shape in graph.weight_shapes().items():
        wanted |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    if wanted != _shapes(state):
        return None
    arrays = {key: value.float().numpy() for key, value in state.items()}
    weights = {name: Weights(Plain(arrays[f"{name}.weight"]), arrays[f"{name}.bias"]) for name in graph.weight_shapes()}
    return graph, weights


def _shapes(state: Keys) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}
