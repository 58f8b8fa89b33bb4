"""Servers for tests of the client: the real app, and stubs that send prepared responses."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from faceattr_aio import Config, make_app

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ANSWER = {
    "id": "1",
    "image": {"width": 9, "height": 9, "format": "png"},
    "faces": [],
    "models": {},
    "cached": False,
    "newer": "than the client",
}


def app(**sections: Any) -> web.Application:
    """Return the real app with one worker and one slot."""
    return make_app(Config.model_validate({"inference": {"workers": 1, "limit": 1}} | sections))


def stub(handler: Handler) -> web.Application:
    """Return an app with `handler` for the route /analyze."""
    app = web.Application()
    app.router.add_post("/analyze", handler)
    return app


def problem(status: int, kind: str, retry_after: str = "7", **members: object) -> web.Response:
    document = {"type": f"urn:faceattr:{kind}", "status": status, "detail": "Said so.", "instance": "1", **members}
    headers = {"Retry-After": retry_after} if retry_after else {}
    return web.json_response(document, status=status, headers=headers, content_type="application/problem+json")
