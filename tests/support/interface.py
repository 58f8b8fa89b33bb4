"""Routes and the OpenAPI document of apps with several settings, read from apps that are made but not started."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import faceattr_aio
from tests.support.schemas import Tree, meaning

Settings = Mapping[str, Any]

DEFAULTS: Settings = {}
EVERYTHING: Settings = {
    "pipelines": {"faces": {}, "holistic": {}, "anime": {}},
    "auth": {"keys": ["a-key-of-a-client"], "admin_keys": ["a-key-of-an-admin"]},
    "jobs": {"backend": "memory", "callbacks": ["https://example.org/"]},
}
SHARED: Settings = {
    "jobs": {"backend": "celery"},
    "cache": {"backend": "redis"},
    "shared": {"url": "redis://127.0.0.1:1/0"},
    "logging": {"traces": True},
}
"""Settings that load the libraries of the extras; nothing connects before the app starts."""
LITTLE: Settings = {"server": {"page": False, "metrics_port": 9100}, "jobs": {"backend": "none"}}


def routes(settings: Settings) -> Tree:
    """Return the methods of each path with the statuses that OpenAPI lists for them, and the names of routes."""
    app = _app(settings)
    described = _document(app)["paths"]
    paths: dict[str, Tree] = {}
    names = {}
    for route in app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        operation = described.get(path, {}).get(route.method.lower(), {})
        paths.setdefault(path, {})[route.method] = sorted(operation.get("responses", ()))
        if route.resource.name:
            names[route.resource.name] = path
    return {"paths": paths, "names": names}


def openapi(settings: Settings) -> Tree:
    """Return the meaning of /openapi.json. The schema of a problem is in it once, elsewhere replaced by a comment."""
    document = _document(_app(settings))
    schemas = document["components"]["schemas"]
    problem = schemas["Problem"]
    schemas["Problem"] = {"$comment": "problem"}
    return {
        "openapi": document["openapi"],
        "problem": meaning(problem, document),
        "securitySchemes": meaning(document["components"].get("securitySchemes", {}), document, named=True),
        "paths": meaning(document["paths"], document, named=True),
    }


def _app(settings: Settings) -> web.Application:
    return faceattr_aio.make_app(faceattr_aio.Config.model_validate(settings))


def _document(app: web.Application) -> Tree:
    """Return the answer of GET /openapi.json."""

    async def ask() -> web.StreamResponse:
        request = make_mocked_request("GET", "/openapi.json", app=app)
        match = await app.router.resolve(request)
        return await match.handler(request)

    response = asyncio.run(ask())
    assert isinstance(response, web.Response)
    assert response.text is not None
    document: Tree = json.loads(response.text)
    return document
