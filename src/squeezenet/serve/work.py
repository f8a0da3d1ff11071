"""Classifies images in threads; the event loop only waits. Images that nobody waits for any more are not begun."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from squeezenet.errors import ImageError
from squeezenet.runtime.classifier import Classifier
from squeezenet.runtime.decoding import open_image
from squeezenet.serve.body import UNNAMED
from squeezenet.serve.gate import Gate, Refused
from squeezenet.serve.metrics import Metrics
from squeezenet.serve.settings import Limits

Named = tuple[str, bytes]
Answer = dict[str, Any]


class Workers:
    """The threads, and the queue before them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.gate = Gate(limits.places, limits.share, limits.workers)
        self.metrics = Metrics(lambda: self.gate.taken)
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="classify")

    def close(self) -> None:
        """End the threads, after what they do now."""
        self._threads.shutdown(cancel_futures=True)

    async def classify(
        self, classifier: Classifier, model: str, images: Sequence[Named], top: int, client: str, receive: Any
    ) -> list[Answer]:
        """One answer for each image: predictions, or an `error`. Raises `Refused`; also if the client has left."""
        self.gate.enter(client, len(images))
        loop, since = asyncio.get_running_loop(), time.monotonic()
        futures = []
        for name, data in images:
            future = self._threads.submit(self._one, classifier, model, name, data, top, since)
            # In the event loop, which alone changes the gate. A loop that has ended has no use for places.
            future.add_done_callback(
                lambda done: loop.is_closed() or loop.call_soon_threadsafe(self._leave, client, done)
            )
            futures.append(future)
        answers = asyncio.gather(*map(asyncio.wrap_future, futures))
        answers.add_done_callback(lambda done: done.cancelled() or done.exception())  # of what nobody waits for
        gone = asyncio.ensure_future(receive())  # after the body, this returns when the client has left
        try:
            done, _ = await asyncio.wait(
                {answers, gone}, timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if answers in done:
                return [answer for answer, _ in answers.result()]
            if gone in done:
                raise Refused(HTTPStatus.BAD_REQUEST, "the client has closed the connection")
            told = f"no answer within {self._limits.seconds:g} seconds; try again later"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, told, self.gate.retry)
        finally:
            gone.cancel()
            answers.cancel()  # and with it the images that no thread has begun

    def _one(
        self, classifier: Classifier, model: str, name: str, data: bytes, top: int, since: float
    ) -> tuple[Answer, float]:
        """The answer, and the seconds that it took."""
        begun = time.monotonic()
        self.metrics.waited.observe(begun - since)
        try:
            image = open_image(data, self._limits.body_bytes, self._limits.pixels)
            found = classifier.classify(image, top)
        except ImageError as error:
            self.metrics.images.labels(model, "unreadable").inc()
            told = str(error).removeprefix(f"{UNNAMED}: ")
            return {"image": name, "error": f"{name}: {told}"}, time.monotonic() - begun
        seconds = time.monotonic() - begun
        self.metrics.worked.labels(model).observe(seconds)
        self.metrics.images.labels(model, "classified").inc()
        predictions = [{"label": p.label, "index": p.index, "probability": p.probability} for p in found]
        return {"image": name, "predictions": predictions, "milliseconds": round(1000 * seconds, 2)}, seconds

    def _leave(self, client: str, done: "Future[tuple[Answer, float]]") -> None:
        fine = not done.cancelled() and done.exception() is None
        self.gate.leave(client, done.result()[1] if fine else None)
