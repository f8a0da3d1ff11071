"""Text: exact, the same bytes from Python and from C, small, deaf to damage; and texts of version 1 are still read."""

import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezenet import sqz, zoo
from squeezenet.errors import BadStream, FormatError
from squeezenet.limits import FREE_TEXT, MAX_MIXED_TEXT, MAX_TEXT, TEXT_A_BYTE
from squeezenet.sqz import file, huffman, mixed_text, text
from squeezenet.sqz.cursor import Cursor, put_varint
from squeezenet.sqz.levels import HAS_ENGINE
from support import ROOT, hostile
from support.hostile import varint

needs_engine = pytest.mark.skipif(not HAS_ENGINE, reason="the C engine was not built here")

texts = st.one_of(
    st.binary(max_size=200),
    st.text("ab", max_size=300).map(str.encode),
    st.text(max_size=60).map(str.encode),
    st.lists(st.sampled_from(["Tabby cat", "tiger cat", "\0", ", ", "features.3.squeeze"]), max_size=40).map(
        lambda words: "".join(words).encode()
    ),
)


def in_python(packed: bytes) -> bytes:
    """`text.unpack` where there is no engine."""
    cursor = Cursor(packed)
    length = cursor.varint()
    return mixed_text.decode(cursor.take(cursor.left), length)


@given(texts)
@settings(max_examples=60, deadline=None)
def test_texts_come_back_from_the_bytes_that_both_implementations_write(raw: bytes) -> None:
    packed = text.pack(raw)
    assert packed == varint(len(raw)) + mixed_text.encode(raw)
    assert text.unpack(Cursor(packed), 2) == raw == in_python(packed)


def test_the_text_of_a_model_is_the_same_in_both_implementations() -> None:
    """Longer than any match, with each kind of context many times."""
    raw = file._text(sqz.read(zoo.find("imagenet")))[:6000]
    packed = text.pack(raw)
    assert packed == varint(len(raw)) + mixed_text.encode(raw)
    assert in_python(packed) == raw


def test_without_the_engine_everything_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = b"goldfish, Carassius auratus\0tench, Tinca tinca\0" * 3
    packed = text.pack(raw)
    monkeypatch.setattr(text, "HAS_ENGINE", False)
    assert text.pack(raw) == packed
    assert text.unpack(Cursor(packed), 2) == raw
    for damaged in (packed[:-1], packed + b"\0"):
        with pytest.raises(BadStream):
            text.unpack(Cursor(damaged), 2)


def test_golden_streams() -> None:
    """Once released, a stream is read for ever. If this fails, the coder is wrong, not the bytes."""
    assert text.pack(b"").hex() == GOLDEN_NOTHING
    assert text.pack(b"tabby cat, tiger cat\0").hex() == GOLDEN_CATS
    assert text.pack(bytes(range(256))).hex()[:64] == GOLDEN_BYTES


def test_the_specification_has_the_same_primer() -> None:
    page = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    printed = page[page.index("features.3.squeeze<0>") :]
    assert printed[: printed.index("\n```")].replace("<0>", "\0").encode() == mixed_text.PRIMER
    assert f"`{zlib.crc32(mixed_text.PRIMER):08X}`" in page


GOLDEN_NOTHING = "0000"
GOLDEN_CATS = "15087f8da21830949ed256cc179b"
GOLDEN_BYTES = "8002ffdd861bf6a1f967e792c702997ac6339c50ebb59f1e9d6356a35faa50a1"


def test_texts_of_models_are_smaller_than_with_deflate() -> None:
    for name, most in (("imagenet", 0.82), ("digits", 0.4)):
        raw = file._text(sqz.read(zoo.find(name)))
        assert len(text.pack(raw)) < most * len(zlib.compress(raw, 9))


def test_noise_takes_little_more_than_its_own_size() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes()
    assert len(text.pack(noise)) < 1.05 * len(noise)
    assert text.unpack(Cursor(text.pack(noise)), 2) == noise


# Damage

SOME = text.pack(b"".join(b"label %d, number %d\0" % (i, 7 * i) for i in range(40)))


def outcome(packed: bytes) -> bytes | type[FormatError]:
    """What either implementation makes of it: the same text or the same error."""
    results: list[bytes | type[FormatError]] = []
    for unpack in (lambda: text.unpack(Cursor(packed), 2), lambda: in_python(packed)):
        try:
            results.append(unpack())
        except BadStream as error:
            results.append(type(error))
    assert results[0] == results[1]
    return results[0]


def test_a_text_cut_short_and_one_that_goes_on_are_refused() -> None:
    for length in (2, 3, 10, len(SOME) - 2, len(SOME) - 1):
        assert outcome(SOME[:length]) is BadStream
    assert outcome(SOME + b"\0") is BadStream


@given(st.binary(max_size=60), st.integers(0, 300))
@settings(deadline=None)
def test_random_bytes_give_a_text_or_a_format_error(stream: bytes, length: int) -> None:
    found = outcome(varint(length) + stream)
    assert isinstance(found, type) or len(found) == length


@given(st.integers(16, 8 * (len(SOME) - 4) - 1))
@settings(max_examples=20, deadline=None)
def test_a_flipped_bit_gives_another_text_or_a_format_error(bit: int) -> None:
    damaged = bytearray(SOME)
    damaged[bit // 8] ^= 1 << bit % 8
    assert outcome(bytes(damaged)) != outcome(SOME)


@pytest.mark.parametrize(("version", "most"), [(1, MAX_TEXT), (2, MAX_MIXED_TEXT)])
def test_a_text_over_its_limit_is_refused_before_it_is_decoded(version: int, most: int) -> None:
    for length, bytes_of_section in ((FREE_TEXT + TEXT_A_BYTE * 100 + 1, 100), (most + 1, most // 32)):
        section = varint(length)
        with pytest.raises(BadStream, match="limit"):
            text.unpack(Cursor(section + bytes(bytes_of_section - len(section))), version)


@needs_engine
def test_the_longest_text_of_a_short_section_takes_little_time() -> None:
    """A stream of ones is the longest: each bit has the largest probability."""
    section = varint(FREE_TEXT + TEXT_A_BYTE * 1000)
    start = time.process_time()
    with pytest.raises(BadStream):
        text.unpack(Cursor(section + bytes(1000 - len(section))), 2)
    assert time.process_time() - start < 1


# Version 1

tokens_of_version_1 = st.lists(
    st.integers(0, 255) | st.tuples(st.integers(4, 67), st.integers(1, 300)), min_size=1, max_size=60
)


def packed_by_tokens(tokens: list[int | tuple[int, int]]) -> tuple[bytes, bytes]:
    """A text, and its section in version 1. A token is a byte, or the size of a match and its distance."""
    raw, symbols, distances = bytearray(), [], []
    for token in tokens:
        if isinstance(token, int):
            raw.append(token)
            symbols.append(token)
        elif token[1] <= len(raw):
            for _ in range(token[0]):
                raw.append(raw[-token[1]])
            symbols.append(256 + token[0] - 4)
            distances.append(token[1] - 1)
    far = np.array(distances, np.int64)
    out = bytearray()
    put_varint(out, len(raw))
    put_varint(out, len(symbols))
    for stream in (np.array(symbols, np.int64), far & 255, far >> 8):
        out += huffman.encode(stream)
    return bytes(raw), bytes(out)


@given(tokens_of_version_1)
@settings(max_examples=60)
def test_texts_of_version_1(tokens: list[int | tuple[int, int]]) -> None:
    raw, section = packed_by_tokens(tokens)
    cursor = Cursor(section + b"next")
    assert text.unpack(cursor, 1) == raw
    assert cursor.left == 4
    if HAS_ENGINE:
        data = bytearray(hostile.sqz(b"", section))
        data[4] = 1
        assert text._engine.text(data) == raw


def test_the_files_that_ship_have_the_same_text_in_version_2(tmp_path: Path) -> None:
    path = tmp_path / "again.sqz"
    model = sqz.read(zoo.find("digits"))
    sqz.write(model, path)
    again = sqz.read(path)
    assert (again.labels, again.provenance) == (model.labels, model.provenance)
