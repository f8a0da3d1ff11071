"""Settings: dataclass -> TOML -> dataclass, `--set`, and what is said of mistakes."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezenet.errors import UsageError
from squeezenet.settings import from_table, read_toml, split, to_table, written


@dataclass(frozen=True)
class Crop:
    pad: int = 0
    sides: tuple[int, int] = (32, 32)


@dataclass(frozen=True)
class Plan:
    rate: float = 0.1
    mode: Literal["fast", "32"] | None = "fast"
    steps: int | None = 5
    file: str | None = None
    exact: bool = False
    widths: tuple[float, ...] = ()
    shares: Mapping[str, int] = field(default_factory=dict)
    crop: Crop = field(default_factory=Crop)
    second: Crop | None = None

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise UsageError(f"rate {self.rate}: must not be negative")


def with_settings(plan, texts):
    return from_table(plan, split(texts), "--set ", text=True)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CROPS = st.builds(Crop, pad=st.integers(-9, 9), sides=st.tuples(st.integers(0, 99), st.integers(0, 99)))
PLANS = st.builds(
    Plan,
    rate=st.floats(0, 1e30) | st.just(float("inf")),
    mode=st.sampled_from(["fast", "32", None]),
    steps=st.none() | st.integers(-(2**63), 2**63 - 1),
    file=st.none() | WORDS | st.just("none"),
    exact=st.booleans(),
    widths=st.lists(st.floats(allow_nan=False), max_size=3).map(tuple),
    shares=st.dictionaries(WORDS, st.integers(0, 9), max_size=3),
    crop=CROPS,
    second=st.none() | CROPS,
)


@given(PLANS, st.booleans())
def test_what_is_written_is_read_as_the_same_value(plan, compact):
    base = Plan() if compact else None
    table = tomllib.loads(written(to_table(plan, base)))
    assert from_table(Plan, table, "plan.toml: ") == plan
    if compact:
        assert set(table) == {f.name for f in fields(Plan) if getattr(plan, f.name) != getattr(base, f.name)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rat = 1", "plan.toml: rat: no such setting; did you mean rate? known are crop, exact, "),
        ("rate = 'x'", "plan.toml: rate = 'x': must be a number"),
        ("rate = true", "plan.toml: rate = True: must be a number"),
        ("rate = -1", "plan.toml: rate -1.0: must not be negative"),
        ("steps = 1.5", "plan.toml: steps = 1.5: must be a whole number"),
        ("steps = true", "plan.toml: steps = True: must be a whole number"),
        ("mode = 32", "plan.toml: mode = 32: must be one of fast, 32"),
        ("file = 3", "plan.toml: file = 3: must be a string"),
        ("exact = 1", "plan.toml: exact = 1: must be true or false"),
        ("crop = 1", "plan.toml: crop = 1: must be a table"),
        ("[crop]\npda = 1", "plan.toml: crop.pda: no such setting; did you mean pad? known are pad, sides"),
        ("[second]\npad = ''", "plan.toml: second.pad = '': must be a whole number"),
        ("[crop]\nsides = [1]", "plan.toml: crop.sides = [1]: Expected `array` of length 2, got 1"),
        ("rate = = 1", "is not TOML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_setting(tmp_path, text, said):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        from_table(Plan, read_toml(path), f"{path.name}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_number_is_a_number():
    assert type(from_table(Plan, {"rate": 2}, "").rate) is float


def test_a_field_without_a_default_must_be_given():
    @dataclass(frozen=True)
    class Needs:
        size: int

    with pytest.raises(UsageError, match="size"):
        from_table(Needs, {}, "needs.toml: ")


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("rate=.5", Plan(rate=0.5)), ("rate=1e-3", Plan(rate=0.001)), ("mode=32", Plan(mode="32")),
        ("mode=none", Plan(mode=None)), ("steps=none", Plan(steps=None)), ("file=a=b", Plan(file="a=b")),
        ("file=none", Plan(file="none")), ("exact=true", Plan(exact=True)),
        ("widths=[1, 2.5]", Plan(widths=(1.0, 2.5))), ("crop.pad=2", Plan(crop=Crop(pad=2))),
        ("second.sides=[3, 4]", Plan(second=Crop(sides=(3, 4)))),
        ("shares={a = 1}", Plan(shares={"a": 1})),
    ],
)  # fmt: skip
def test_settings_on_the_command_line_change_one_field(text, plan):
    assert with_settings(Plan(), [text]) == plan
    assert with_settings(plan, []) == plan


def test_several_settings_are_set_together():
    texts = ["crop.pad=2", "crop.sides=[1, 2]", "rate=3"]
    assert with_settings(Plan(), texts) == Plan(rate=3.0, crop=Crop(2, (1, 2)))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["steps"], "--set steps: write NAME=VALUE"),
        (["steps=x"], "--set steps = 'x': must be a whole number"),
        (["exact=yes"], "--set exact = 'yes': must be true or false"),
        (["mode=slow"], "--set mode = 'slow': must be one of fast, 32"),
        (["crop=3"], "--set crop = '3': must be a table"),
        (["crop.pads=3"], "--set crop.pads: no such setting; did you mean pad?"),
        (["crop=3", "crop.pad=4"], "--set crop.pad=4: write NAME=VALUE"),
        (["rate=-1"], "--set rate -1.0: must not be negative"),
        (["shares={"], "--set shares = '{': "),
    ],
)
def test_wrong_settings_on_the_command_line_are_refused(texts, said):
    with pytest.raises(UsageError) as caught:
        with_settings(Plan(), texts)
    assert said in str(caught.value)
