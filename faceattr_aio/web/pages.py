"""The pages at / and /docs, their files, and /openapi.json: kept in memory and sent with an ETag, gzip and a
Content-Security-Policy that allows nothing but the package's own files.
"""

import gzip
import hashlib
import json
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
    hdrs.CACHE_CONTROL: "no-cache",  # store, but validate each time: an update is visible at once
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class StaticContent:
    """A body that does not change, as it is and in gzip, each with the hash of its bytes as the ETag.

    `web.FileResponse` derives the ETag from the time of the file, which differs between instances, and compresses the
    body for every request.
    """

    def __init__(self, body: bytes, content_type: str) -> None:
        forms = {"identity": body, "gzip": gzip.compress(body, mtime=0)}
        self._forms = {name: (form, ETag(hashlib.sha256(form).hexdigest()[:32])) for name, form in forms.items()}
        self._content_type = content_type

    async def handle(self, request: web.Request) -> web.Response:
        """Return the body in the best form that the client accepts, or 304 when the client has it."""
        encoding = "gzip" if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "") else "identity"
        body, etag = self._forms[encoding]
        if etag in (request.if_none_match or ()):
            response = web.Response(status=304, headers=_HEADERS)
        else:
            response = web.Response(body=body, content_type=self._content_type, charset="utf-8", headers=_HEADERS)
            if encoding == "gzip":
                response.headers[hdrs.CONTENT_ENCODING] = encoding
        response.etag = etag
        return response


def add_pages(router: web.UrlDispatcher, config: Config) -> None:
    """Add /openapi.json and, unless `server.page` is false, the pages."""
    document = json.dumps(describe(config), ensure_ascii=False, separators=(",", ":"))
    router.add_get("/openapi.json", StaticContent(document.encode(), "application/json").handle)
    if not config.server.page:
        return
    folder = files("faceattr_aio.web") / "page"
    pages = {
        file.name: StaticContent(file.read_bytes(), _TYPES[file.name.rpartition(".")[2]]) for file in folder.iterdir()
    }
    for name, content in pages.items():
        router.add_get(f"/page/{name}", content.handle)
    router.add_get("/", pages["index.html"].handle)
    router.add_get("", _redirect_to_folder)  # after "/", which matches first in an app that is not mounted
    router.add_get("/docs", pages["docs.html"].handle)


async def _redirect_to_folder(request: web.Request) -> web.Response:
    """Redirect from the prefix of a mounted app, as /vision, to /vision/: the links of the page are relative to it."""
    raise web.HTTPFound(request.path.rpartition("/")[2] + "/")
