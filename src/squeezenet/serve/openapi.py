"""The description of the API that `/openapi.json` gives: OpenAPI 3.1.

>>> sorted(description(Limits(), ["birds"])["paths"])[0]
'/healthz'
"""

from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from squeezenet.serve.settings import MOST_TOP, Limits
from squeezenet.version import __version__

Schema = dict[str, Any]

WHY = {
    400: "The query or the form is malformed.",
    403: "A page of another origin may not send images.",
    404: "No model has this name.",
    408: "The body did not arrive in time.",
    413: "The request has too many bytes or images.",
    415: "The body is neither an image nor a form with images.",
    421: "The host name is not allowed.",
    422: "The image is damaged, or has too many pixels.",
    429: "The queue is full, or this client has its share of it.",
    500: "The network gives values that are not numbers.",
    503: "The server is overloaded or is stopping.",
}
"""What each status of a refusal means."""


def description(limits: Limits, models: Collection[str]) -> Schema:
    """The whole description; `models` are the names of the models."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": list(models)}}
    top = {"type": "integer", "minimum": 1, "maximum": MOST_TOP, "default": 5}
    classify = {
        "operationId": "classify",
        "summary": "Label one image or several",
        "description": f"At most {limits.body_bytes:,} bytes, {limits.most_images} images of {limits.pixels:,} pixels.",
        "parameters": [name, {"name": "top", "in": "query", "schema": top, "description": "labels of each image"}],
        "requestBody": {"required": True, "content": _images()},
        "responses": {
            "200": _json("Labels, the most probable first", {"oneOf": [_one(), _several()]}),
            **_refusals(400, 403, 404, 408, 413, 415, 421, 422, 429, 500, 503),
        },
    }
    model = _object(
        {"name": _TEXT, "outputs": _OUTPUTS, "classes": _WHOLE, "sha256": _TEXT, "since": _TEXT},
        release=_WHOLE, card=_TEXT,
    )  # fmt: skip
    whole = {**model, "properties": {**model["properties"], "labels": {"type": "array", "items": _TEXT}}}
    ready = _object({"live": _TRUE, "ready": _TRUE, "models": {"type": "object"}})
    get = {
        "/v1/models": _get("models", "All models", {"type": "object", "properties": {"models": _list(model)}}),
        "/v1/models/{name}": {
            "get": {**_get("model", "A model and its labels", whole, 404)["get"], "parameters": [name]}
        },
        "/healthz": _get("health", "Whether the server takes requests, and its models", ready, 503),
        "/healthz/ready": _get("ready", "The same as /healthz", ready, 503),
        "/healthz/live": _get("live", "Whether the process works", _object({"live": _TRUE})),
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Counters for Prometheus",
                "responses": {"200": {"description": "Text", "content": {"text/plain": {"schema": _TEXT}}}},
            }
        },
        "/openapi.json": _get("openapi", "This description", {"type": "object"}),
    }
    info = {"title": "squeezenet serve", "version": __version__, "license": {"name": "BSD-2-Clause"}}
    paths = {**get, "/v1/models/{name}/classify": {"post": classify}}
    return {"openapi": "3.1.0", "info": info, "paths": paths}


_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_TRUE: Schema = {"type": "boolean"}
_OUTPUTS: Schema = {"enum": ["classes", "labels"]}


def _object(needed: Schema, **other: Schema) -> Schema:
    return {"type": "object", "required": list(needed), "properties": {**needed, **other}}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _labelled() -> tuple[Schema, Schema]:
    """The two forms of the answer for one image: labels, or an error."""
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    prediction = _object({"label": _TEXT, "index": _WHOLE, "probability": probability})
    fine = {"image": _TEXT, "predictions": _list(prediction), "milliseconds": {"type": "number", "minimum": 0}}
    return fine, {"image": _TEXT, "error": _TEXT}


def _one() -> Schema:
    return _object({"model": _TEXT, "outputs": _OUTPUTS, **_labelled()[0]})


def _several() -> Schema:
    results = _list({"oneOf": [_object(form) for form in _labelled()]})
    return _object({"model": _TEXT, "outputs": _OUTPUTS, "results": results, "failed": _WHOLE})


def _images() -> Schema:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = _object({"image": _list(file)})
    return {"image/*": {}, "application/octet-stream": {}, "multipart/form-data": {"schema": form}}


def _json(what: str, schema: Schema) -> Schema:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: int) -> Schema:
    told = _object({"error": _TEXT})
    answers = {str(status): _json(WHY[status], told) for status in statuses}
    for status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        if (answer := answers.get(str(status.value))) is not None:
            answer["headers"] = {"Retry-After": {"schema": _WHOLE, "description": "seconds"}}
    return answers


def _get(name: str, summary: str, schema: Schema, *refused: int) -> Schema:
    responses = {"200": _json("The answer", schema), **_refusals(421, *refused)}
    return {"get": {"operationId": name, "summary": summary, "responses": responses}}
