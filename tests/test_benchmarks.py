"""The parts of the benchmarks that compute; what they measure is in docs/RESULTS.md."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SQUEEZENET, ALEXNET = 1_248_424, 60_965_224


@pytest.fixture(scope="module")
def communication():
    spec = importlib.util.spec_from_file_location("communication", BENCHMARKS / "communication.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["communication"] = module  # where its dataclasses look for their types
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["communication"]


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


def test_low_rank_by_weights_and_by_outputs_have_as_many_parameters():
    given = ["digits", "--data", "digits", "--val", "digits", "--images", "32", "--judge-by", "50", "--ratios", "1.5"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "low_rank.py"), *given], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    whole, weights, outputs = map(json.loads, done.stdout.splitlines())
    assert (weights["by"], outputs["by"]) == ("weights", "outputs")
    assert max(weights["parameters"], outputs["parameters"]) <= whole["parameters"] / 1.5
