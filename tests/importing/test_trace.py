"""From a PyTorch module to a graph: the same logits in PyTorch, in NumPy and behind a file, or a refusal by name."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from squeezenet import sqz
from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import AvgPool, Conv, Flatten, GlobalAvgPool, Graph, ReLU
from squeezenet.importing import trace
from squeezenet.model import Model, Plain, Weights
from squeezenet.models import create_model
from squeezenet.models.network import from_model, to_weights
from squeezenet.preparation import Preparation
from squeezenet.runtime.reference import Runner


class Net(nn.Module):
    """A network of named layers and a `forward` written as one expression."""

    def __init__(self, forward: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        self.body = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> object:
        return self.body(self, x)


def conv(inside: int, out: int, kernel: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inside, out, kernel, padding=kernel // 2, **options)


def pooled(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def alexnet() -> nn.Module:
    """Fully connected layers of 4,096 would take most of this file's time."""
    module = create_model("alexnet_32")
    module.classifier = nn.Sequential(nn.Linear(256 * 3 * 3, 16), nn.ReLU(), nn.Linear(16, 7))
    return module


def torchvision_alexnet() -> nn.Module:
    with torch.device("meta"):  # its own fully connected layers are never filled
        module = create_model("alexnet_torchvision")
    module.classifier = nn.Linear(256 * 6 * 6, 7)
    module.features.to_empty(device="cpu")
    for parameter in module.features.parameters():
        nn.init.uniform_(parameter, -0.01, 0.01)
    return module


def vgg() -> nn.Module:
    stages = [conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), conv(8, 16), nn.ReLU(True), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(16 * 4 * 4, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 5)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d((4, 4)), *head)


def residual() -> nn.Module:
    """A stem, a block with BatchNorm after each convolution and a projection, and a pre-activation block."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = F.relu(self.bn0(self.stem(x)))
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.bn3(self.project(x)))
        y = self.conv4(F.relu(self.bn4(x)))  # bn4 has no convolution to be folded into
        return self.fc((x + y).mean([2, 3]))

    layers: dict[str, nn.Module] = {f"bn{i}": nn.BatchNorm2d(n) for i, n in enumerate((6, 8, 8, 8, 8))}
    return Net(
        forward,
        stem=conv(3, 6, bias=False),
        conv1=conv(6, 8, stride=2, bias=False),
        conv2=conv(8, 8),
        project=nn.Conv2d(6, 8, 1, 2),
        conv4=conv(8, 8),
        fc=nn.Linear(8, 5),
        **layers,
    )


def mobilenet() -> nn.Module:
    layers: list[nn.Module] = [conv(3, 8, stride=2), nn.BatchNorm2d(8), nn.ReLU6()]
    for inside, out, stride in ((8, 16, 1), (16, 24, 2)):
        layers += [conv(inside, inside, stride=stride, groups=inside, bias=False), nn.BatchNorm2d(inside), nn.ReLU6()]
        layers += [nn.Conv2d(inside, out, 1, bias=False), nn.BatchNorm2d(out, affine=False), nn.Hardtanh(0, 2)]
    return pooled(*layers, nn.Conv2d(24, 5, 1))


def shared_with_a_shortcut() -> nn.Module:
    """BatchNorm after an identity: the convolution's own output is read again, so it must not be folded."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (self.bn(self.identity(y)) + y).mean((2, 3))

    return Net(forward, conv=conv(3, 5), bn=nn.BatchNorm2d(5), identity=nn.Identity())


def in_place() -> nn.Module:
    """Operations in place change what the shortcut holds."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = self.conv(x)
        held = x
        y = self.relu(x)
        y = self.conv2(y) + held  # held was rectified too
        y += x
        F.relu(y, inplace=True)
        return y.mean((2, 3))

    return Net(forward, conv=conv(3, 5), conv2=conv(5, 5), relu=nn.ReLU(inplace=True))


def functions() -> nn.Module:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.a(x)), 3, stride=2, ceil_mode=True)
        x = F.avg_pool2d(F.relu6(self.b(x)), kernel_size=2, padding=1)
        x = torch.cat([x, x, self.c(x)], dim=1)
        x = torch.add(x, F.dropout(x, training=self.training)).relu()
        return F.adaptive_avg_pool2d(x, (1, 1)).flatten(1)

    return Net(forward, a=conv(3, 4), b=conv(4, 4, padding_mode="zeros"), c=conv(4, 4, groups=2))


def head(flatten: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Net(
        lambda self, x: self.fc(flatten(self.pool(self.conv(x)))),
        conv=conv(3, 4, stride=2),
        pool=nn.AvgPool2d(2),
        fc=nn.Linear(4 * 4 * 4, 5),
    )


def layers(*stack: nn.Module) -> Callable[[], nn.Module]:
    return lambda: pooled(*stack)


def named(name: str, **overrides: object) -> Callable[[], nn.Module]:
    return lambda: create_model(name, **overrides)


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def of(forward: Callable[..., object], **layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: Net(forward, **layers)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "squeezenet1_0": (named("squeezenet1_0", classes=7), 64),
    "squeezenet1_1": (named("squeezenet1_1", classes=7), 65),
    "simple bypass": (named("squeezenet1_0_simple", classes=7), 66),
    "complex bypass": (named("squeezenet1_0_complex", classes=7), 63),
    "squeezenet_32": (named("squeezenet_32", classes=7), 32),
    "alexnet": (alexnet, 32),
    "alexnet_torchvision": (torchvision_alexnet, 224),
    "vgg": (vgg, 16),
    "residual": (residual, 15),
    "mobilenet": (mobilenet, 17),
    "shortcut around BatchNorm": (shared_with_a_shortcut, 8),
    "in place": (in_place, 8),
    "functions": (functions, 15),
    "grouped": (layers(conv(3, 6, groups=3), nn.ReLU(), nn.Conv2d(6, 4, (3, 1), (1, 2), (0, 2), groups=2)), 9),
    "padding by name": (layers(nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding="valid")), 9),
    "average pool": (layers(conv(3, 4), nn.AvgPool2d((3, 2), (2, 1), (1, 0))), 9),
    "max pool": (layers(conv(3, 4), nn.MaxPool2d((3, 2), (2, 3), (1, 1), ceil_mode=True)), 10),
    "adaptive pool": (layers(conv(3, 4), nn.AdaptiveAvgPool2d((4, None)), nn.AdaptiveAvgPool2d((4, 8))), 8),
    "normalisation": (layers(conv(3, 8), nn.LocalResponseNorm(4, 1e-2), nn.LocalResponseNorm(5, 0.3, 0.6, 2.0)), 8),
    "BatchNorm first": (layers(nn.BatchNorm2d(3), conv(3, 4), nn.BatchNorm2d(4), nn.BatchNorm2d(4)), 8),
    "flatten(1)": (head(lambda x: x.flatten(1)), 16),
    "torch.flatten": (head(lambda x: torch.flatten(x, start_dim=1)), 16),
    "view(size, -1)": (head(lambda x: x.view(x.size(0), -1)), 16),
    "view(shape, features)": (head(lambda x: x.view(x.shape[0], 64)), 16),
    "view(-1, features)": (head(lambda x: x.view(-1, 64)), 16),
    "reshape to a tuple": (head(lambda x: torch.reshape(x, (x.size(0), -1))), 16),
    "sigmoid": (layers(conv(3, 4), nn.Sigmoid()), 8),
    "dilation": (layers(nn.Conv2d(3, 4, 3, dilation=2), nn.ReLU(), nn.MaxPool2d(2, dilation=2)), 11),
    "even, same": (layers(nn.Conv2d(3, 4, 2, padding="same")), 8),
    "same layer twice": (of(lambda s, x: mean(s.c(s.c(x))), c=conv(3, 3)), 8),
    "computed for nothing": (of(lambda s, x: (mean(x), s.c(x).norm())[0], c=conv(3, 3)), 8),
    "slices": (of(lambda s, x: mean(torch.cat([x, s.c(x[:, :2]), x[:, 1:]], 1)), c=conv(2, 4)), 8),
    "arithmetic": (of(lambda s, x: mean(torch.add(2 - x / 3, x * x, alpha=2) + s.c.weight[0]), c=conv(3, 1, 1)), 8),
    "channels last": (of(lambda s, x: s.fc(x.permute(0, 2, 3, 1)).mean((1, 2)), fc=nn.Linear(3, 5)), 8),
    "another reshape": (of(lambda s, x: mean(x.view(x.size(0), 3, 4, 16))), 8),
    "uncounted padding": (layers(nn.AvgPool2d(3, padding=1, count_include_pad=False)), 8),
    "uneven adaptive": (layers(nn.AdaptiveAvgPool2d(3), nn.ReLU()), 8),
    "mean, keepdim": (
        lambda: Net(lambda s, x: s.conv(x).mean((-1, -2), keepdim=True).flatten(1), conv=conv(3, 4)),
        8,
    ),
}


def settled(module: nn.Module) -> nn.Module:
    """Weights and statistics as after some training, so that nothing that matters is zero or one."""
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.5, generator=generator)
            layer.running_var.uniform_(0.3, 3, generator=generator)
            if layer.affine:
                nn.init.uniform_(layer.weight, -2, 2, generator=generator)
                nn.init.normal_(layer.bias, generator=generator)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, 0, 0.1, generator=generator)
    return module.eval()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_pytorch_everywhere(name: str) -> None:
    build, size = NETWORKS[name]
    module = settled(build())
    images = np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    graph, arrays = trace(module, (3, size, size))
    weights = {layer: Weights(Plain(weight), bias) for layer, (weight, bias) in arrays.items()}
    model = Model(graph, weights, Preparation(size, size))

    tolerance = 1e-4 * np.abs(expected).max()
    logits = Runner(model)(images)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
    network = from_model(model)
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.from_numpy(images)).numpy(), expected, rtol=0, atol=tolerance)
    assert (Runner(sqz.decode(sqz.encode(model)))(images) == logits).all()
    returned = to_weights(network)
    assert all((returned[layer].weight.values() == held.weight.values()).all() for layer, held in weights.items())


def test_batch_norm_is_folded_where_it_can_be() -> None:
    graph, _ = trace(settled(residual()), (3, 15, 15))
    assert [op.name for op in graph.layers] == ["stem", "conv1", "conv2", "project", "bn4", "conv4", "fc"]
    bn4 = graph.layers[4]
    assert isinstance(bn4, Conv)
    assert (bn4.groups, bn4.kernel) == (8, (1, 1))


def test_operations_are_what_they_seem() -> None:
    graph, _ = trace(settled(mobilenet()), (3, 17, 17))
    assert [op.cap for op in graph.ops if isinstance(op, ReLU)] == [6, 6, 2, 6, 2]
    graph, _ = trace(pooled(conv(3, 4), nn.AdaptiveAvgPool2d((4, None))), (3, 8, 8))
    assert [type(op) for op in graph.ops] == [Conv, AvgPool, GlobalAvgPool, Flatten]
    assert isinstance(graph, Graph)


def test_adaptive_pooling_that_changes_nothing_is_left_out() -> None:
    graph, _ = trace(torchvision_alexnet(), (3, 224, 224))
    assert not any(isinstance(op, AvgPool | GlobalAvgPool) for op in graph.ops)
    assert graph.shapes()[-3:] == [(256, 6, 6), (256 * 6 * 6,), (7,)]


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return mean(x + y)


def spoilt(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.constant_(layer.weight, torch.nan)
    return layer


def attention(s: nn.Module, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return s.attention(tokens, tokens, tokens)[0].mean(1)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "attention": (
        of(attention, attention=nn.MultiheadAttention(3, 1, batch_first=True)),
        "^attention cannot be expressed in",
    ),
    "transposed": (layers(nn.ConvTranspose2d(3, 4, 3)), "transposed convolution.*ConvTranspose2d"),
    "reflection": (layers(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")), "reflection_pad2d.*in 0.*Conv2d"),
    "control flow": (of(lambda s, x: mean(x) if x.sum() > 0 else mean(-x)), "depends on its data.*test_trace.py, line"),
    "item": (of(lambda s, x: mean(x * x.mean().item())), "depends on its data"),
    "two inputs": (TwoInputs, "more than one input"),
    "two outputs": (of(lambda s, x: (mean(x), x)), "logits and nothing else; it returns 2 tensors"),
    "no output": (of(lambda s, x: None), "returns a NoneType"),
    "a constant": (of(lambda s, x: torch.zeros(len(x), 4)), "no logits from the image"),
    "a map": (of(lambda s, x: s.c(x), c=conv(3, 4)), "row of logits"),
    "transposed image": (of(lambda s, x: s.c(x.transpose(2, 3)).mean((2, 3)), c=conv(3, 4)), "another order"),
    "mean over everything but rows": (of(lambda s, x: x.mean((1, 2))), "not all positions"),
    "part of a batch": (of(lambda s, x: x.reshape(1, -1)), "flatten to"),
    "flat batch": (of(lambda s, x: torch.flatten(x)), "row of logits"),
    "mixed images": (of(lambda s, x: mean(s.c(x.flip(0))), c=conv(3, 4)), "images of a batch are mixed"),
    "no statistics": (layers(nn.BatchNorm2d(3, track_running_stats=False)), "running statistics"),
    "noise": (of(lambda s, x: mean(x + torch.rand_like(x))), "random numbers"),
    "dropout that stays": (of(lambda s, x: mean(F.dropout(x))), "random numbers"),
    "constant for each position": (of(lambda s, x: mean(torch.relu(x + torch.arange(8)))), "differs between positions"),
    "misfit": (of(lambda s, x: mean(s.c(x)), c=conv(4, 4)), "cannot read images of .*RuntimeError"),
    "linear on a map": (of(lambda s, x: mean(s.fc(x)), fc=nn.Linear(8, 8)), "not that of channels"),
    "norm": (of(lambda s, x: mean(x.norm(1, dim=1, keepdim=True))), "a norm other than .*linalg_vector_norm"),
    "division": (of(lambda s, x: mean(x / (1 + x))), "a division by a result that may be negative .*div"),
    "a softmax of many": (of(lambda s, x: mean(x.flatten(2).softmax(2).view(x.shape) * x)), "over positions"),
    "no place in the batch": (of(lambda s, x: x.mean((0, 2, 3))[None]), "images of a batch"),
    "not a number": (of(lambda s, x: mean(s.c(x)), c=spoilt(conv(3, 4))), "^c: a weight is not a finite number"),
    "without values": (lambda: nn.Conv2d(3, 4, 3, device="meta"), "no values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed_is_refused_by_name(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(UnsupportedOperation, match=message):
        trace(build(), (3, 8, 8))
