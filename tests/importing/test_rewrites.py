"""Each rewrite of an imported graph: which operations are left. The door itself compares the logits."""

from collections.abc import Callable
from functools import partial
from math import sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from squeezenet.graph import Activation, Flatten, Graph, Linear
from squeezenet.importing import import_module, trace


class Net(nn.Module):
    """A network of named layers, whose `forward` ends with a mean over all positions and a layer `fc`."""

    def __init__(self, body: Callable[..., Tensor], channels: int = 8, **layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = body
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(channels, 5)
        for name, layer in layers.items():
            setattr(self, name, layer)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
                nn.init.uniform_(layer.weight, 0.5, 2)
                nn.init.normal_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self, self.stem(x))
        return self.fc(x.mean((2, 3)) if x.ndim == 4 else x)


def inner(graph: Graph) -> list[str]:
    """The operations between the stem and the mean, in a few letters."""
    names = [op.function if isinstance(op, Activation) else type(op).__name__ for op in graph.ops]
    assert (names[0], names[-3:]) == ("Conv", ["GlobalAvgPool", "Flatten", "Linear"])
    return names[1:-3]


def branches(s: nn.Module, x: Tensor) -> Tensor:
    return F.relu(s.bn3(s.conv3(x)) + s.bn1(s.conv1(x)) + s.bn(x))


def gate(s: nn.Module, x: Tensor) -> Tensor:
    y = F.relu(s.down(x.mean((2, 3))))
    return x * s.up(y).sigmoid().view(x.size(0), -1, 1, 1)


def channels_behind(s: nn.Module, x: Tensor) -> Tensor:
    y = s.narrow(x.permute(0, 2, 3, 1))
    return torch.cat([F.gelu(y[..., :4]), y[..., 4:]], -1).permute(0, 3, 1, 2)


def band(s: nn.Module, x: Tensor) -> Tensor:
    y = s.along(x.mean((2, 3)).view(x.size(0), 1, -1)).view(x.size(0), -1, 1, 1)
    return x * y.sigmoid().expand_as(x)


def shuffle(s: nn.Module, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def convnext(s: nn.Module, x: Tensor) -> Tensor:
    y = s.depthwise(x).permute(0, 2, 3, 1)
    y = s.gamma.weight[0] * s.narrow(F.gelu(s.wide(s.norm(y))))
    return x + y.permute(0, 3, 1, 2)


def same_padding(s: nn.Module, x: Tensor) -> Tensor:
    return s.conv(F.pad(x, (0, 1, 0, 1)))


def copied(s: nn.Module, x: Tensor) -> Tensor:
    y = F.pad(x, (1, 2, 3, 4))
    return y + torch.sigmoid(y)


def joined_before_flat(s: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([x.mean((2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)], 1)


conv, norm = partial(nn.Conv2d, 8, 8), partial(nn.BatchNorm2d, 8)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)


def by_root(s: nn.Module, x: Tensor) -> Tensor:
    return s.scale[:, None, None] * (centred(x) / torch.sqrt(centred(x).pow(2).mean(1, keepdim=True) + 1e-2))


def by_variance(s: nn.Module, x: Tensor) -> Tensor:
    return centred(x) * torch.rsqrt(x.var(1, keepdim=True, unbiased=False) + 1e-2)


def responses(s: nn.Module, x: Tensor) -> Tensor:
    """Global response normalisation, as ConvNeXt V2 has it, with the channels last."""
    y = x.permute(0, 2, 3, 1)
    size = y.norm(p=2, dim=(1, 2), keepdim=True)
    y = y + torch.addcmul(s.shift, s.scale, y * (size / (size.mean(-1, keepdim=True) + 1e-3)))
    return y.permute(0, 3, 1, 2)


def selected(s: nn.Module, x: Tensor, count: int) -> Tensor:
    """Branches that are weighted by a softmax over them (selective kernels, Li et al. 2019)."""
    branches = torch.stack([x, F.relu(x), x.sigmoid()][:count], 1)
    share = s.fc(branches.sum(1).mean((2, 3))).view(len(x), count, 8, 1, 1).softmax(1)
    return (branches * share).sum(1)


HALVED = ["Add", "ReLU", "Add"]
SPREAD = ["Select", "Add", "Multiply", "GlobalAvgPool", "Conv", "power", "Select", "Multiply"]

CASES: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "BatchNorm after": (lambda: Net(lambda s, x: F.relu(s.bn(s.conv(x))), conv=conv(3), bn=norm()), ["Conv", "ReLU"]),
    "BatchNorm before": (lambda: Net(lambda s, x: s.conv(x.relu_() + s.bn(x)), conv=conv(1), bn=norm()),
                         ["ReLU", "Conv", "Add", "Conv"]),
    "BatchNorm between": (lambda: Net(lambda s, x: s.conv(s.bn(F.relu(x))), conv=conv(1), bn=norm()), ["ReLU", "Conv"]),
    "BatchNorm alone": (lambda: Net(lambda s, x: F.relu(s.bn(F.relu(x))), bn=norm()), ["ReLU", "Conv", "ReLU"]),
    "BatchNorm after a sum": (lambda: Net(lambda s, x: s.bn(s.a(F.relu(x)) + s.b(x.sigmoid())), a=conv(1), b=conv(1),
                                          bn=norm()), ["ReLU", "Conv", "sigmoid", "Conv", "Add"]),
    "efficient channel attention": (lambda: Net(band, along=nn.Conv1d(1, 1, 3, padding=1, bias=False)),
                                    ["GlobalAvgPool", "Conv", "sigmoid", "Multiply"]),
    "scales": (lambda: Net(lambda s, x: 2 * s.conv(x) / 3 - 1, conv=conv(3)), ["Conv"]),
    "RepVGG": (lambda: Net(lambda s, x: branches(s, F.relu(x)), conv3=conv(3, padding=1), conv1=conv(1), bn=norm(),
                           bn3=norm(), bn1=norm()), ["ReLU", "Conv", "ReLU"]),
    "RepVGG, grouped": (lambda: Net(lambda s, x: branches(s, F.relu(x)), conv3=conv(3, padding=1, groups=8), bn=norm(),
                                      conv1=conv(1, groups=8), bn3=norm(), bn1=norm()), ["ReLU", "Conv", "ReLU"]),
    "branches, strided": (lambda: Net(lambda s, x: s.both(F.relu(x)),
                                      both=Both(conv(3, 2, 1), conv(1, 2))), ["ReLU", "Conv"]),
    "PReLU": (lambda: Net(lambda s, x: s.act(x), act=nn.PReLU(8)), ["clamp", "ReLU", "Conv", "Add"]),
    "PReLU, one slope": (lambda: Net(lambda s, x: s.act(x), act=nn.PReLU()), ["leaky_relu"]),
    "SELU": (lambda: Net(lambda s, x: s.conv(F.selu(x)), conv=conv(3)), ["elu", "Conv"]),
    "hard swish": (lambda: Net(lambda s, x: x * F.relu6(x + 3) / 6), ["hard_swish"]),
    "hard swish, other order": (lambda: Net(lambda s, x: x * (F.hardtanh(x + 3, 0, 6) / 6)), ["hard_swish"]),
    "hard sigmoid": (lambda: Net(lambda s, x: torch.clamp(x * 0.2 + 0.5, 0, 1)), ["hard_sigmoid"]),
    "swish": (lambda: Net(lambda s, x: x * torch.sigmoid(x)), ["silu"]),
    "mish": (lambda: Net(lambda s, x: x * torch.tanh(F.softplus(x))), ["mish"]),
    "gelu": (lambda: Net(lambda s, x: 0.5 * x * (1 + torch.erf(x / sqrt(2)))), ["gelu"]),
    "gelu, other order": (lambda: Net(lambda s, x: x * (0.5 * (torch.erf(x * sqrt(0.5)) + 1))), ["gelu"]),
    "squeeze and excitation": (lambda: Net(gate, down=nn.Linear(8, 2), up=nn.Linear(2, 8)),
                               ["GlobalAvgPool", "Conv", "ReLU", "Conv", "sigmoid", "Multiply"]),
    "channel shuffle": (lambda: Net(lambda s, x: s.conv(shuffle(s, x)), conv=conv(3)), ["Select", "Conv"]),
    "chunks": (lambda: Net(lambda s, x: torch.cat([x.chunk(2, 1)[1], x[:, :4]], 1)), ["Select", "Select", "Concat"]),
    "ConvNeXt": (lambda: Net(convnext, depthwise=conv(7, padding=3, groups=8), norm=nn.LayerNorm(8),
                             wide=nn.Linear(8, 16), narrow=nn.Linear(16, 8), gamma=nn.Linear(8, 1)),
                 ["Conv", "LayerNorm", "Conv", "gelu", "Conv", "Add"]),
    "same padding": (lambda: Net(same_padding, conv=conv(2, 2)), ["Conv"]),
    "same padding of a pool": (lambda: Net(lambda s, x: F.max_pool2d(F.pad(F.relu(x), (0, 1, 0, 1)), 2, 2)),
                               ["ReLU", "MaxPool"]),
    "counted padding": (lambda: Net(lambda s, x: F.avg_pool2d(F.pad(x, (1, 0, 1, 0)), 2, 2)), ["AvgPool"]),
    "border that is read twice": (lambda: Net(copied), ["Conv", "sigmoid", "Add"]),
    "sum of three": (lambda: Net(lambda s, x: torch.stack([x, F.relu(x), F.silu(x)]).sum(0)),
                     ["ReLU", "silu", "Concat", "Select", "Select", "Add", "Select", "Add"]),
    "padding of channels": (lambda: Net(lambda s, x: F.pad(F.relu(x)[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)), 12),
                            ["ReLU", "MaxPool", "Conv"]),
    "space to depth": (lambda: Net(lambda s, x: F.pixel_unshuffle(F.relu(x), 2), 32), ["ReLU", "Conv"]),
    "stochastic depth": (lambda: Net(lambda s, x: x + s.drop(F.relu(x)), drop=nn.Dropout2d()), ["ReLU", "Add"]),
    "crop": (lambda: Net(lambda s, x: F.relu(x)[:, :, 1:, 1:]), ["ReLU", "Conv"]),
    "channels behind": (lambda: Net(channels_behind, narrow=nn.Linear(8, 8)),
                        ["Conv", "Select", "gelu", "Select", "Concat"]),
    "the same twice": (lambda: Net(lambda s, x: F.relu(x) + F.relu(x).sigmoid()), ["ReLU", "sigmoid", "Add"]),
    "nearest, by a fraction": (lambda: Net(lambda s, x: F.interpolate(x, (10, 12))), ["Upsample", "MaxPool"]),
    "nearest, smaller": (lambda: Net(lambda s, x: F.interpolate(x, (3, 5))), ["Upsample", "MaxPool"]),
    "nearest": (lambda: Net(lambda s, x: F.interpolate(x, scale_factor=2)), ["Upsample"]),
    "layer normalisation by a root": (lambda: Net(by_root, scale=torch.rand(8)), ["LayerNorm", "Conv"]),
    "layer normalisation by a variance": (lambda: Net(by_variance), ["LayerNorm"]),
    "group normalisation": (lambda: Net(lambda s, x: s.norm(x), norm=nn.GroupNorm(2, 8)),
                            ["GlobalAvgPool", "Conv", *SPREAD]),
    "instance normalisation": (lambda: Net(lambda s, x: s.norm(x), norm=nn.InstanceNorm2d(8)),
                               ["GlobalAvgPool", "Conv", "Add", "Multiply", "GlobalAvgPool", "power", "Multiply"]),
    "global response normalisation": (
        lambda: Net(responses, scale=torch.rand(8), shift=torch.rand(8)),
        ["Multiply", "GlobalAvgPool", "Conv", "power", "Conv", "power", "Select", *2 * ["Multiply"], "Conv", "Add"],
    ),
    "layer normalisation of the image": (lambda: Net(lambda s, x: F.layer_norm(x, x.shape[1:])),
                                         ["GlobalAvgPool", "Conv", *SPREAD]),
    "larger of two": (lambda: Net(lambda s, x: torch.maximum(x[:, :4], x[:, 4:]), 4),
                      ["Select", "Conv", "Select", *HALVED]),
    "smaller of two": (lambda: Net(lambda s, x: torch.minimum(x, x.sigmoid())),
                       ["sigmoid", "Conv", "Add", "ReLU", "Conv", "Add"]),
    "one number as a limit": (lambda: Net(lambda s, x: torch.maximum(x, torch.tensor(0.5))), ["clamp"]),
    "largest channel": (lambda: Net(lambda s, x: x[:, :3].amax(1, keepdim=True), 1),
                        ["Select", "Select", "Conv", "Select", *HALVED, "Select", "Conv", "Select", *HALVED]),
    "gated linear unit": (lambda: Net(lambda s, x: F.glu(x, 1), 4), ["Select", "sigmoid", "Select", "Multiply"]),
    "softsign": (lambda: Net(lambda s, x: F.softsign(x)), ["leaky_relu", "power", "Multiply"]),
    "root of a sum": (lambda: Net(lambda s, x: torch.sqrt(F.relu(x) + 0.5)), ["ReLU", "power"]),
    "generalised mean": (
        lambda: Net(lambda s, x: x * F.adaptive_avg_pool2d(x.clamp(min=1e-6).pow(3), 1).pow(1 / 3)),
        ["clamp", "Multiply", "Multiply", "GlobalAvgPool", "power", "Multiply"],
    ),
    "one channel for all": (lambda: Net(lambda s, x: x * x.mean(1, keepdim=True).sigmoid()),
                            ["Conv", "sigmoid", "Select", "Multiply"]),
}  # fmt: skip


class Both(nn.Module):
    """The sum of two layers of the same value."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x)


@pytest.mark.parametrize("count", [2, 3])
def test_branches_are_weighted_by_a_softmax(count: int) -> None:
    trace(Net(partial(selected, count=count), fc=nn.Linear(8, 8 * count)), (3, 16, 16))


@pytest.mark.parametrize("name", CASES)
def test_what_is_left(name: str) -> None:
    build, expected = CASES[name]
    graph, _ = trace(build(), (3, 16, 16))
    assert inner(graph) == expected


def test_two_classifiers_become_one() -> None:
    """As in networks that were trained with a teacher."""
    heads = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    both = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Half(Both(*heads)))
    graph, _ = trace(both, (3, 8, 8))
    assert [type(op).__name__ for op in graph.ops] == ["Conv", "GlobalAvgPool", "Flatten", "Linear"]


class Half(nn.Module):
    """Half of the result of a module."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) / 2


def test_a_scale_of_the_logits_is_a_layer() -> None:
    body = [nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.ReLU(), nn.BatchNorm1d(4)]
    body[-1].running_mean.normal_()
    graph, arrays = trace(nn.Sequential(*body), (3, 8, 8))
    assert isinstance(graph.ops[-1], Flatten)
    graph, arrays = trace(nn.Sequential(*body[:3], nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3)), (3, 8, 8))
    assert isinstance(graph.ops[-1], Linear)
    assert arrays["5"][0].shape == (3, 3)


def test_layers_keep_the_paths_of_their_modules() -> None:
    layers = {"conv3": conv(3, padding=1), "conv1": conv(1), "bn": norm(), "bn3": norm(), "bn1": norm()}
    graph, _ = trace(Net(lambda s, x: branches(s, F.relu(x)), **layers), (3, 16, 16))
    assert [op.name for op in graph.layers] == ["stem", "conv3", "fc"]
    graph, _ = trace(Net(lambda s, x: s.conv(s.conv(x)), conv=conv(3)), (3, 16, 16))
    assert [op.name for op in graph.layers] == ["stem", "conv", "conv_2", "fc"]


@pytest.mark.parametrize("ending", ["softmax", "log_softmax", "sigmoid"])
def test_what_follows_the_logits_is_told(ending: str) -> None:
    functions = {"softmax": nn.Softmax(1), "log_softmax": nn.LogSoftmax(1), "sigmoid": nn.Sigmoid()}
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), functions[ending]
    )
    found = import_module(network, (3, 8, 8))
    assert found.ending == ending
    assert isinstance(found.graph.ops[-1], Linear)
