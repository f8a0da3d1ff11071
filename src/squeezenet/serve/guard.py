"""The checks of every request before anything reads it: host, origin, headers, and whether the server is stopping.

A web page can make a browser send requests to 127.0.0.1. The check of `Host` stops pages whose own name leads to this
address (DNS rebinding): only `localhost`, addresses written as numbers, and names that were allowed are answered. The
check of `Origin` stops the requests of other pages that browsers send without asking (CORS).
"""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse

from squeezenet.serve.gate import Refused
from squeezenet.serve.settings import MOST_HEADERS

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ANY = "*"
SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change and compute nothing. Browsers do not let other pages read their answers."""


def guarded(app: App, hosts: Collection[str], origins: Collection[str], counted: Callable[[str, int], None]) -> App:
    """`app` behind the checks; `counted` is called with the route and the status of each answer."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                counted(route.path if route is not None else "", message["status"])
            await send(message)

        refused = _refusal(scope, hosts, origins)
        await (app if refused is None else error_response(refused))(scope, receive, sent)

    return answer


def error_response(refused: Refused) -> JSONResponse:
    """A refusal as JSON: `{"error": …}`."""
    headers = {} if refused.retry is None else {"Retry-After": str(refused.retry)}
    if refused.status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"
    return JSONResponse({"error": str(refused)}, refused.status, headers)


def allowed_host(host: str, names: Collection[str]) -> bool:
    """Whether a `Host` header may be answered.

    >>> [allowed_host(host, ["birds.my.org"]) for host in ("localhost:8000", "[::1]", "birds.my.org:80", "evil.org")]
    [True, True, True, False]
    """
    name = _name_in(host)
    return name is not None and (name in ("localhost", *names) or ANY in names or _is_address(name))


@lru_cache(64)
def _name_in(host: str) -> str | None:
    """The name in a `Host` header without the port; None if the header is malformed."""
    try:
        urlsplit(f"//{host}").port  # noqa: B018  # raises for what is no port
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return None


@lru_cache(64)
def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(scope: Scope, hosts: Collection[str], origins: Collection[str]) -> Refused | None:
    headers = scope["headers"]
    if len(headers) > MOST_HEADERS:
        told = f"more than {MOST_HEADERS} header fields"
        return Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, told)
    given = {name: value.decode("latin-1") for name, value in headers if name in (b"host", b"origin")}
    host, origin = given.get(b"host"), given.get(b"origin")
    if host is not None and not allowed_host(host.lower(), hosts):
        return Refused(HTTPStatus.MISDIRECTED_REQUEST, "this host name is not allowed here; see --allow-host")
    own = origin is not None and _host_of(origin) == (host or "").lower()
    if origin is None or own or origin in origins or ANY in origins or scope["method"] in SAFE:
        return None
    return Refused(HTTPStatus.FORBIDDEN, "pages of this origin may not send images here; see --allow-origin")


def _host_of(origin: str) -> str:
    """Host and port of an origin, or "" if it is not one."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
