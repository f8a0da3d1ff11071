"""The depth of the stack, read from listings of machine code (the boards' own programs: test_exported_c.py)."""

from textwrap import dedent

import pytest

from squeezenet.errors import ModelError
from squeezenet.export.c.stack import deepest, functions, pointers

ARM = """
00000000 <a>:
   0:\tpush\t{r4, r5, lr}
   2:\tsub.w\tsp, sp, #1000\t@ 0x3e8
   6:\tcbz\tr0, 14 <a+0x14>
   8:\tbl\t40 <leaf>
   c:\tadd.w\tsp, sp, #1000\t@ 0x3e8
  10:\tldmia.w\tsp!, {r4, r5, pc}
  14:\tadd.w\tsp, sp, #1000\t@ 0x3e8
  18:\tldmia.w\tsp!, {r4, r5, lr}
  1c:\tb.w\t60 <large>
  20:\t.word\t0x00000040

00000040 <leaf>:
  40:\tvpush\t{d8-d11}
  44:\tstr.w\tr4, [sp, #-4]!
  48:\tldr.w\tr4, [sp], #4
  4c:\tvpop\t{d8-d11}
  50:\tbxeq\tlr
  52:\tbx\tlr

00000060 <large>:
  60:\tsubw\tsp, sp, #1500\t@ 0x5dc
  64:\taddw\tsp, sp, #1500\t@ 0x5dc
  68:\tbx\tlr

00000080 <table>:
  80:\tpush\t{r3, lr}
  82:\ttbb\t[pc, r0]
  86:\t.short\t0x0302
  88:\tpop\t{r3, pc}
  8a:\tblx\tr3
  8c:\tpop\t{r3, pc}
"""

RISCV = """
80000000 <a>:
80000000:\tadd\tsp,sp,-2032
80000004:\tadd\tsp,sp,-16
80000008:\tbeqz\ta0,80000012 <a+0x12>
8000000c:\tjal\t80000040 <b>
80000010:\tjalr\ta5
80000012:\tadd\tsp,sp,2032
80000016:\tadd\tsp,sp,16
8000001a:\tj\t80000040 <b>

80000040 <b>:
80000040:\tadd\tsp,sp,-16
80000044:\tsw\tra,12(sp)
80000048:\tadd\tsp,sp,16
8000004c:\tret
"""


def test_a_call_adds_the_depth_at_which_it_stands() -> None:
    program = functions(ARM)
    assert deepest(program, {}, ["leaf"]) == 4 * 8 + 4
    assert deepest(program, {}, ["a"]) == max(12 + 1000 + 36, 1500)
    assert deepest(program, {}, ["leaf", "large"]) == 1500
    assert deepest(functions(RISCV), {}, ["a"]) == 2048 + 16
    assert deepest(functions(RISCV), {"a": {"large"}}, ["a"]) == 2048 + 16  # a function that the linker has removed


def test_a_call_through_a_pointer_reaches_what_the_member_is_set_to() -> None:
    graph = 'edge: { sourcename: "x.c:table" targetname: "__indirect_call" label: "x.c:2:5" }\n'
    sources = {"x.c": "\n    task.op->finish(1, 2);", "model.c": "{.work = leaf, .finish = large, .block = a}"}
    reached = pointers([graph], sources)
    assert reached == {"table": {"large"}}
    assert deepest(functions(ARM), reached, ["table"]) == 8 + 1500
    with pytest.raises(ModelError, match=r"x\.c:2: calls a pointer that is no member"):
        pointers([graph], {"x.c": "\n    (*f)(1);    "})
    with pytest.raises(ModelError, match=r"x\.c:2: calls finish, which no file sets"):
        pointers([graph], {"x.c": "\n    op->finish(1);"})


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("bl\t0 <a>", "a: calls itself"),
        ("sub\tsp, r3", r"a: its stack has no fixed size \(sub sp, r3\)"),
        ("mov\tsp, r7", "a: its stack has no fixed size"),
        ("push\t{r4}\n   2:\tb.n\t0 <a>", "a: its stack has no fixed size"),
    ],
)
def test_programs_without_a_largest_depth_are_refused(code: str, said: str) -> None:
    listing = dedent(f"""\
        00000000 <a>:
           0:\t{code.replace(chr(10), chr(10) + "        ")}
           4:\tbx\tlr
        """)
    with pytest.raises(ModelError, match=said):
        deepest(functions(listing), {}, ["a"])
