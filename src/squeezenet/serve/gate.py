"""Who gets a place, and who is sent away: a bounded queue, of which one client may hold half.

>>> gate = Gate(places=4, share=2)
>>> gate.enter("10.0.0.1", 2)
>>> gate.enter("10.0.0.1", 1)
Traceback (most recent call last):
squeezenet.serve.gate.Refused: this client has 2 images in the queue, which is its share; try again later
"""

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from math import ceil
from types import MappingProxyType

IPV6_NETWORK = 64  # bits; a customer of a provider has at least so many addresses
MEMORY = 0.1
"""Weight of the last image in the average of seconds per image."""


NONE: Mapping[str, int] = MappingProxyType({})


class Refused(Exception):
    """A request that is not answered. `retry` is the number of seconds after which the client may try again."""

    def __init__(self, status: HTTPStatus, message: str, retry: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry = status, retry


class Gate:
    """Counts places; used by the event loop alone, so it needs no lock."""

    def __init__(self, places: int, share: int, workers: int = 1) -> None:
        self._places, self._share, self._workers = places, share, workers
        self._held: Counter[str] = Counter()
        self._seconds = 0.0
        self.taken = 0

    def check(self, client: str, images: int = 1, promised: Mapping[str, int] = NONE) -> None:
        """Raise `Refused` if the client cannot have so many places now, beside those that are `promised` to clients."""
        if self.taken + images + sum(promised.values()) > self._places:
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "the queue is full; try again later", self.retry)
        name = who(client)
        held = self._held[name] + promised.get(name, 0)
        if held + images > self._share:
            told = f"this client has {held} images in the queue, which is its share; try again later"
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, told, self.retry)

    def enter(self, client: str, images: int) -> None:
        """Take places. Raises `Refused`."""
        self.check(client, images)
        self.taken += images
        self._held[who(client)] += images

    def leave(self, client: str, seconds: float | None) -> None:
        """Give one place back; `seconds` is how long the image took, None if it was not classified."""
        self.taken -= 1
        self._held[who(client)] -= 1
        self._held += Counter()  # forgets the clients that hold nothing
        if seconds is not None:
            self._seconds += MEMORY * (seconds - self._seconds) if self._seconds else seconds

    @property
    def retry(self) -> int:
        """Seconds until the images that hold a place now will be done, at least 1."""
        return max(1, ceil(self.taken * self._seconds / self._workers))


def who(client: str) -> str:
    """The client whose share counts: an IPv4 address, or a network of IPv6 addresses.

    >>> who("192.0.2.7"), who("2001:db8::1") == who("2001:db8::2")
    ('192.0.2.7', True)
    """
    if ":" not in client:
        return client
    try:
        return hex(int(ip_address(client.partition("%")[0])) >> IPV6_NETWORK)
    except ValueError:
        return client
