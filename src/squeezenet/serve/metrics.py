"""What Prometheus reads at `/metrics`. The labels have few values: no text of a client becomes a label.

>>> metrics = Metrics(lambda: 3)
>>> metrics.images.labels("birds", "classified").inc()
>>> b'squeezenet_images_total{model="birds",outcome="classified"} 1.0' in metrics.text()
True
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the classes of the histograms, in seconds."""


class Metrics:
    """The counters of one server."""

    def __init__(self, places: Callable[[], int]) -> None:
        """`places` returns how many images run or wait."""
        self.registry = CollectorRegistry()
        made = {"namespace": "squeezenet", "registry": self.registry}
        self.requests = Counter("requests", "Requests, by route and status", ["route", "status"], **made)
        self.images = Counter("images", "Images, by what became of them", ["model", "outcome"], **made)
        self.reloads = Counter("reloads", "Newer versions of models, loaded or not", ["model", "outcome"], **made)
        self.waited = Histogram("wait_seconds", "From a place to a thread", buckets=SECONDS, **made)
        self.worked = Histogram("work_seconds", "Decoding and network", ["model"], buckets=SECONDS, **made)
        Gauge("places_taken", "Images that run or wait", **made).set_function(places)
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        text: bytes = generate_latest(self.registry)
        return text
