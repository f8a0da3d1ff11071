"""The parts of the benchmarks that compute; what they measure is in docs/RESULTS.md."""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import pytest

from squeezenet import sqz, zoo
from squeezenet.runtime.engine import PATHS
from support import ROOT

BENCHMARKS = ROOT / "benchmarks"
SQUEEZENET, ALEXNET = 1_248_424, 60_965_224


@contextmanager
def loaded(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # where its dataclasses look for their types
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]
        if before is not None:  # a fixture loaded it too
            sys.modules[name] = before


@pytest.fixture(scope="module")
def communication():
    with loaded("communication") as module:
        yield module


@pytest.fixture(scope="module")
def size():
    with loaded("size") as module:
        yield module


def test_divergence_is_counted_as_it_is_defined():
    random = np.random.default_rng(0)
    exact = random.normal(0, 3, (50, 7)).astype(np.float32)
    found = exact + random.normal(0, 1, exact.shape).astype(np.float32)
    labels = random.integers(0, 7, 50)
    with loaded("divergence") as module:
        distance = module.distance(exact, found, labels)
        same = module.distance(exact, exact, None)
    nats, expected, lost, won = 0.0, 0.0, 0, 0
    for wanted, given, label in zip(exact.astype(float), found.astype(float), labels, strict=True):
        p, q = np.exp(wanted) / np.exp(wanted).sum(), np.exp(given) / np.exp(given).sum()
        nats += sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)) / 50
        expected += 100 * (p.max() - p[np.argmax(q)]) / 50
        lost += np.argmax(p) == label != np.argmax(q)
        won += np.argmax(q) == label != np.argmax(p)
    assert (distance.lost, distance.won) == (lost, won)
    assert distance.nats == pytest.approx(nats, rel=1e-5)
    assert distance.expected == pytest.approx(expected, rel=1e-5)
    assert (same.nats, same.same, same.expected, same.lost) == (0.0, 100.0, 0.0, None)


def test_two_hosts_send_their_gradients_once_and_headers(communication):
    assert communication.gradient_bytes(SQUEEZENET) == 4_993_696
    assert communication.gradient_bytes(ALEXNET, "bf16") == 121_930_448
    ratio = communication.gradient_bytes(ALEXNET) / communication.gradient_bytes(SQUEEZENET)
    assert ratio == pytest.approx(48.8, abs=0.05)
    assert communication.expected_sent(SQUEEZENET) == pytest.approx(4_993_696 * 1514 / 1448)
    assert communication.expected_sent(SQUEEZENET, processes=4) == pytest.approx(1.5 * 4_993_696 * 1514 / 1448)
    assert communication.expected_sent(SQUEEZENET, processes=1) == 0


def test_the_table_says_what_was_sent_and_what_waited_for_it(communication):
    def result(network, link, parameters, seconds, sent):
        return communication.Result(
            network, link, "float32", communication.BUCKET_MB, parameters, 5, seconds, sent / 1.04, sent, 0.0
        )

    results = [
        result("squeezenet1_0", "alone", SQUEEZENET, 0.2, 0),
        result("squeezenet1_0", "100 Mbit/s", SQUEEZENET, 0.5, 5_220_000),
        result("alexnet", "alone", ALEXNET, 0.8, 0),
        result("alexnet", "100 Mbit/s", ALEXNET, 20.0, 254_000_000),
    ]
    small, large, ratio = (line for line in communication.table(results).splitlines() if "100 Mbit/s" in line)
    assert small.endswith("| 5.02 | 5.22 | 5.22 | 0 | 0.50 | 0.20 | 0.30 |")
    assert large.endswith("| 244.23 | 254.00 | 254.98 | 0 | 20.00 | 0.80 | 19.20 |")
    assert ratio == "| 100 Mbit/s | float32 | 48.7x | 40.0x |"
    assert communication.heard(json.dumps(asdict(results[1]))) == results[1]


def test_cases_survive_the_way_to_the_hosts(communication):
    cases = communication.plan()
    assert [communication.read_case(told) for told in json.loads(json.dumps([asdict(c) for c in cases]))] == cases
    assert {case.bucket_mb for case in cases} == set(communication.BUCKETS_MB) | {communication.BUCKET_MB}


def test_without_the_tools_it_says_so_in_one_line():
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "communication.py"], env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "ip and tc not found" in done.stderr


def test_integers_keep_the_order_of_weights_and_their_zero(size):
    values = np.array([[-0.5, 0, 0.25], [0.25, 3, -1]], np.float32)
    numbers, codebook = size.as_integers(values)
    assert numbers.tolist() == [[-1, 0, 1], [1, 2, -2]]
    assert codebook.tolist() == [-1, -0.5, 0, 0.25, 3]
    numbers, codebook = size.as_integers(np.array([-1, 2], np.float32))
    assert numbers.tolist() == [-1, 1]  # no weight is zero, and none becomes it
    assert size.as_integers(np.arange(size.MOST_VALUES + 1, dtype=np.float32)) is None
    assert [len(size.smallest(np.array([n]))) for n in (127, 128, -(2**15), 2**15)] == [1, 2, 4, 4]


@pytest.mark.parametrize(
    ("good", "coarsest"),
    [
        (range(-20, -10), -11),
        (range(-20, -2), -3),
        ((-20,), -20),
        ((), None),
        ((*range(-20, -10), -9), -9),  # a lucky one, near enough
        ((*range(-20, -10), -3), -11),  # too far
    ],
)
def test_the_coarsest_qp_that_is_good_enough_is_found(size, good, coarsest):
    asked = []
    assert size.coarsest(lambda qp: asked.append(qp) or qp in good, -20, -3) == coarsest
    assert len(set(asked)) == len(asked) < 9


def test_sizes_of_a_file_beside_other_coders(tmp_path):
    out = tmp_path / "size.json"
    program = [sys.executable, BENCHMARKS / "size.py", "digits", "--data", "digits", "--limit", "20", "--out", out]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    result = json.loads(out.read_text())
    rows = {(row["coder"], row["of"]): row for row in result["rows"]}
    assert rows["squeezenet", "the file"]["bytes"] == result["file"] == zoo.find("digits").stat().st_size
    assert result["weights"] == sum(s.bytes for s in sqz.sections(zoo.find("digits"))[3:])
    assert len(rows) == 2 + 2 * 5
    assert len({row["top1"] for row in rows.values()}) == 1
    assert all(rows[coder, "integers"]["bytes"] < row["bytes"] for (coder, of), row in rows.items() if of == "float32")
    assert done.stdout.count("\n| ") == 12
    assert done.stdout.endswith("nncodec not measured\n")


def test_low_rank_by_weights_and_by_outputs_have_as_many_parameters(tiny):
    given = [tiny, "--data", "digits", "--val", "digits", "--images", "32", "--val-images", "50", "--ratios", "1.5"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "low_rank.py"), *given], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    whole, weights, outputs = map(json.loads, done.stdout.splitlines())
    assert (weights["by"], outputs["by"]) == ("weights", "outputs")
    assert max(weights["parameters"], outputs["parameters"]) <= whole["parameters"] / 1.5


def test_a_process_has_a_time_a_peak_and_a_first_line():
    stopwatch = [sys.executable, "-I", "-S", str(BENCHMARKS / "runtimes" / "stopwatch.py"), sys.executable, "-c"]
    program = "import time; print('a cat', flush=True); time.sleep(1); print('more')"
    done = subprocess.run([*stopwatch, program], capture_output=True, text=True, check=True)
    milliseconds, peak, *said = done.stdout.splitlines()
    assert 1 < float(milliseconds) < 900  # the first line's, not the end's
    assert 1 < float(peak) < 50
    assert said == ["a cat", "more"]
    large = subprocess.run([*stopwatch, "print(len(bytearray(10**8)))"], capture_output=True, text=True, check=True)
    assert 100 < float(large.stdout.splitlines()[1]) < 150
    assert subprocess.run([*stopwatch, "raise SystemExit(1)"], capture_output=True, check=False).returncode == 1


def test_bars_are_held_against_the_best_peer(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from runtimes.bars import judged, rendered

    table = {
        "squeezenet fast": {"1 thread, ms": 3.0, "images/s": 400, "cold, ms": 90.0, "peak, MB": 24.0},
        "squeezenet slow": {"1 thread, ms": 1.0},  # no path but the first is held against a bar
        "OpenVINO int8": {"1 thread, ms": 2.5, "images/s": 500, "cold, ms": 300.0, "peak, MB": 100.0},
        "LiteRT int8": {"1 thread, ms": 4.0, "images/s": 200, "cold, ms": 100.0, "peak, MB": 60.0},
    }
    found = {result["bar"]: (result["value"], result["met"]) for result in judged(table)}
    assert found["warm, 1 thread, over OpenVINO int8"] == (1.2, "bar")
    assert found["warm, 2 threads, over OpenVINO int8"] == (None, None)
    assert found["warm, 1 thread, over ONNX Runtime int8"] == (None, None)
    assert found["cold start over the fastest peer's"] == (0.9, "missed")
    assert found["peak resident memory, MB"] == (24, "aim")
    lines = rendered("v11.sqz", table).splitlines()
    assert lines[0] == "| v11.sqz | 1 thread, ms | images/s | cold, ms | peak, MB |"
    assert lines[3] == "| squeezenet slow | 1.00 |  |  |  |"
    assert lines[6] == "| ours / best peer | 1.20 | 0.80 | 0.90 | 0.40 |"
    assert "| warm, 2 threads, over OpenVINO int8 | 1.25 | 0.9 | not measured |  |" in lines
    table["squeezenet fast"] |= {"decode, 1 thread, ms": 28.0, "decode, 2 threads, ms": 16.0, "engine, kB": 201.0}
    found = {result["bar"]: result["met"] for result in judged(table)}
    assert found["decode of the file, 1 thread, ms"] == "bar"
    assert found["decode of the file, 2 threads, ms"] == "aim"
    assert found["compiled engine, stripped, kB"] == "missed"


@pytest.mark.skipif(not PATHS, reason="no compiler, no engine")
def test_the_engine_is_measured_without_its_symbols_where_there_is_strip(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from runtimes import installs

    library = installs.engine(sys.executable, os.environ)
    assert library.name.startswith("_engine.")
    if shutil.which("strip") is not None:
        assert 30 < installs.stripped_kilobytes(library) <= library.stat().st_size / 1e3
        if (sys.platform, platform.machine()) == ("linux", "x86_64"):
            assert installs.stripped_kilobytes(library) < 200  # what only the workshop calls is in `_workshop` (ADR 47)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert installs.stripped_kilobytes(library) is None


@pytest.mark.skipif(not PATHS, reason="no compiler, no engine")
def test_decoding_is_timed_for_each_number_of_threads(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from runtimes.processes import decoding

    found = decoding(str(zoo.find("digits")), [1, 2], 1)
    assert list(found) == [1, 2]
    assert all(0 < milliseconds < 10_000 for milliseconds in found.values())
    (tmp_path / "cut.sqz").write_bytes(zoo.find("digits").read_bytes()[:1000])
    with pytest.raises(SystemExit, match="cannot be decoded"):
        decoding(str(tmp_path / "cut.sqz"), [1], 1)


@pytest.mark.skipif(not PATHS, reason="no compiler, no engine")
def test_runtimes_are_compared_and_those_that_are_not_installed_are_named(tmp_path):
    out = tmp_path / "runtime.json"
    given = [zoo.find("cifar10"), "--only", "PyTorch float", "ncnn float", "--threads", "1", "--batch", "2", "--here"]
    once = ["--rounds", "1", "--runs", "1", "--cold-rounds", "1", "--out", out]
    program = [sys.executable, BENCHMARKS / "runtime.py", *given, *once]
    done = subprocess.run(program, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    (figures,) = (model["figures"] for model in result["models"].values())
    assert next(iter(figures)) == f"squeezenet {PATHS[-1]}"
    for row in (f"squeezenet {PATHS[-1]}", "PyTorch float"):
        assert {"1 thread, ms", "images/s", "cold, ms", "peak, MB"} <= set(figures[row])
        assert figures[row]["agreement"] > 0.99
    assert figures[f"squeezenet {PATHS[-1]}"]["decode, 1 thread, ms"] > 0
    assert "decode, 1 thread, ms" not in figures["PyTorch float"]
    if shutil.which("strip") is not None:
        assert 30 < figures[f"squeezenet {PATHS[-1]}"]["engine, kB"] < 1000
    assert figures["PyTorch float"]["peak, MB"] > figures[f"squeezenet {PATHS[-1]}"]["peak, MB"] > 5
    assert "disk, MB" in figures["PyTorch float"]
    assert "pytorch" in result["versions"]
    labels = [line.split()[-1] for line in done.stderr.splitlines() if line.startswith("cifar10.sqz, ")]
    assert len(labels) == 2
    assert len(set(labels)) == 1
    if "ncnn float" not in figures:
        assert "ncnn float not measured: " in done.stderr


def test_updates_are_compared():
    golden = ROOT / "tests" / "golden"
    with loaded("size"), loaded("fleet") as fleet:
        row = fleet.measured(golden / "operations_integers_v2.sqz", golden / "delta_v1.sqz", None)
    assert 0 < row["changed"] < 0.5
    if "metadata" in row:  # the extra [publish] is installed
        assert 1000 < row["gzip"] < row["metadata"] < 2000
    assert row["squeezenet"] == (golden / "delta_v2.sqzd").stat().st_size < row["whole"] < row["float32"]


def test_answers_of_a_load_test_are_counted_by_status():
    pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
    with loaded("serve") as module:
        counts, seconds = module.parsed(
            "Requests/sec: 3\nstatus 200 31\nstatus timeout 0\nstatus read 2\nseconds 1.5\n"
        )
    assert (counts, seconds) == ({"200": 31, "read": 2}, 1.5)
