"""The page at / to try it on, the one at /docs to read, and the document they are made from: kept in memory, under a
policy that lets a browser load nothing from elsewhere. Knows nothing of what the pages do.
"""

import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from aiohttp import ETag, hdrs, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.openapi import describe

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
_HEADERS = {
    hdrs.VARY: hdrs.ACCEPT_ENCODING,
    hdrs.CACHE_CONTROL: "no-cache",  # kept, and asked for again: an update is seen at once
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Static:
    """A body that never changes."""

    body: bytes
    content_type: str

    @cached_property
    def packed(self) -> bytes:
        """A third of it."""
        return gzip.compress(self.body, mtime=0)

    async def answer(self, request: web.Request) -> web.Response:
        """304 to who has it already."""
        is_packed = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
        body = self.packed if is_packed else self.body
        etag = ETag(hashlib.sha256(body).hexdigest()[:32])
        if etag in (request.if_none_match or ()):
            response = web.Response(status=304, headers=_HEADERS)
        else:
            response = web.Response(body=body, content_type=self.content_type, charset="utf-8", headers=_HEADERS)
            response.headers.update({hdrs.CONTENT_ENCODING: "gzip"} if is_packed else {})
        response.etag = etag
        return response


def add_pages(router: web.UrlDispatcher, config: Config) -> None:
    """Adds /openapi.json, and the pages unless the settings are without them."""
    document = json.dumps(describe(config), ensure_ascii=False, separators=(",", ":"))
    router.add_get("/openapi.json", Static(document.encode(), "application/json").answer)
    if not config.server.page:
        return
    pages = _load()
    for name, static in pages.items():
        router.add_get(f"/page/{name}", static.answer)
    router.add_get("/", pages["index.html"].answer)
    router.add_get("", _to_folder)  # after the other, for an app that is not mounted has no other name for /
    router.add_get("/docs", pages["docs.html"].answer)


def _load() -> dict[str, Static]:
    folder = files("faceattr_aio.web") / "page"
    return {file.name: Static(file.read_bytes(), _TYPES[file.name.rpartition(".")[2]]) for file in folder.iterdir()}


async def _to_folder(request: web.Request) -> web.Response:
    """From /vision, where an app is mounted, to /vision/, by which the page's own addresses go."""
    raise web.HTTPFound(request.path.rpartition("/")[2] + "/")
