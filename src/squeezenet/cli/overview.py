"""The text that `squeezenet` without a verb prints: three examples, and the verbs in groups."""

from collections.abc import Mapping

from squeezenet.version import __version__

EXAMPLES = """\
squeezenet classify photo.jpg                           # most probable labels
squeezenet train --data photos/ --out run               # photos/CLASS/*.jpg
squeezenet compress run --data photos/ --out birds.sqz  # one small file
"""

GROUPS = {
    "use a model": ("classify", "serve", "inspect", "export", "models", "pull"),
    "make a model": ("train", "evaluate", "compress", "convert", "data"),
    "ship updates": ("delta", "apply", "fleet"),
    "study networks": ("explore", "reproduce"),
    "try and check this installation": ("demo", "doctor"),
}


def overview(verbs: Mapping[str, str]) -> str:
    """The text; `verbs` maps each name to its one-line help."""
    examples = "\n".join(f"  {line}" for line in EXAMPLES.splitlines())
    blocks = [f"squeezenet {__version__}: train image classifiers, squeeze them, ship one file.", examples]
    blocks += ["\n".join([f"{what}:", *(f"  {name:<10} {verbs[name]}" for name in GROUPS[what])]) for what in GROUPS]
    return "\n\n".join([*blocks, "squeezenet VERB --help shows what a verb takes, with examples."])
