"""The HTTP endpoints as an OpenAPI 3.1 description, served as /openapi.json: made of the very types that are answered.

In:  whether a token is asked for. Out: the document, plain values. Called once by `pipeline/http.py`; the tests have
schemathesis hold a running server against it.
"""

from __future__ import annotations

from typing import Any

import msgspec

import vedette
from pipeline.status import Readiness, Status

_JSON = "application/json"
_REFUSAL = "Refusal"


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """What /healthz answers."""

    status: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was not answered, in one line; `paths` are those that there are."""

    error: str
    paths: tuple[str, ...] = ()


def description(*, guarded: bool) -> dict[str, Any]:
    """The document; with `guarded` everything but /healthz asks for the bearer token."""
    _, components = msgspec.json.schema_components(
        [Alive, Readiness, Status, Refusal], ref_template="#/components/schemas/{name}"
    )
    paths = {
        "/healthz": _operation("alive", "Whether the process answers at all.", {"200": _json("Alive")}),
        "/readyz": _operation(
            "ready",
            "Whether frames are flowing, and if not, why not.",
            {"200": _json("Readiness"), "503": _either(_json("Readiness"), _text("text/plain"))},
            guarded=guarded,
        ),
        "/status": _operation("status", "Everything at this moment.", {"200": _json("Status")}, guarded=guarded),
        "/metrics": _operation("metrics", "The same for Prometheus.", {"200": _text("text/plain")}, guarded=guarded),
        "/openapi.json": _operation(
            "openapi",
            "This description.",
            {"200": {"description": "OpenAPI 3.1", "content": {_JSON: {}}}},
            guarded=guarded,
        ),
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Vedette",
            "version": vedette.__version__,
            "description": "Health, readiness, status, metrics.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }
    if guarded:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return document


def _operation(name: str, summary: str, answers: dict[str, Any], *, guarded: bool = False) -> dict[str, Any]:
    refusals = {"400": _json(_REFUSAL), "405": _json(_REFUSAL), "431": _json(_REFUSAL), "503": _text("text/plain")}
    security: list[dict[str, list[str]]] = []
    if guarded:
        refusals["401"] = _json(_REFUSAL)
        security = [{"token": []}]
    return {
        "get": {"operationId": name, "summary": summary, "security": security, "responses": {**refusals, **answers}},
    }


def _json(name: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": name, "content": {_JSON: {"schema": schema}}}


def _either(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"description": one["description"], "content": {**one["content"], **other["content"]}}


def _text(media_type: str) -> dict[str, Any]:
    return {"description": "text", "content": {media_type: {"schema": {"type": "string"}}}}
