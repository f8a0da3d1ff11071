"""Numbers and sizes as people write them on a command line."""

from argparse import ArgumentTypeError

import pytest

from squeezenet.cli import arguments


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("350000", 350_000), ("350_000", 350_000), ("350,000", 350_000), ("50k", 50_000), ("300kB", 300_000),
        ("300 KB", 300_000), ("1.5MB", 1_500_000), ("1.1m", 1_100_000), ("64KiB", 65_536), ("2 gib", 2**31), ("1b", 1),
    ],
)  # fmt: skip
def test_sizes_as_people_write_them(text, value):
    assert arguments.size(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "0", "-5", "many", "1,5MB", "1.5", "0.0001kB", "35,00", "1e99", "9" * 5000, "nan", "5 apples", "5mib b", "²"],
)
def test_sizes_that_are_none(text):
    with pytest.raises(ArgumentTypeError, match="must be bytes, as in"):
        arguments.size(text)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (arguments.whole, ["-3", "0", "1_000"], ["", "1.5", "x", "9" * 5000, "9" * 30]),
        (arguments.count, ["1"], ["0", "-1", "1.5"]),
        (arguments.natural, ["0"], ["-1"]),
        (arguments.number, ["-1.5", "1e3"], ["nan", "inf", "-inf", "", "x"]),
        (arguments.positive, ["1e-9"], ["0", "-1", "nan", "inf"]),
        (arguments.not_negative, ["0"], ["-0.1", "nan"]),
        (arguments.amount, ["50M", "50,000,000"], ["50MB", "50Mi", "0"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_numbers(kind, good, bad):
    for text in good:
        kind(text)
    for text in bad:
        with pytest.raises(ArgumentTypeError):
            kind(text)
