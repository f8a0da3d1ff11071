"""Which of torchvision's and timm's networks enter squeezenet, and with which error. Their weights are random.

    pip install torchvision timm
    python benchmarks/networks.py
    python benchmarks/networks.py others
    python benchmarks/networks.py mobilenet_v3_small ghostnet_100 --integers
    python benchmarks/networks.py mobilenet_v2 resnet18 --integers --side 224 --write WORK     # for runtime.py
    python benchmarks/networks.py resnet18 resnet50 --squeeze photos.parquet

Statistics and weights of BatchNorm are random, so that a mistake in folding them shows. "error" is the largest
difference between the logits of the module and those of the graph, divided by the largest logit. "seconds" are those of
the processor for the import, with its own comparison. With `--integers`, each network is also rounded to 8 bits at
`--side` pixels, with synthetic images; the table then has the bytes of its file, and the correlation of the logits that
the engine computes from the file with those of the floats. `--write` keeps the files.
With `--squeeze`, each network is squeezed to a twelfth of its bytes with 128 images of a data set, at 224 x 224 pixels;
the table has the bytes, seconds of the processor, seconds, and the peak memory of the process so far in MB.
"""

import argparse
import contextlib
import resource
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from squeezenet import sqz
from squeezenet.compression import CompressionRecipe, compress
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.ranges import calibrate
from squeezenet.compression.squeeze.synthetic import synthetic_images
from squeezenet.data import Pixels, load_evaluation, load_pixels
from squeezenet.errors import ModelError
from squeezenet.files import write_atomically
from squeezenet.fixed_point import EIGHTHS, MAX_RESCALING, MIN_RESCALING, Scale
from squeezenet.formats.foreign import from_module
from squeezenet.graph import Layer
from squeezenet.importing import checking, import_module
from squeezenet.model import MAX_LEVEL, Model
from squeezenet.models.network import Network, from_model
from squeezenet.preparation import Preparation
from squeezenet.runtime.engine import EngineRunner

TORCHVISION = (
    "alexnet", "vgg11", "vgg11_bn", "squeezenet1_0", "squeezenet1_1", "resnet18", "resnet34", "resnet50",
    "resnext50_32x4d", "wide_resnet50_2", "googlenet", "inception_v3", "densenet121", "mobilenet_v2",
    "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0",
    "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny",
)  # fmt: skip
TIMM = (
    "mobilenetv4_conv_small", "ghostnet_100", "tinynet_e", "lcnet_050", "repvgg_a0", "mobileone_s0", "fastvit_t8",
    "regnetx_002", "hardcorenas_a", "mobilenetv2_035", "efficientnet_lite0", "resnet10t", "resnet26d",
    "mnasnet_small", "spnasnet_100", "fbnetc_100", "semnasnet_075", "mixnet_s", "rexnet_100", "dla34",
    "res2net50_26w_4s", "selecsls42", "hrnet_w18_small", "cspresnet50", "darknet53", "gernet_s", "ese_vovnet19b_dw",
    "convnextv2_atto", "edgenext_xx_small", "efficientvit_m0",
)  # fmt: skip
OTHERS_OF_TORCHVISION = (
    "mnasnet1_3", "shufflenet_v2_x1_5", "efficientnet_v2_s", "regnet_y_800mf", "resnext101_32x8d", "densenet161",
    "swin_t", "maxvit_t", "vit_b_16",
)  # fmt: skip
OTHERS_OF_TIMM = (
    "mobilenetv3_large_100", "efficientnet_es", "resnest14d", "skresnet18", "vovnet39a", "hardcorenas_f",
    "repghostnet_050", "ghostnetv2_100", "mobileone_s1", "fastvit_t12", "starnet_s1", "lcnet_100",
    "tf_efficientnet_lite0", "tf_mobilenetv3_small_minimal_100", "mixnet_m", "dpn48b", "eca_nfnet_l0", "dm_nfnet_f0",
    "nf_resnet26", "regnetz_b16", "xception41", "legacy_xception", "inception_resnet_v2", "inception_v4", "res2next50",
    "resnetv2_50", "resnetv2_50x1_bit", "resnet50_gn", "convmixer_768_32", "poolformer_s12", "convnext_atto",
    "mobilevitv2_050", "deit_tiny_patch16_224", "pit_ti_224", "efficientformer_l1", "levit_128s",
)  # fmt: skip
OTHERS = (*OTHERS_OF_TORCHVISION, *OTHERS_OF_TIMM)
"""With `others`: networks that nobody had tried before the table was made."""

SIDES = {"inception_v3": 299}
LARGER = {"alexnet": 224, "vgg11": 224, "vgg11_bn": 224, "inception_v3": 96}  # sides of images for `--integers`
OPERATIONS = ("nms", "qnms", "roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")
"""Operations of torchvision's C++ part, which classifiers do not need, and which some builds of PyTorch cannot load."""


def build(name: str) -> nn.Module:
    """A network by name, with random weights. Raises `ImportError`."""
    torch.manual_seed(0)
    if name in (*TIMM, *OTHERS_OF_TIMM):
        import timm

        module: nn.Module = timm.create_model(name)
    else:
        from torchvision import models

        module = models.get_model(name, weights=None, **({"init_weights": True} if name in INCEPTIONS else {}))
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
    return module.eval()


INCEPTIONS = ("googlenet", "inception_v3")  # which warn if they are not told how to start


def row(name: str, args: argparse.Namespace) -> str:
    """One line of the table."""
    try:
        module = build(name)
    except ImportError as error:
        return f"{name:<24} skipped: {error}"
    side = SIDES.get(name, 224)
    started = time.process_time()
    try:
        found = import_module(module, (3, side, side))
    except ModelError as error:
        return f"{name:<24} refused: {error}"
    seconds = time.process_time() - started
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        worst = checking.error(checking.compute(found.graph, found.weights, images), module(images))
    text = f"{name:<24} {worst:8.1e} {seconds:6.1f} {len(found.graph.ops):5} {len(found.graph.layers):5}"
    if args.integers:
        text += f"   {as_integers(module, name, max(args.side, LARGER.get(name, 0)), args.write)}"
    return f"{text}   {squeezed(module, args.squeeze, args.threads)}" if args.squeeze else text


def as_integers(module: nn.Module, name: str, side: int, folder: Path | None) -> str:
    """How well a network answers after each weight was rounded to the nearest of 255 levels.

    BatchNorm gets the statistics of the images first: with random ones, the logits hardly depend on the image.
    """
    preparation = Preparation(side, side, mean=(128.0,) * 3, std=(64.0,) * 3)
    images = synthetic_images(24, preparation)
    settle(module, images[:16])
    try:
        model = from_module(module, preparation)
        network = from_model(model)
        scales = calibrate(network, images[:16])
        weights = nearest(network, scales).to_weights()
        data = sqz.encode(Model(model.graph, weights, preparation, scales=scales))
        with torch.no_grad():
            expected = module(images[16:])
    except ModelError as error:
        return f"refused: {error}"
    if folder is not None:
        write_atomically(folder / f"{name}.sqz", data)
    got = torch.from_numpy(EngineRunner(data)(images[16:].numpy()))
    together = torch.stack([(logits - logits.mean(0)).flatten() for logits in (expected, got)])
    return f"{len(data):10} {torch.corrcoef(together)[0, 1]:.4f}"


def squeezed(module: nn.Module, source: str, threads: int) -> str:
    """What it takes to squeeze a network whose BatchNorm has the statistics of the images."""
    preparation = Preparation(224, 224, mean=(128.0,) * 3, std=(64.0,) * 3)
    pixels = load_pixels(load_evaluation(source), preparation, 128, progress=False)
    settle(module, (torch.from_numpy(pixels.images[:64]).float() - 128) / 64)
    model = from_module(module, preparation)
    recipe = CompressionRecipe(max_bytes=model.float32_bytes // 12, threads=threads)
    started, used = time.perf_counter(), time.process_time()
    data = compress(model, Pixels(pixels.images, None, pixels.indices), recipe).data
    seconds, used = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return f"{len(data):10} {used:6.0f} {seconds:6.0f} {peak:6.0f}"


def settle(module: nn.Module, images: Tensor) -> None:
    """Give every BatchNorm the statistics of `images`."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
    with torch.no_grad():
        module(images)
    module.eval()


def nearest(network: Network, scales: tuple[Scale, ...]) -> IntegerNetwork:
    """The integer network of the levels that are nearest to the weights, with a step for each output."""
    weights, biases = {}, {}
    for index, op in enumerate(network.graph.ops):
        if isinstance(op, Layer):
            weight, gap = network.weight(op.name)().detach(), scales[index + 1].exponent - scales[op.inputs[0]].exponent
            largest = weight.flatten(1).abs().amax(1).clamp(min=1e-30)
            exponents = torch.ceil(EIGHTHS * torch.log2(largest / MAX_LEVEL))
            exponents = exponents.clamp(gap - MAX_RESCALING, gap - MIN_RESCALING)
            along = (-1, *[1] * (weight.ndim - 1))
            weights[op.name] = GridWeight(weight / torch.exp2(exponents / EIGHTHS).reshape(along), exponents)
            biases[op.name] = network.bias(op.name).detach() / scales[index + 1].step
    return IntegerNetwork(network.graph, scales, weights, biases)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*TORCHVISION, *TIMM])
    parser.add_argument("--integers", action="store_true")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="keep the integer networks")
    parser.add_argument("--squeeze", metavar="DATA", help="squeeze with images of this data set")
    parser.add_argument("--threads", type=int, default=2, help="of --squeeze")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operation in OPERATIONS:
        with contextlib.suppress(RuntimeError):
            library.define(f"{operation}(Tensor x) -> Tensor")
    columns = f"{'network':<24} {'error':>8} {'seconds':>6} {'ops':>5} {'layers':>5}"
    columns += "        bytes correlation" * args.integers
    print(columns + "        bytes  CPU s      s     MB" * bool(args.squeeze))
    for name in OTHERS if args.names == ["others"] else args.names:
        print(row(name, args), flush=True)


if __name__ == "__main__":
    main()
