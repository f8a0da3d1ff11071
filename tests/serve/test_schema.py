"""Requests that schemathesis makes up from the description of the API: every answer is one that it describes."""

import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
pytest.importorskip("starlette", reason="the extra [serve] is not installed")
pytest.importorskip("prometheus_client", reason="the extra [serve] is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install schemathesis")

from schemathesis.specs.openapi.checks import positive_data_acceptance

from support.serving import serving

OPERATIONS = (
    "GET /v1/models", "GET /v1/models/{name}", "POST /v1/models/{name}/classify", "GET /healthz", "GET /healthz/live",
    "GET /healthz/ready", "GET /metrics",
)  # fmt: skip


@pytest.fixture(scope="module")
def api():
    with serving("digits") as served:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{served.port}/openapi.json")


def test_every_operation_is_tried(api):
    """But for the description itself, which schemathesis leaves out."""
    assert {result.ok().label for result in api.get_all_operations()} == set(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_described(api, label):
    (operation,) = (found for result in api.get_all_operations() if (found := result.ok()).label == label)

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def check(case):
        case.call_and_validate(excluded_checks=[positive_data_acceptance])  # no schema says what an image is

    check()
