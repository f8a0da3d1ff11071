"""How much stack a program takes, read from its machine code.

>>> deepest(*functions(listing), {}, ["model_row"])                     # doctest: +SKIP
6044

`listing` is what `objdump -d` prints of the linked program. We follow the instructions of each function, and count how
far the stack pointer has moved. A call adds the depth at which it stands: a call in the last position, after the
function has removed its frame, adds nothing. For a call through a pointer, such as `op->work(...)`, `pointers` finds
the functions to which the exported folder sets this member of a struct.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from squeezenet.errors import ModelError

FUNCTION = re.compile(r"^([0-9a-f]+) <(\S+)>:$")
INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(\S+)\s*(.*?)(?:\s+[@#;] .*)?$")
TARGET = re.compile(r"\b([0-9a-f]+) <")

CONDITION = "(?:eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)"
RETURN = re.compile(
    rf"(?:ret|mret|(?:bx|jr)({CONDITION})? (?:lr|ra)|(?:pop|ldmia)({CONDITION})? .*\bpc\}}|ldr pc, \[sp\], #4)$"
)
BRANCH = re.compile(rf"(?:b{CONDITION}|cbn?z|le|wls|beqz|bnez|b(?:lt|ge|gt|le)[uz]) ")
JUMP = re.compile(r"(?:b|j) ")
CALL = re.compile(r"(?:bl|jal) ")
CALL_OF_POINTER = re.compile(r"(?:blx|jalr) \w+$")
JUMP_TO_POINTER = re.compile(r"(?:bx|jr) \w+$")
"""A call in the last position. `jr` may also jump to an address from a table."""
JUMP_BY_TABLE = re.compile(r"(?:tbb|tbh|jr) ")

PUSH = re.compile(r"(v?)(?:push|stmdb sp!,) \{(.*)\}$")
POP = re.compile(r"(v?)(?:pop|ldmia sp!,) \{(.*)\}$")
ADD = re.compile(r"addw?i? sp,\s?(?:sp,\s?)?#?(-?\d+)$")
SUBTRACT = re.compile(r"subw? sp, (?:sp, )?#(\d+)$")
STORE = re.compile(r"strd? .*\[sp, #-(\d+)\]!$")
LOAD = re.compile(r"ldrd? .*\[sp\], #(\d+)$")
OTHER = re.compile(r"(?!cmp|cmn|tst|st|s[bhw] )\w+ sp\b|.*\bsp!|.*\[sp.*\]!|.*\[sp\], ")
"""Other instructions that change the stack pointer."""

POINTER = re.compile(r'sourcename: "(?:[^":]*:)?([^":]+)" targetname: "__indirect_call" label: "(.+):(\d+):(\d+)"')
"""A call through a pointer, as GCC reports it (-fcallgraph-info): caller, and file, line and column of the call."""
MEMBER = re.compile(r"[\w.\[\]>-]*(?:->|\.)(\w+)\(")
SET = re.compile(r"\.(\w+) = (\w+)\b")


@dataclass(frozen=True)
class Function:
    """A function of a linked program, by addresses; see `functions`."""

    name: str
    code: dict[int, str]
    """Address → instruction with its operands, without what objdump appends."""


@dataclass(frozen=True)
class Site:
    """A call: the bytes of stack in use there, and the address of the function; None: it calls through a pointer."""

    depth: int
    target: int | None


def functions(listing: str) -> dict[int, Function]:
    """All functions by their addresses, from the output of `objdump -d --no-show-raw-insn`."""
    found: dict[int, Function] = {}
    code: dict[int, str] = {}
    for line in listing.splitlines():
        if begin := FUNCTION.match(line):
            code = {}
            found[int(begin[1], 16)] = Function(begin[2], code)
        elif (match := INSTRUCTION.match(line)) and not match[2].startswith("."):  # .word and others: numbers
            name = match[2].removesuffix(".n").removesuffix(".w")
            code[int(match[1], 16)] = f"{name} {match[3]}".rstrip()
    return found


def pointers(graphs: Iterable[str], sources: Mapping[str, str]) -> dict[str, set[str]]:
    """For each function that calls through pointers, the functions that it may reach.

    `graphs` are the files that GCC writes with -fcallgraph-info, `sources` the C files and headers by their paths.

    >>> graph = 'edge: { sourcename: "run" targetname: "__indirect_call" label: "run.c:2:7" }'
    >>> pointers([graph], {"run.c": "\\n  if (op->work(1)) {}", "model.c": "{.work = add}, {.load = mul}"})
    {'run': {'add'}}
    """
    held: dict[str, set[str]] = {}
    for text in sources.values():
        for member, value in SET.findall(text):
            held.setdefault(member, set()).add(value)
    reached: dict[str, set[str]] = {}
    for graph in graphs:
        for caller, path, line, column in POINTER.findall(graph):
            rest = sources[path].split("\n", int(line) - 1)[-1][int(column) - 1 :]
            member = MEMBER.match(rest)
            if not member:
                raise ModelError(f"{path}:{line}: calls a pointer that is no member of a struct")
            if member[1] not in held:
                raise ModelError(f"{path}:{line}: calls {member[1]}, which no file sets to a function")
            reached.setdefault(caller, set()).update(held[member[1]])
    return reached


def deepest(program: Mapping[int, Function], reached: Mapping[str, set[str]], entries: Iterable[str]) -> int:
    """The bytes of stack along the deepest chain of calls from any of the functions `entries`.

    `reached`: see `pointers`. Raises `ModelError` if a function calls itself, or if its frame has no fixed size.
    """
    addresses: dict[str, list[int]] = {}
    for address, function in program.items():
        addresses.setdefault(function.name, []).append(address)
    above: list[str] = []

    @cache
    def depth(address: int) -> int:
        function = program[address]
        if function.name in above:
            raise ModelError(f"{function.name}: calls itself")
        above.append(function.name)
        own, sites = _followed(address, function)
        others = [each for name in reached.get(function.name, ()) for each in addresses.get(name, ())]
        for site in sites:
            for target in others if site.target is None else [site.target]:
                own = max(own, site.depth + depth(target))
        above.pop()
        return own

    return max(depth(address) for name in entries for address in addresses[name])


def _followed(begin: int, function: Function) -> tuple[int, list[Site]]:
    """The most bytes of stack that a function itself uses, and its calls."""
    code = function.code
    following = dict(zip(code, [*code][1:], strict=False))
    depths: dict[int, int] = {}
    sites: list[Site] = []
    table: int | None = None  # the depth at a jump by a table
    left = [(begin, 0)]
    while left:
        at, depth = left.pop()
        if at in depths:
            if depths[at] != depth:
                raise ModelError(f"{function.name}: its stack has no fixed size")
        else:
            depths[at] = depth
            text = code[at]
            depth += _moved(function.name, text)
            found = TARGET.search(text)
            target = (
                int(found[1], 16) if found and (BRANCH.match(text) or JUMP.match(text) or CALL.match(text)) else None
            )
            if target in code and not CALL.match(text):
                left.append((target, depth))
            elif target is not None:
                sites.append(Site(depth, target))
            returned = RETURN.match(text)
            if JUMP_BY_TABLE.match(text) and not returned:
                table = depth
            if CALL_OF_POINTER.match(text) or (JUMP_TO_POINTER.match(text) and not returned):
                sites.append(Site(depth, None))
            ends = JUMP.match(text) or (returned and not any(returned.groups()))
            ends = ends or ((JUMP_TO_POINTER.match(text) or JUMP_BY_TABLE.match(text)) and not returned)
            if at in following and not ends:
                left.append((following[at], depth))
        if not left and table is not None:  # what no branch reaches, the table does
            left = [(each, table) for each in code if each not in depths][:1]
    return max(depths.values(), default=0), sites


def _moved(function: str, text: str) -> int:
    """By how many bytes an instruction makes the stack deeper."""
    if RETURN.match(text):
        return 0
    if match := PUSH.match(text):
        return _bytes(match[1], match[2])
    if match := POP.match(text):
        return -_bytes(match[1], match[2])
    if match := SUBTRACT.match(text) or STORE.match(text):
        return int(match[1])
    if match := ADD.match(text) or LOAD.match(text):
        return -int(match[1])
    if OTHER.match(text):
        raise ModelError(f"{function}: its stack has no fixed size ({text})")
    return 0


def _bytes(vectors: str, registers: str) -> int:
    """Of a list of registers: 4 each, or 8 if they hold a part of a vector.

    >>> _bytes("", "r4, r5, lr"), _bytes("v", "d8-d11")
    (12, 32)
    """
    count = 0
    for part in registers.split(","):
        first, _, last = part.strip().partition("-")
        count += int(last[1:]) - int(first[1:]) + 1 if last else 1
    return count * (8 if vectors else 4)
