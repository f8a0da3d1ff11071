"""`squeezenet convert MODEL OUT`: between the authors' `.net`, PyTorch's `.pth`, `.safetensors`, `.sqz`; from `.onnx`.

OUT gives the same answers as MODEL: every format holds the graph, the preparation of images, the labels and the
weights. A conversion that would lose one of them is refused.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.about import add_about, described, renamed
from squeezenet.cli.arguments import add_model
from squeezenet.cli.outputs import add_force, may_write

EXAMPLES = """
# from the run folder of a training to a PyTorch file
squeezenet convert run mine.pth
# the file that the authors of SqueezeNet published
squeezenet convert compressed_SqueezeNet.net authors.sqz
# weights that were fine-tuned with torchvision's transforms
squeezenet convert weights.pth mine.sqz --like torchvision --labels names.txt
# a network with a sigmoid for each label, any number of which apply
squeezenet convert weights.pth mine.sqz --like torchvision --outputs labels
# weights of a network of timm, which is installed
squeezenet convert weights.pth mine.sqz --network timm/ghostnet_100 \\
    --like timm --labels names.txt
# a network in an ONNX file, trained with torchvision's transforms
squeezenet convert mobilenet.onnx mobilenet.sqz --like torchvision
# weights whose training images were prepared in another way
squeezenet convert weights.pth mine.sqz \\
    --resize 64 --channels BGR --mean 104,117,123 --std 1,1,1
"""


def configure(parser: ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("out", metavar="OUT", help="file to write: .sqz, .safetensors, .pth, .pt or .net")
    add_about(parser)
    add_force(parser)


def run(args: Namespace) -> dict[str, Any]:
    """Convert, and say what was written."""
    from squeezenet.formats import load_model, save_model

    may_write(args.out, args.force)
    model = renamed(load_model(args.model, args.random_weights, described(args)), args)
    save_model(model, args.out)
    size = Path(args.out).stat().st_size
    return {
        "model": args.model,
        "out": args.out,
        "parameters": model.parameters,
        "density": round(model.density, 6),
        "bytes": size,
        "ratio": round(model.float32_bytes / size, 2),
        "floats": bool(model.scales) and Path(args.out).suffix != ".sqz",
    }


def render(result: dict[str, Any]) -> str:
    floats = "\nsqueezenet reads the same integer network from it; PyTorch sees floats, whose answers differ a little"
    times = f", {result['ratio']:.1f}x smaller than float32" if result["ratio"] >= 1.05 else ""
    return (
        f"{result['out']}: {result['bytes']:,} bytes, {result['parameters']:,} parameters, "
        f"{100 * result['density']:.1f}% of the weights are not zero{times}{floats * result['floats']}"
    )
