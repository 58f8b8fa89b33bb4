"""Responses: answers about pictures, problem documents (RFC 9457), and the middleware that converts exceptions."""

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import hdrs, web

from faceattr_aio.errors import ClientGone, FaceattrError, InternalError, RetryableError, Unauthorized, Unavailable
from faceattr_aio.pipeline import JSON, NDJSON, Outcome, Reply
from faceattr_aio.schemas import Document, answer_body, picture_body, problem_body
from faceattr_aio.telemetry.record import REQUEST_ID, record_of
from faceattr_aio.web.body import Lingering

log = logging.getLogger("faceattr_aio.problems")

PROBLEM = "application/problem+json"
LINGERING: web.AppKey[Lingering] = web.AppKey("faceattr_aio.lingering", Lingering)
CLIENT_GONE = 499
"""Status in logs and metrics after the client disconnected; it is never sent."""

_LEVELS = {InternalError: logging.ERROR, Unavailable: logging.WARNING}
"""Failures that concern the operator; all others concern the client and are logged as debug."""
_CACHE_STATUS = {
    "hit": "faceattr_aio; hit",
    "collapsed": "faceattr_aio; fwd=uri-miss; collapsed",
    "miss": "faceattr_aio; fwd=uri-miss; stored",
    "bypass": "faceattr_aio; fwd=bypass",
}
"""RFC 9211."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _DiscardingResponse(web.StreamResponse):
    """A response after which the rest of the request's body is read and discarded."""

    _request: web.Request

    async def write_eof(self, data: bytes = b"") -> None:
        """Finish the response; close the connection when there is too much left of the body to discard."""
        await super().write_eof(data)
        request = self._request
        if not request.content.is_eof() and not await request.app[LINGERING].discard(request):
            request.protocol.force_close()


class JsonResponse(_DiscardingResponse, web.Response):
    """A JSON document."""

    def __init__(self, request: web.Request, document: Document, status: int = 200, content_type: str = JSON) -> None:
        headers = {REQUEST_ID: record_of(request).id}
        super().__init__(text=json.dumps(document), status=status, content_type=content_type, headers=headers)
        self._request = request


class NdjsonResponse(_DiscardingResponse):
    """A response of one JSON document a line, for a client that may read slowly but has to keep reading."""

    def __init__(self, request: web.Request, cache_control: str, timeout_s: float) -> None:
        """Each line has to be taken by the client within `timeout_s` seconds."""
        super().__init__()
        self.content_type = NDJSON
        self.headers[REQUEST_ID] = record_of(request).id
        self.headers[hdrs.CACHE_CONTROL] = cache_control
        self.headers["X-Accel-Buffering"] = "no"  # nginx would hold lines back
        self._request, self._timeout_s = request, timeout_s

    async def send(self, document: Document) -> None:
        """Send one line. Raises ClientGone, and aborts the connection, when the client does not take it in time."""
        line = json.dumps(document).encode() + b"\n"
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.prepare(self._request)
                await self.write(line)
                await self._request.writer.drain()
        except TimeoutError as error:
            if self._request.transport:
                self._request.transport.abort()
            raise ClientGone from error
        record_of(self._request).sent += len(line)


def respond(request: web.Request, outcomes: Sequence[Outcome], media_type: str) -> web.Response:
    """Return the response for the pictures of a request.

    One picture is answered by its result or its problem, several by a list of both.
    """
    record = record_of(request)
    match outcomes:
        case [FaceattrError() as error]:
            response = problem_response(request, error)
        case [Reply(body=bytes(body))]:
            response = web.Response(body=body, content_type=media_type)
        case _:
            response = JsonResponse(request, answer_body([picture_body(one, record.id) for one in outcomes], record.id))
    if len(outcomes) == 1 and isinstance(outcomes[0], Reply):
        response.headers["Cache-Status"] = _CACHE_STATUS[outcomes[0].source]
    response.headers["Server-Timing"] = record.timing
    return response


def problem_response(request: web.Request, error: FaceattrError) -> web.Response:
    """Return the problem document of a failure, and log its private details."""
    record = record_of(request)
    record.kind = error.kind
    log_failure(error, record.id)
    response = JsonResponse(request, problem_body(error, record.id), error.status, PROBLEM)
    if isinstance(error, RetryableError):
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, Unauthorized):
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return response


def log_failure(error: FaceattrError, request_id: str) -> None:
    """Log the details of a failure that are not in its problem document, if there are any."""
    if error.log:
        level = next((level for kind, level in _LEVELS.items() if isinstance(error, kind)), logging.DEBUG)
        log.log(level, "request %s: %s: %s", request_id, error.kind, error.log)


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer exceptions with problem documents, and add the request id to every other response."""
    record_of(request)  # its time starts here
    try:
        response = await handler(request)
    except FaceattrError as error:
        return problem_response(request, error)
    except web.HTTPException as error:
        return _http_problem(request, error)
    except (ClientGone, ConnectionResetError):
        return web.Response(status=CLIENT_GONE)
    except Exception:
        log.exception("request %s failed", record_of(request).id)
        return problem_response(request, InternalError())
    if not response.prepared:
        response.headers[REQUEST_ID] = record_of(request).id
    return response


def _http_problem(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """Return the problem document of an error that aiohttp raised, such as 404 or 405; raise redirects again."""
    if error.status < 400:  # noqa: PLR2004  # the first status of an error
        raise error
    record = record_of(request)
    record.kind = error.reason.lower().replace(" ", "-")
    general = FaceattrError(f"{request.method} {request.path} is not served here.")
    changes = {"type": f"urn:faceattr:{record.kind}", "title": error.reason, "status": error.status}
    document = problem_body(general, record.id) | changes
    response = JsonResponse(request, document, error.status, PROBLEM)
    if hdrs.ALLOW in error.headers:
        response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    return response
