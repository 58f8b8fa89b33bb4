"""What came of the pictures of a request becomes its response. Knows no pipeline, and not how it came about."""

import json
import logging
import math
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import hdrs, web

from faceattr_aio.errors import (
    ClientGone,
    FaceattrError,
    InternalError,
    RetryableError,
    StorageUnavailable,
    Unauthorized,
    Unavailable,
)
from faceattr_aio.pipeline import JSON, Outcome
from faceattr_aio.schemas import Document, answer_body, picture_body, problem_body
from faceattr_aio.telemetry.record import REQUEST_ID, record_of
from faceattr_aio.web.body import Lingering

_CACHE_STATUS = {
    "hit": "faceattr_aio; hit",
    "collapsed": "faceattr_aio; fwd=uri-miss; collapsed",
    "miss": "faceattr_aio; fwd=uri-miss; stored",
    "bypass": "faceattr_aio; fwd=bypass",
}
"""RFC 9211."""


def respond(request: web.Request, outcomes: Sequence[Outcome], media_type: str) -> web.Response:
    """One picture's answer or failure as it is, several as a list in which a failure is an entry."""
    if len(outcomes) == 1:
        response = _single(request, outcomes[0], media_type)
    else:
        identity = record_of(request).id
        response = JsonResponse(request, answer_body([picture_body(one, identity) for one in outcomes], identity))
    response.headers["Server-Timing"] = record_of(request).timing
    return response


def _single(request: web.Request, outcome: Outcome, media_type: str) -> web.Response:
    if isinstance(outcome, FaceattrError):
        return problem_response(request, outcome)
    if outcome.body is None:
        identity = record_of(request).id
        response: web.Response = JsonResponse(request, answer_body([picture_body(outcome, identity)], identity))
    else:
        response = web.Response(body=outcome.body, content_type=media_type)
    response.headers["Cache-Status"] = _CACHE_STATUS[outcome.source]
    return response


log = logging.getLogger("faceattr_aio.problems")

PROBLEM = "application/problem+json"
LINGERING: web.AppKey[Lingering] = web.AppKey("faceattr_aio.lingering", Lingering)
GONE = 499
"""Never sent, because there is nobody to send it to; a known number for it in logs."""

_LEVELS = {InternalError: logging.ERROR, StorageUnavailable: logging.WARNING, Unavailable: logging.WARNING}
"""What an operator should know of, however it was asked for; the rest is the client's."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class JsonResponse(web.Response):
    """Stays with the connection after the answer was sent, until what the client still sends has run out."""

    def __init__(self, request: web.Request, document: Document, status: int = 200, content_type: str = JSON) -> None:
        headers = {REQUEST_ID: record_of(request).id}
        super().__init__(text=json.dumps(document), status=status, content_type=content_type, headers=headers)
        self._request = request
        self._lingering = request.app[LINGERING]

    async def write_eof(self, data: bytes = b"") -> None:
        """Closes the connection when the rest of the body is not to be waited for."""
        await super().write_eof(data)
        if not await self._lingering.run_out(self._request):
            self._request.protocol.force_close()


def problem_response(request: web.Request, error: FaceattrError) -> web.Response:
    """The failure as a response; what must not be public goes to the log."""
    told = record_of(request)
    told.kind = error.kind
    log_failure(error, told.id)
    response = JsonResponse(request, problem_body(error, told.id), error.status, PROBLEM)
    if isinstance(error, RetryableError):
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, Unauthorized):
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return response


def log_failure(error: FaceattrError, identity: str) -> None:
    """What must not be public goes to the log."""
    if error.log:
        level = _LEVELS.get(type(error), logging.DEBUG)
        log.log(level, "request %s: %s: %s", identity, error.kind, error.log)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers every failure of a route with its problem document."""
    try:
        response = await handler(request)
    except FaceattrError as error:
        return problem_response(request, error)
    except web.HTTPException as error:
        return _http_problem(request, error)
    except (ClientGone, ConnectionResetError):
        return web.Response(status=GONE)
    except Exception:
        log.exception("request %s failed", record_of(request).id)
        return problem_response(request, InternalError())
    if not response.prepared:
        response.headers[REQUEST_ID] = record_of(request).id
    return response


def _http_problem(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """Aiohttp's own refusals, as 404 and 405, in the same form; what is no failure passes."""
    if error.status < 400:  # noqa: PLR2004  # the first status of a failure
        raise error
    told = record_of(request)
    told.kind = error.reason.lower().replace(" ", "-")
    document = {
        "type": f"urn:faceattr:{told.kind}",
        "title": error.reason,
        "status": error.status,
        "detail": f"{request.method} {request.path} is not served here.",
        "instance": told.id,
    }
    response = JsonResponse(request, document, error.status, PROBLEM)
    if hdrs.ALLOW in error.headers:
        response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    return response
