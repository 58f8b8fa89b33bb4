"""What came of the pictures of a request becomes its response. Knows no pipeline, and not how it came about."""

from collections.abc import Sequence

from aiohttp import web

from faceattr_aio.batch import Outcome
from faceattr_aio.documents import answer, entry
from faceattr_aio.errors import FaceattrError
from faceattr_aio.journal import story
from faceattr_aio.problems import JsonResponse, problem_response

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
        identity = story(request).id
        response = JsonResponse(request, answer([entry(one, identity) for one in outcomes], identity))
    response.headers["Server-Timing"] = story(request).timing
    return response


def _single(request: web.Request, outcome: Outcome, media_type: str) -> web.Response:
    if isinstance(outcome, FaceattrError):
        return problem_response(request, outcome)
    if outcome.body is None:
        identity = story(request).id
        response: web.Response = JsonResponse(request, answer([entry(outcome, identity)], identity))
    else:
        response = web.Response(body=outcome.body, content_type=media_type)
    response.headers["Cache-Status"] = _CACHE_STATUS[outcome.source]
    return response
