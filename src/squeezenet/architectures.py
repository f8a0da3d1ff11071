"""The networks by name, as data: what each is made for and costs. `squeezenet.models` builds them.

>>> ARCHITECTURES["squeezenet1_0"].parameters
1248424

Nothing here needs PyTorch, so that listing the networks takes no time and works in every installation.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from squeezenet.errors import UsageError

Stem = Literal["v1.0", "v1.1", "32", "32 v1.1", "32 late", "64", "64 v1.1"]
Bypass = Literal["none", "simple", "complex"]
Norm = Literal["none", "batch"]

WIDEST_SQUEEZE = 8  # squeeze filters for each expand filter; the paper looks at ratios up to 1


@dataclass(frozen=True)
class Metaparameters:
    """The design space of the paper's section 5.1, and what has to change with the size of the images.

    Fire module i (from 0) has e_i = base_e + incr_e * floor(i / freq) expand filters, pct3x3 * e_i of them 3x3,
    and SR * e_i squeeze filters.
    """

    base_e: int = 128
    incr_e: int = 128
    freq: int = 2
    pct3x3: float = 0.5
    sr: float = 0.125
    fires: int = 8
    bypass: Bypass = "none"
    stem: Stem = "v1.0"
    classes: int = 1000
    in_channels: int = 3
    dropout: float = 0.5
    norm: Norm = "none"  # "batch": behind each convolution but conv10; not in the paper, and folded away to ship

    def __post_init__(self) -> None:
        """Raises `UsageError` for values that make no network."""
        kinds = {name: get_args(hint) for name, hint in (("bypass", Bypass), ("stem", Stem), ("norm", Norm))}
        sound = {
            "base_e": self.base_e > 1, "incr_e": self.incr_e >= 0, "freq": self.freq > 0, "fires": self.fires > 0,
            "pct3x3": 0 < self.pct3x3 < 1, "sr": 0 < self.sr <= WIDEST_SQUEEZE, "dropout": 0 <= self.dropout < 1,
            "classes": self.classes > 0, "in_channels": self.in_channels > 0,
            **{name: getattr(self, name) in known for name, known in kinds.items()},
        }  # fmt: skip
        if bad := [name for name, ok in sound.items() if not ok]:
            hint = f"; known are {', '.join(kinds[bad[0]])}" if bad[0] in kinds else ""
            raise UsageError(f"{bad[0]}={getattr(self, bad[0])}: makes no SqueezeNet{hint}")

    def fire_widths(self) -> list[tuple[int, int, int]]:
        """(s1x1, e1x1, e3x3) of every Fire module."""
        widths = []
        for i in range(self.fires):
            e = self.base_e + self.incr_e * (i // self.freq)
            e3x3 = min(max(round(self.pct3x3 * e), 1), e - 1)
            widths.append((max(round(self.sr * e), 1), e - e3x3, e3x3))
        return widths


@dataclass(frozen=True)
class Architecture:
    """A network that can be built: what it is, the image size it is made for, and its metaparameters.

    `parameters` and `macs` are counted for 1,000 classes and an image of `input_size` x `input_size` pixels, batch
    normalisation folded away; a test counts them again.
    """

    description: str
    input_size: int
    meta: Metaparameters | None  # None: not a SqueezeNet
    parameters: int
    macs: int


ARCHITECTURES: dict[str, Architecture] = {
    "squeezenet1_0": Architecture("the paper's network", 227, Metaparameters(), 1_248_424, 832_667_936),
    "squeezenet1_1": Architecture(
        "v1.1: 2.4x less computation, same accuracy", 227, Metaparameters(stem="v1.1"), 1_235_496, 387_747_520
    ),
    "squeezenet1_0_simple": Architecture(
        "v1.0 with simple bypass", 227, Metaparameters(bypass="simple"), 1_248_424, 832_667_936
    ),
    "squeezenet1_0_complex": Architecture(
        "v1.0 with complex bypass", 227, Metaparameters(bypass="complex"), 1_589_672, 1_183_953_184
    ),
    "squeezenet_32": Architecture(
        "for images of 32 x 32 (CIFAR-10)", 32, Metaparameters(stem="32"), 1_235_496, 59_637_760
    ),
    "squeezenet_64": Architecture(
        "for images of 64 x 64 (Tiny ImageNet)", 64, Metaparameters(stem="64"), 1_235_496, 59_637_760
    ),
    "alexnet": Architecture("the paper's baseline", 227, None, 60_965_224, 724_406_816),
    "alexnet_torchvision": Architecture("torchvision's AlexNet, one tower", 224, None, 61_100_840, 714_188_480),
    "alexnet_32": Architecture("AlexNet for images of 32 x 32", 32, None, 32_621_416, 199_626_752),
    "alexnet_64": Architecture("AlexNet for images of 64 x 64", 64, None, 32_626_024, 204_345_344),
    "vgg_32": Architecture("a small VGG for images of 32 x 32", 32, None, 1_972_010, 146_942_464),
    "vgg_32_192": Architecture("the same, 192 wide instead of 256", 32, None, 1_160_106, 100_345_728),
    "vgg_32_bypass": Architecture("a layer a stage deeper, with a bypass", 32, None, 3_189_098, 203_565_568),
    "vgg_32_bypass_wide": Architecture("that, twice as wide, to teach others", 32, None, 9_916_074, 576_336_896),
}


def find_architecture(name: str) -> Architecture:
    """Look a name up. Raises `UsageError` with the nearest names."""
    if name not in ARCHITECTURES:
        from difflib import get_close_matches

        near = get_close_matches(name, ARCHITECTURES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ARCHITECTURES)}"
        raise UsageError(f"no network is called {name!r}; {hint}")
    return ARCHITECTURES[name]
