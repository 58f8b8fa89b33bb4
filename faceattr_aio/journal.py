"""The story of each request: begun with it, filled in by whoever works on it, told to listeners when its answer is
ready to be sent, whatever that is. Knows nobody who listens.
"""

import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence

from aiohttp import web

from faceattr_aio.story import Story

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
_TRACEPARENT = "traceparent"
_SANE_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
_STORY: web.RequestKey[Story] = web.RequestKey("faceattr_aio.story", Story)

Listener = Callable[[Story], None]


def story(request: web.Request) -> Story:
    """The same for the whole request, begun when it is asked for first."""
    if _STORY not in request:
        path, traceparent = request.raw_path.partition("?")[0], request.headers.get(_TRACEPARENT, "")
        request[_STORY] = Story(_identity(request), request.method, path, traceparent)
    return request[_STORY]


class Journal:
    """Gathers stories, and tells them to listeners many at a time: one by one, between requests, would cost twice as
    much.
    """

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self.listeners = list(listeners)
        self._untold: list[Story] = []

    async def end(self, request: web.Request, response: web.StreamResponse) -> None:
        """For `app.on_response_prepare`, which sees every answer of an app: also those that no handler gave."""
        told = story(request)
        told.seconds = time.monotonic() - told.since
        told.status = response.status
        told.route = _route(request)
        told.received = request.content.total_bytes
        told.sent = response.content_length or 0
        self._untold.append(told)

    def tell(self) -> None:
        """Tells what has gathered and is over; to be called now and then, and before anybody asks a listener."""
        untold, self._untold = self._untold, [one for one in self._untold if one.open]
        for one in untold:
            if one.open:
                continue
            for listener in self.listeners:
                _tell(listener, one)


def _tell(listener: Listener, one: Story) -> None:
    try:
        listener(one)
    except Exception:
        log.exception("request %s could not be told", one.id)


def _identity(request: web.Request) -> str:
    """The client's X-Request-ID when it is sane, else one of our own."""
    sent = request.headers.get(REQUEST_ID)
    return sent if sent and _SANE_ID.fullmatch(sent) else secrets.token_hex(16)


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""
