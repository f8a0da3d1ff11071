"""`squeezenet train --data photos/ --out run`: train a network. `cli/train_run.py` does the work."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.accuracy import described
from squeezenet.cli.arguments import DATA, add_training, count, natural, not_negative, positive, seed
from squeezenet.printable import counted

EXAMPLES = """
# your classes, photos/CLASS/*.jpg, from the ImageNet network: minutes
squeezenet train --data photos/ --out run
# the same, starting from another model
squeezenet train --data photos/ --model birds.sqz --out run
# a new network for images of 32 x 32 pixels
squeezenet train --data cifar10/ --model squeezenet_32 --epochs 30 --out run
# the paper's protocol: 170,000 iterations of 512 images, days on a GPU
squeezenet train --data imagenet/ --model squeezenet1_0 --recipe paper \\
    --out run
"""


def configure(parser: ArgumentParser) -> None:
    images = parser.add_argument_group("images, and the run folder")
    images.add_argument("--data", metavar="DATA", help=f"{DATA}; not needed if the recipe names the data")
    out = "folder of the run; if it holds a stopped run, that run continues"
    images.add_argument("--out", required=True, type=Path, metavar="RUN", help=out)
    images.add_argument("--split-seed", type=seed, metavar="N", help="seed of the held-out tenth (default: --seed)")

    network = parser.add_argument_group("the network and its first weights")
    network.add_argument(
        "--model", metavar="MODEL",
        help="start from this model (a .sqz, .pth, .net or .safetensors file, a run folder or a name) and replace its "
        "last layer if the classes differ (default: imagenet); or the name of a network to train from scratch (see "
        "`squeezenet models`)",
    )  # fmt: skip
    scratch = "start from random weights, even if --model names a model that was downloaded"
    network.add_argument("--from-scratch", action="store_true", help=scratch)
    network.add_argument("--weights", metavar="RUN", help="start from the weights of another run with the same network")
    network.add_argument("--teacher", metavar="MODEL", help="also imitate this trained model (distillation)")

    how = parser.add_argument_group("training")
    how.add_argument(
        "--recipe", metavar="FILE",
        help="finetune, modern, paper, or a .toml file (from recipes/, or RUN/recipe.toml); default: finetune if "
        "training starts from a model, else modern",
    )  # fmt: skip
    how.add_argument(
        "--epochs", type=positive, metavar="N",
        help="passes over the images (default: as in the recipe; finetune makes more passes if there are fewer images)",
    )  # fmt: skip
    how.add_argument("--micro-batch", type=natural, metavar="N", help="images per forward pass; 0: the whole batch")
    add_training(images, how)

    machine = parser.add_argument_group("the machine")
    often = "seconds between checkpoints (default: so that checkpoints take 2%% of the time)"
    machine.add_argument("--checkpoint-every", type=not_negative, metavar="SECONDS", help=often)
    machine.add_argument("--workers", type=count, metavar="N", help="number of threads that decode images")
    machine.add_argument("--compile", action="store_true", help="compile the network (torch.compile)")
    machine.add_argument(
        "--gradients", choices=("float32", "bf16"), default="float32",
        help="number format for exchanging gradients under torchrun (default: %(default)s; bf16 needs half the bytes)",
    )  # fmt: skip


def run(args: Namespace) -> dict[str, Any]:
    """Train; the JSON object of this verb."""
    from squeezenet.cli.train_run import train_as_asked

    return train_as_asked(args)


def render(result: dict[str, Any]) -> str:
    speed = f"{counted(result['epochs'], 'epoch')}, {result['images_per_second']:,.0f} images/s"
    lines = [
        described(result),
        f"{result['parameters']:,} parameters, {speed}",
        f"files: {', '.join(result['files'])}",
        "tensorboard --logdir " + result["tensorboard"],
        f"next: {result['next']}",
    ]
    if result["skipped_images"]:
        lines.insert(1, f"{counted(result['skipped_images'], 'image')} could not be read")
    return "\n".join(lines)
