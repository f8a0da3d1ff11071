"""What a server may take: bytes, pixels, places and seconds. Each field says its unit.

>>> Limits(workers=2, queue=6).share
4
"""

from dataclasses import dataclass

MOST_HEADERS = 100
"""Header fields of a request."""
MOST_TOP = 1_000
"""Predictions for one image in an answer."""
HEAD_BYTES = 16 * 2**10
"""Bytes of a request's head that may arrive before the head is complete."""


@dataclass(frozen=True)
class Limits:
    """The limits of one server. An image that is classified, or waits for that, takes a place."""

    workers: int = 1  # threads that decode and classify, one image each
    queue: int = 64  # places for images that wait
    body_bytes: int = 16 * 2**20  # bytes of one request
    held_bytes: int = 256 * 2**20  # bytes of all requests that are in memory
    pixels: int = 50_000_000  # pixels of an image, before it is decoded
    images: int = 16  # images of one request; see `most_images`
    seconds: float = 30.0  # from the last byte of a request to its answer
    head_seconds: float = 10.0  # for the head of a request; a connection without a request may be idle as long
    body_seconds: float = 30.0  # for the body of a request
    write_seconds: float = 30.0  # for a client that does not read its answer
    connections: int = 512  # open connections; one address may have half of them

    @property
    def places(self) -> int:
        """Images that run or wait."""
        return self.workers + self.queue

    @property
    def share(self) -> int:
        """Places that one client may hold."""
        return max(1, self.places // 2)

    @property
    def most_images(self) -> int:
        """Images of one request that can have places at the same time."""
        return min(self.images, self.share)
