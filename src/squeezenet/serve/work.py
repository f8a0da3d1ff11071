"""Classifies images in threads; the event loop only waits. Images that nobody waits for any more are not begun."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, NamedTuple

from squeezenet.errors import ImageError
from squeezenet.runtime.classifier import Classifier
from squeezenet.runtime.decoding import open_image
from squeezenet.serve.body import UNNAMED
from squeezenet.serve.gate import Gate, Refused
from squeezenet.serve.metrics import Metrics
from squeezenet.serve.settings import Limits

Named = tuple[str, bytes]
Answer = dict[str, Any]


class Result(NamedTuple):
    """What a thread found, and when it began and ended: seconds of `time.monotonic`."""

    answer: Answer
    begun: float
    ended: float


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
        over: asyncio.Future[None] = loop.create_future()  # all images are done, or the client has left
        left = len(images)

        def leave(job: Future[Result]) -> None:
            """In the event loop, which alone changes the gate. So the threads do nothing but classify."""
            nonlocal left
            left -= 1
            seconds = None
            if not job.cancelled() and job.exception() is None:
                seconds = self._count(model, since, job.result())
            self.gate.leave(client, seconds)
            if left == 0:
                end()

        def end(_: object = None) -> None:
            if not over.done():
                over.set_result(None)

        def done(job: Future[Result]) -> None:
            """In a thread. A loop that has ended has no use for places."""
            if not loop.is_closed():
                loop.call_soon_threadsafe(leave, job)

        waiting = [[data] for _, data in images]
        jobs = [
            self._threads.submit(_classified, classifier, name, data, top, self._limits)
            for (name, _), data in zip(images, waiting, strict=True)
        ]
        for job in jobs:
            job.add_done_callback(done)
        gone = asyncio.ensure_future(receive())  # after the body, this returns when the client has left
        gone.add_done_callback(end)
        try:
            async with asyncio.timeout(self._limits.seconds):
                await over
            if left == 0:
                return [job.result().answer for job in jobs]
            raise Refused(HTTPStatus.BAD_REQUEST, "the client has closed the connection")
        except TimeoutError:
            told = f"no answer within {self._limits.seconds:g} seconds; try again later"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, told, self.gate.retry) from None
        finally:
            gone.cancel()
            for job, data in zip(jobs, waiting, strict=True):
                if job.cancel():  # no thread has begun with it, and when one comes to it, it need not hold its bytes
                    data.clear()

    def _count(self, model: str, since: float, result: Result) -> float:
        """Count an image; returns the seconds that it took."""
        seconds = result.ended - result.begun
        self.metrics.waited.observe(result.begun - since)
        fine = "error" not in result.answer
        self.metrics.images.labels(model, "classified" if fine else "unreadable").inc()
        if fine:
            self.metrics.worked.labels(model).observe(seconds)
        return seconds


def _classified(classifier: Classifier, name: str, waiting: list[bytes], top: int, limits: Limits) -> Result:
    """The answer for the image whose bytes are the only element of `waiting`, which is taken out."""
    begun = time.monotonic()
    try:
        image = open_image(waiting.pop(), limits.body_bytes, limits.pixels)
        found = classifier.classify(image, top)
    except ImageError as error:
        told = str(error).removeprefix(f"{UNNAMED}: ")
        return Result({"image": name, "error": f"{name}: {told}"}, begun, time.monotonic())
    ended = time.monotonic()
    predictions = [{"label": p.label, "index": p.index, "probability": p.probability} for p in found]
    milliseconds = round(1000 * (ended - begun), 2)
    return Result({"image": name, "predictions": predictions, "milliseconds": milliseconds}, begun, ended)
