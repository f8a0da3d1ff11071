"""What people do to PyTorch modules: hooks, parametrisations, wrappers, subclasses, and changes in place.

The door compares the logits of the graph with those of the module by itself; here, the module is run without it.
"""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import utils
from torch.nn.utils import parametrizations, prune

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import Graph
from squeezenet.importing import checking, module, trace
from squeezenet.importing.pytorch import operations

SIDE = 12


def network() -> nn.Sequential:
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(True), nn.Conv2d(6, 8, 3), nn.ReLU()]
    return nn.Sequential(*stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5))


def check(made: nn.Module, expected_of: nn.Module) -> Graph:
    """Trace `made`, and compare with another module that computes the same."""
    graph, arrays = trace(made, (3, SIDE, SIDE))
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = expected_of.eval()(images.to(next(expected_of.parameters()).dtype)).float()
    assert checking.error(checking.compute(graph, arrays, images), expected) < 1e-5
    return graph


def pruned(net: nn.Sequential) -> None:
    prune.l1_unstructured(net[3], "weight", 0.5)
    net[3].weight = torch.zeros_like(net[3].weight)  # what fx would have read; the hook computes it again


PARAMETRISATIONS: dict[str, Callable[[nn.Sequential], object]] = {
    "pruned": pruned,
    "weight norm": lambda net: (parametrizations.weight_norm(net[3]), parametrizations.weight_norm(net[8])),
    "spectral norm": lambda net: (parametrizations.spectral_norm(net[3]), parametrizations.spectral_norm(net[8])),
    "spectral norm by a hook": lambda net: utils.spectral_norm(net[3]),
    "hook that changes a result": lambda net: net[2].register_forward_hook(lambda layer, given, found: found * 0.5 + 1),
    "hook that swaps colours": lambda net: net.register_forward_pre_hook(lambda layer, given: (given[0].flip(1),)),
    "channels last": lambda net: net.to(memory_format=torch.channels_last),
}


@pytest.mark.filterwarnings("ignore:.*spectral_norm:FutureWarning")
@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_hooks_and_parametrisations_are_seen(name: str) -> None:
    net = network()
    PARAMETRISATIONS[name](net)
    assert [op.name for op in check(net, net).layers if "scale" not in op.name] == ["0", "3", "8"]


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "compiled": torch.compile,
    "twice": lambda net: nn.DataParallel(torch.compile(net)),
    "SyncBatchNorm": nn.SyncBatchNorm.convert_sync_batchnorm,
    "double": lambda net: net.double(),
    "a list": lambda net: Returning(net, lambda logits: [logits]),
    "a dictionary": lambda net: Returning(net, lambda logits: {"logits": logits, "features": logits * 2}),
}


class Returning(nn.Module):
    """A network whose result is packed."""

    def __init__(self, net: nn.Module, pack: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.net, self.pack = net, pack

    def forward(self, x: Tensor) -> object:
        return self.pack(self.net(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # by torch.compile itself
@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_are_taken_off(name: str) -> None:
    net = network()
    graph = check(WRAPPERS[name](copy.deepcopy(net)), net)
    assert [op.name.removeprefix("net.") for op in graph.layers] == ["0", "3", "8"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_modules_enter() -> None:
    net = network().eval()
    check(torch.jit.script(copy.deepcopy(net)), net)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_become_floats(dtype: torch.dtype) -> None:
    net = network().to(dtype)
    check(net, copy.deepcopy(net).float())
    assert net[0].weight.dtype == dtype


def test_the_module_stays_as_it_was() -> None:
    net = network()
    net[1].eval()
    before = copy.deepcopy(net.state_dict())
    trace(net, (3, SIDE, SIDE))
    assert [layer.training for layer in net] == [index != 1 for index in range(9)]
    assert all((before[key] == value).all() for key, value in net.state_dict().items())


class BatchNormAct(nn.BatchNorm2d):
    """As timm has it."""

    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.ndim == 4, "4 dimensions")
        return F.relu(super().forward(x))


class Functional(nn.Linear):
    """Computes by a function."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def test_subclasses_enter() -> None:
    net = network()
    net[1], net[2], net[8] = BatchNormAct(6), nn.Identity(), Functional(8, 5)
    assert [op.name for op in check(net, net).layers] == ["0", "3", "8"]


class Net(nn.Module):
    """Two convolutions, and a layer that reads all positions."""

    def __init__(self, body: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = body
        self.a, self.b, self.fc = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(self, self.a(x)).flatten(1))


def relu_before_use(s: nn.Module, y: Tensor) -> Tensor:
    z = y.flatten(1)
    y.relu_()
    return z


def relu_of_a_view(s: nn.Module, y: Tensor) -> Tensor:
    y.view(len(y), -1).relu_()
    return s.b(y)


def sum_in_place(s: nn.Module, y: Tensor) -> Tensor:
    held = y
    y += s.b(y)
    return torch.relu(y) + held


def copied(s: nn.Module, y: Tensor) -> Tensor:
    z = torch.empty_like(y)
    z.copy_(s.b(y))
    return z.mul_(2).transpose_(2, 3).transpose(2, 3)


@pytest.mark.parametrize("body", [relu_before_use, relu_of_a_view, sum_in_place, copied])
def test_changes_in_place_are_seen(body: Callable[[nn.Module, Tensor], Tensor]) -> None:
    check(Net(body), Net(body))


def a_part(s: nn.Module, y: Tensor) -> Tensor:
    y[:, :2] = 0
    return y


def a_part_of_a_result(s: nn.Module, y: Tensor) -> Tensor:
    y[:, :2].relu_()
    return y


@pytest.mark.parametrize("body", [a_part, a_part_of_a_result])
def test_changes_of_a_part_are_refused(body: Callable[[nn.Module, Tensor], Tensor]) -> None:
    with pytest.raises(UnsupportedOperation, match=r"test_module.py, line \d+: y\[:, :2\]"):
        trace(Net(body), (3, SIDE, SIDE))


def test_a_wrong_translation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operations.OPERATIONS, "silu", operations.OPERATIONS["hardswish"])
    net = network()
    net[4] = nn.SiLU()
    with pytest.raises(UnsupportedOperation, match=r"other logits.*first after silu in 4, which is a SiLU"):
        trace(net, (3, SIDE, SIDE))


def test_what_pytorch_does_not_see_is_found() -> None:
    def numbers(s: nn.Module, y: Tensor) -> Tensor:
        return y + torch.from_numpy(y.numpy().mean((0, 2, 3)))[:, None, None]

    with pytest.raises(UnsupportedOperation, match="other logits than the module"):
        trace(Net(numbers), (3, SIDE, SIDE))


class WindowAttention(nn.Module):
    """Begins with something else that cannot be expressed."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x.view(x.size(0) * 4, 4, 3, 3)).view_as(x)


def test_attention_is_refused_by_name() -> None:
    net = Net(lambda s, y: s.block(y))
    net.block = WindowAttention()
    with pytest.raises(UnsupportedOperation, match=r"attention cannot be expressed.*convolution in block.mix"):
        trace(net, (3, SIDE, SIDE))


def test_a_network_that_makes_rounding_errors_large_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    net[0].weight.data *= 1e-3
    net[1].running_var[:] = 1e-12
    net[1].eps = 0.0
    net[0].bias.data += 1e3
    net[1].running_mean[:] = net[0].bias.data
    trace(net, (3, SIDE, SIDE))
    monkeypatch.setattr(checking, "NOISE", 0)
    with pytest.raises(UnsupportedOperation, match="other logits"):
        trace(net, (3, SIDE, SIDE))


def test_images_need_not_be_square() -> None:
    graph, _ = module.trace(network(), (3, 10, 22))
    assert graph.input_shape == (3, 10, 22)
