"""Fire modules in a graph, and the names that the SqueezeNet paper gives to layers (arXiv 1602.07360, section 3).

>>> from squeezenet.graph import Flatten
>>> ops = (Conv((0,), "a", 2, (1, 1)), Conv((1,), "b", 4, (1, 1)), Conv((1,), "c", 4, (3, 3), padding=(1, 1)))
>>> graph = Graph((3, 8, 8), (*ops, Concat((2, 3)), Flatten((4,))))
>>> paper_names(graph)
{'a': 'fire1/squeeze1x1', 'b': 'fire1/expand1x1', 'c': 'fire1/expand3x3'}
"""

from dataclasses import asdict, dataclass

from squeezenet.graph import Add, Concat, Conv, Graph, ReLU


@dataclass(frozen=True)
class Fire:
    """The names of the layers of one Fire module; the fields are the paper's names."""

    squeeze1x1: str
    expand1x1: str
    expand3x3: str
    bypass: str = ""


def fire_modules(graph: Graph) -> list[Fire]:
    """The Fire modules of any graph, in the order they run, so that the paper's fire2 is the first.

    A module is found by its form: a 1x1 convolution whose ReLU feeds a 1x1 and a 3x3 convolution that are concatenated.
    """
    by_value = {i + 1: op for i, op in enumerate(graph.ops)}
    adds = [op for op in graph.ops if isinstance(op, Add)]

    def conv_before(value: int) -> Conv | None:
        op = by_value.get(value)
        if isinstance(op, ReLU):
            op = by_value.get(op.inputs[0])
        return op if isinstance(op, Conv) else None

    found = []
    for value, op in by_value.items():
        if not isinstance(op, Concat) or len(op.inputs) != 2:
            continue
        e1, e3 = (conv_before(i) for i in op.inputs)
        if e1 is None or e3 is None or e1.inputs != e3.inputs or (e1.kernel, e3.kernel) != ((1, 1), (3, 3)):
            continue
        squeeze = conv_before(e1.inputs[0])
        if squeeze is None or squeeze.kernel != (1, 1):
            continue
        others = [by_value.get(i) for add in adds if value in add.inputs for i in add.inputs if i != value]
        bypass = next((o.name for o in others if isinstance(o, Conv)), "")
        found.append(Fire(squeeze.name, e1.name, e3.name, bypass))
    return found


def paper_names(graph: Graph) -> dict[str, str]:
    """Layer name -> the paper's name for it (`conv1`, `fire2/squeeze1x1`, ... `conv10`), where the paper has one.

    Layers outside Fire modules are numbered in the same sequence. Without Fire modules all names stay as they are.
    """
    fires = {fire.squeeze1x1: fire for fire in fire_modules(graph)}
    names = {op.name: op.name for op in graph.layers}
    if not fires:
        return names
    inside: set[str] = set()
    number = 0
    for op in graph.layers:
        if op.name in inside:
            continue
        number += 1
        fire = fires.get(op.name)
        if fire is None:
            kind = "conv" if isinstance(op, Conv) else "fc"
            names[op.name] = f"{kind}{number}"
            continue
        for part, name in asdict(fire).items():
            if name:
                names[name] = f"fire{number}/{part}"
                inside.add(name)
    return names
