"""The C engine: the same logits as NumPy, every bit of them, on every path; and that no file can hurt it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezenet import sqz
from squeezenet.errors import FormatError
from squeezenet.fixed_point import Scale
from squeezenet.graph import Conv, Multiply, ReLU, Select, shortest
from squeezenet.model import FloatArray, Model
from squeezenet.runtime import engine
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import Runner
from squeezenet.runtime.run import NUMPY, runner
from support.damage import repaired
from support.engine_networks import EVERY_SUM, FILES, Builder, by_symbols, fire, network, normalised

needs_engine = pytest.mark.skipif(not PATHS, reason="the C engine was not built here")
on_every_path = pytest.mark.parametrize("path", PATHS)


@on_every_path
@pytest.mark.parametrize("name", EVERY_SUM)
def test_every_path_gives_the_same_logits_for_any_number_of_threads(name: str, path: str) -> None:
    model = EVERY_SUM[name]()
    images = Builder(9, model.preparation.crop).images(3)
    images[0, :, 0, :3] = 1e30, -np.inf, 4.5  # off every scale
    expected = IntegerRunner(model)(images)
    assert len(np.unique(expected)) > 3
    for threads in (1, 2, 5):
        found = runner(model, threads, path)(images)
        assert np.array_equal(found, expected), threads


@st.composite
def layers(draw: st.DrawFn) -> Model:
    """One convolution of any shape behind one that gives it as many channels as it wants."""

    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    b = Builder(number(0, 10**6), number(1, 12), draw(st.sampled_from(["L", "RGB"])))
    b.largest = draw(st.sampled_from([127, 20, 4, 1]))
    groups = draw(st.sampled_from([1, 1, 2, 5, 8]))
    inside, out = groups * number(1, 9), groups * draw(st.sampled_from([1, 7, 8, 16, 19, 33, 70, 129]))
    if draw(st.booleans()) and groups > 1:
        groups = out = inside
    x = b.layer(Conv((0,), "first", inside, (1, 1)), b.scale(nine_bit=groups == 1 and draw(st.booleans())))
    padding = number(0, 3), number(0, 3), number(0, 3), number(0, 3)
    around = [b.preparation.crop + padding[side] + padding[side + 2] for side in (0, 1)]
    kernel = tuple(number(1, min(5, n)) for n in around)
    dilation = tuple(number(1, (n - 1) // (k - 1)) if k > 1 else 1 for n, k in zip(around, kernel, strict=True))
    op = Conv((x,), "second", out, kernel, (number(1, 3), number(1, 3)), shortest(padding), groups, dilation)
    x = b.layer(op, b.scale(wide=draw(st.sampled_from([False, False, True]))))
    if groups == 1 and draw(st.booleans()):
        b.scales[x] = replace(b.scales[x], zero=0, wide=False, nine_bit=True)
        x = b.layer(Conv((b.put(ReLU((x,))),), "third", 9, (1, 1)))
    return b.finish(b.put(ReLU((x,), cap=draw(st.sampled_from([0.0, 1.0])))) if not b.scales[x].wide else x)


@needs_engine
@given(layers())
@settings(max_examples=60)
def test_convolutions_of_any_shape(model: Model) -> None:
    images = Builder(0, model.preparation.crop, model.preparation.channels).images(1)
    expected = IntegerRunner(model)(images)
    data = sqz.encode(model)
    for path in PATHS:
        assert np.array_equal(EngineRunner(data, 2, path)(images), expected), path


@needs_engine
@given(st.integers(0, 10**6))
@settings(max_examples=60)
def test_graphs_of_any_shape(seed: int) -> None:
    model = network(seed)
    images = Builder(seed, model.preparation.crop).images(2)
    expected = IntegerRunner(model)(images)
    data = sqz.encode(model)
    for path in PATHS:
        assert np.array_equal(EngineRunner(data, 3, path)(images), expected), path


def check_damaged(data: bytes, text_may_differ: bool) -> None:
    """The engine refuses what Python refuses, and computes what Python computes."""
    try:
        model = sqz.decode(data)
    except FormatError:
        if not text_may_differ:
            with pytest.raises(FormatError):
                engine._engine.Network(data)
        return
    if sum(model.graph.macs()) > 10**7:
        return
    images = np.zeros((1, *model.graph.input_shape), np.float32)
    for path in PATHS:
        found = EngineRunner(data, 1, path)(images)
        assert not model.scales or np.array_equal(found, IntegerRunner(model)(images))


def check_floats(model: Model, data: bytes, images: FloatArray) -> None:
    expected = Runner(model)(images)
    for path in PATHS:
        found = EngineRunner(data, 1, path)(images)
        # A capped ReLU makes the logits smaller than the sums in which the two differ.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert np.array_equal(EngineRunner(data, 3, path)(images), found)


@needs_engine
def test_floats_in_every_coding() -> None:
    model = normalised()
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 9, 9)).astype(np.float32)
    for data in (sqz.encode(model), by_symbols(model)):
        check_floats(model, data, images)


@needs_engine
@given(st.integers(0, 10**6))
@settings(max_examples=15)
def test_graphs_of_floats(seed: int) -> None:
    model = network(seed).dequantised()
    check_floats(model, sqz.encode(model), Builder(seed, model.preparation.crop).images(2) / 10)


@needs_engine
@given(st.sampled_from(FILES), st.binary(min_size=1, max_size=8), st.integers(0, 2**31), st.booleans())
@settings(max_examples=300)
def test_damage_is_refused_or_another_network(file: bytes, damage: bytes, where: int, early: bool) -> None:
    graph, text = (int.from_bytes(file[at : at + 4], "little") for at in (16, 20))
    data = bytearray(file)
    where = 24 + where % ((graph if early else len(data) - 24) - len(damage))
    data[where : where + len(damage)] = damage
    check_damaged(repaired(data), where + len(damage) > 24 + graph and where < 24 + graph + text)


@needs_engine
@given(st.sampled_from(FILES), st.integers(0, 2**31))
@settings(max_examples=100)
def test_a_file_that_was_cut_is_refused(file: bytes, where: int) -> None:
    cut = bytearray(file[: where % len(file)])
    for data in (bytes(cut), repaired(cut) if len(cut) >= 24 else b"", file + b"\0"):
        with pytest.raises(FormatError):
            engine._engine.Network(data)


@needs_engine
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 255)), max_size=4))
@settings(max_examples=60)
def test_threads_that_read_a_damaged_file_say_what_one_says(file: bytes, flips: list[tuple[int, int]]) -> None:
    data = bytearray(file)
    for where, value in flips:
        data[24 + where % (len(file) - 24)] ^= value
    told = []
    for threads in (1, 2, 5):
        try:
            engine._engine.Network(repaired(data), "", threads)
            told.append("read")
        except FormatError as error:
            told.append(repr(error))
    assert len(set(told)) == 1


@needs_engine
def test_headers_are_refused_by_name() -> None:
    file = FILES[0]
    for at, value, match in ((0, 0, "not a"), (4, 9, "version"), (5, 4, "version"), (30, file[30] ^ 1, "bytes that")):
        data = bytearray(file)
        data[at] = value
        with pytest.raises(FormatError, match=match):
            engine._engine.Network(bytes(data))
    with pytest.raises(ValueError, match="no path 'abacus'"):
        engine._engine.Network(file, "abacus")
    with pytest.raises(ValueError, match="at least one thread"):
        engine._engine.Network(file, "", 0)


@needs_engine
def test_buffers_of_another_size_are_refused() -> None:
    model = fire()
    network, images = engine._engine.Network(sqz.encode(model)), Builder(0, 13).images(2)
    for logits, threads in (
        (np.zeros(21, np.float32), 1),
        (np.zeros(43, np.float32), 1),
        (np.zeros(42, np.float32), 0),
    ):
        with pytest.raises(ValueError, match="buffers"):
            network.run(images, logits, threads)
    with pytest.raises(ValueError, match="images of"):
        runner(model)(images[:, :, 1:])
    assert runner(model)(images[:0]).shape == (0, 21)


@needs_engine
@pytest.mark.parametrize("path", PATHS)
def test_memory_while_running_holds_all_activations_that_are_alive_at_once(path: str) -> None:
    """Counted by hand, in bytes of activations; what comes on top is alignment, 64 bytes each, and scratch memory."""

    def needed(nine_bit: bool) -> int:
        b = Builder(0, 32)  # 3 x 32 x 32
        x = b.layer(Conv((0,), "a", 64, (1, 1)), b.scale(nine_bit=nine_bit))  # 64 x 32 x 32: twice that with 9 bits
        b.layer(Conv((x,), "b", 8, (1, 1)))  # 8 x 32 x 32, for which there is no room where the image lay
        return runner(b.finish(len(b.shapes) - 1), path=path).memory.running

    most = 1 if path == "reference" else 2 * 64 * 32 * 2 + 64
    for nine_bit, expected in ((False, (3 + 64 + 8) * 1024), (True, (3 + 2 * 64 + 8) * 1024)):
        assert expected <= needed(nine_bit) <= expected + 8 * 64 + most


@needs_engine
@pytest.mark.parametrize("path", PATHS)
def test_tables_products_and_slices_take_no_memory_of_their_own(path: str) -> None:
    b = Builder(0, 32)  # 3 x 32 x 32
    x = b.activate(b.layer(Conv((0,), "a", 64, (1, 1))), "silu")
    x = b.put(Multiply((x, x)), Scale(2 * b.scales[x].exponent + 60, 7))
    x = b.put(Select((b.activate(x, "tanh"),), 8, (1, 32)))
    b.layer(Conv((x,), "b", 8, (1, 1)))
    expected, most = (3 + 64 + 8) * 1024, 1 if path == "reference" else 2 * 64 * 32 * 2 + 64
    assert expected <= runner(b.finish(len(b.shapes) - 1), path=path).memory.running <= expected + 10 * 64 + most


@needs_engine
def test_many_threads_may_use_one_network() -> None:
    model = fire()
    images = Builder(0, 13).images(8)
    expected, run = IntegerRunner(model)(images), runner(model, 2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: run(images[i % 8 : i % 8 + 1])[0], range(64)))
    assert all(np.array_equal(row, expected[i % 8]) for i, row in enumerate(found))


STAYING = """
import os, sys, time
from pathlib import Path
from squeezenet.runtime.engine import EngineRunner

def ended():
    end = time.monotonic() + 30
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True

data, images = Path(sys.argv[1]).read_bytes(), memoryview(Path(sys.argv[2]).read_bytes()).cast("f")
run = EngineRunner(data, 3)
alone, expected = EngineRunner(data).logits(images), run.logits(images)
child = os.fork()  # while the threads are there
same = all(run.logits(images) == expected == alone for _ in range(5))
if child == 0:
    os._exit(0 if same and ended() else 1)
_, status = os.waitpid(child, 0)
sys.exit(0 if same and ended() and status == 0 and run.logits(images) == expected else 1)
"""


@needs_engine
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="Linux counts the threads")
def test_threads_end_by_themselves_and_a_forked_process_gets_new_ones(tmp_path: Path) -> None:
    model = fire()
    (tmp_path / "model.sqz").write_bytes(sqz.encode(model))
    Builder(0, model.preparation.crop).images(2).tofile(tmp_path / "images")
    command = [sys.executable, "-W", "ignore", "-c", STAYING, str(tmp_path / "model.sqz"), str(tmp_path / "images")]
    done = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0


@needs_engine
def test_the_engine_runs_what_it_can() -> None:
    model = fire()
    fastest = runner(model)
    assert isinstance(fastest, EngineRunner)
    assert fastest.path == PATHS[-1]
    assert isinstance(runner(model, path=NUMPY), IntegerRunner)
    assert isinstance(runner(model, path="reference"), EngineRunner)
    floats = model.dequantised()
    assert not isinstance(runner(floats), EngineRunner)
    assert isinstance(runner(floats, data=sqz.encode(floats)), EngineRunner)


def test_without_the_engine_everything_is_the_same() -> None:
    assert isinstance(runner(fire(), paths=()), IntegerRunner)
