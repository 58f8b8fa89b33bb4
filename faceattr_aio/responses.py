"""What came of the pictures of a request becomes its response. Knows no pipeline, and not how it came about."""

from collections.abc import Mapping, Sequence

from aiohttp import web

from faceattr_aio.batch import Outcome
from faceattr_aio.errors import FaceattrError
from faceattr_aio.journal import story
from faceattr_aio.pipeline import Reply
from faceattr_aio.problems import JsonResponse, problem, problem_response

_CACHE_STATUS = {
    "hit": "faceattr_aio; hit",
    "collapsed": "faceattr_aio; fwd=uri-miss; collapsed",
    "miss": "faceattr_aio; fwd=uri-miss; stored",
    "bypass": "faceattr_aio; fwd=bypass",
}
"""RFC 9211."""


def respond(request: web.Request, outcomes: Sequence[Outcome], media_type: str) -> web.Response:
    """One picture's answer or failure as it is, several as a list in which a failure is an entry."""
    response = _single(request, outcomes[0], media_type) if len(outcomes) == 1 else _batch(request, outcomes)
    response.headers["Server-Timing"] = story(request).timing
    return response


def _single(request: web.Request, outcome: Outcome, media_type: str) -> web.Response:
    if isinstance(outcome, FaceattrError):
        return problem_response(request, outcome)
    if outcome.body is None:
        response: web.Response = _json(request, _document(outcome))
    else:
        response = web.Response(body=outcome.body, content_type=media_type)
    response.headers["Cache-Status"] = _CACHE_STATUS[outcome.source]
    return response


def _batch(request: web.Request, outcomes: Sequence[Outcome]) -> web.Response:
    identity = story(request).id
    results = [
        {"error": problem(outcome, identity)} if isinstance(outcome, FaceattrError) else _document(outcome)
        for outcome in outcomes
    ]
    return _json(request, {"results": results})


def _json(request: web.Request, document: Mapping[str, object]) -> JsonResponse:
    return JsonResponse(request, {"id": story(request).id, **document})


def _document(reply: Reply) -> dict[str, object]:
    return {**reply.result, "cached": reply.source == "hit"}
