"""The routes of the server, as an ASGI application.

`Service.app` works in any ASGI server; `server.serve` adds what only the server of a connection can do: deadlines.
"""

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from squeezenet.errors import ModelError
from squeezenet.serve.body import Bodies, check_type, named_images, stopping
from squeezenet.serve.early import Early
from squeezenet.serve.gate import Refused
from squeezenet.serve.guard import App, error_response, guarded
from squeezenet.serve.models import Model, about, health
from squeezenet.serve.openapi import description
from squeezenet.serve.pages import HEADERS, Page
from squeezenet.serve.settings import MOST_TOP, Limits
from squeezenet.serve.work import Workers

CLASSIFY = "/v1/models/{name}/classify"
DEFAULT_TOP = 5


class Service:
    """The application, and what its server needs of it."""

    def __init__(
        self, models: Mapping[str, Model], limits: Limits, pages: Mapping[str, Page],
        hosts: Collection[str] = (), origins: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.models, self.limits = models, limits
        self.workers, self.bodies = Workers(limits), Bodies(limits)
        self.metrics = self.workers.metrics
        self._early = Early(models, hosts, limits, self.workers.gate)
        self._pages = pages
        self._stopping = False
        self.app: App = guarded(self._routes(origins), hosts, origins, self._count)

    def stop(self) -> None:
        """Refuse new requests; those whose body has arrived are answered."""
        self._stopping = True
        self.bodies.stop()

    def refuse_early(self, client: str, data: bytes, at: int) -> tuple[Refused, int] | None:
        """The refusal of the request that begins at `data[at]`, and its bytes; None if the application answers."""
        found = None if self._stopping else self._early.refusal(client, data, at)
        if found is not None:
            self._count(CLASSIFY, found[0].status)
        return found

    def _routes(self, origins: Collection[str]) -> App:
        routes = [
            Route("/v1/models", self._list),
            Route("/v1/models/{name}", self._model),
            Route(CLASSIFY, self._classify, methods=["POST"]),
            Route("/healthz", self._ready),
            Route("/healthz/live", self._live),
            Route("/healthz/ready", self._ready),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
            Route("/{path:path}", self._page),
        ]
        cors = Middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["Content-Type"]
        )
        handlers = {Refused: _refused, HTTPException: _http_error, ModelError: _model_error, Exception: _fault}
        self.routes = routes
        app: App = Starlette(routes=routes, middleware=[cors] if origins else [], exception_handlers=handlers)
        return app

    async def _classify(self, request: Request) -> Response:
        model = self._named(request)
        loaded = model.loaded  # this request keeps this version
        top = _top(request.query_params)
        client = request.client.host if request.client else ""
        check_type(request.headers)
        if self._stopping:
            raise stopping()
        self.workers.gate.check(client)  # a request without hope of a place is refused before its body is read
        body = await self.bodies.read(client, request.headers, request.receive)
        size = len(body)
        try:
            images = named_images(body, request.headers.get("content-type", ""), self.limits.most_images)
            del body  # the images of a form are copies
            results = await self.workers.classify(loaded.classifier, model.name, images, top, client, request.receive)
        finally:
            self.bodies.forget(client, size)
        found = {"model": model.name, "outputs": loaded.classifier.outputs}
        if len(results) > 1:
            failed = sum("error" in result for result in results)
            return JSONResponse({**found, "results": results, "failed": failed})
        if "error" in results[0]:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, results[0]["error"])
        return JSONResponse({**found, **results[0]})

    async def _list(self, request: Request) -> Response:
        return JSONResponse({"models": [about(model) for model in self.models.values()]})

    async def _model(self, request: Request) -> Response:
        model = self._named(request)
        return JSONResponse({**about(model), "labels": model.loaded.classifier.labels})

    async def _live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, request: Request) -> Response:
        models = {name: health(model) for name, model in self.models.items()}
        found = {"live": True, "ready": not self._stopping, "models": models}
        return JSONResponse(found, HTTPStatus.SERVICE_UNAVAILABLE if self._stopping else HTTPStatus.OK)

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=1.0.0; charset=utf-8")

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(description(self.limits, self.models))

    async def _page(self, request: Request) -> Response:
        page = self._pages.get(request.path_params["path"])
        if page is None:
            raise Refused(HTTPStatus.NOT_FOUND, "nothing is here; see /openapi.json")
        return Response(page.data, media_type=page.media_type, headers=HEADERS)

    def _named(self, request: Request) -> Model:
        name = request.path_params["name"]
        if name not in self.models:
            raise Refused(HTTPStatus.NOT_FOUND, "no model has this name; see /v1/models")
        return self.models[name]

    def _count(self, route: str, status: int) -> None:
        self.metrics.requests.labels(route, str(status)).inc()


def _top(query: Mapping[str, str]) -> int:
    text = query.get("top", str(DEFAULT_TOP))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_TOP):
        raise Refused(HTTPStatus.BAD_REQUEST, f"top must be a whole number from 1 to {MOST_TOP:,}")
    return int(text)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error_response(error)


async def _http_error(request: Request, error: Any) -> Response:
    """Starlette's own errors: a method that a route does not have."""
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _model_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)


async def _fault(request: Request, error: Exception) -> Response:
    """The answer after a fault of ours, which the server also logs."""
    return JSONResponse({"error": "a fault of the server"}, HTTPStatus.INTERNAL_SERVER_ERROR)
