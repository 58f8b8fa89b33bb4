"""What is told of a request once it has its answer: sizes, times and words out of short lists, never what was in it.
Knows no HTTP library and nobody who listens.
"""

import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from faceattr_aio.pipeline import Reply

_REFUSALS = frozenset({429, 503})
_FAULTS = 500
"""The lowest status of a fault of ours."""


@dataclass
class RequestRecord:
    """One request. `path` is as the client sent it, without the query, `route` as it was declared, `pipeline` its name
    or nothing, `kind` that of its failure. `received` and `sent` are bytes of bodies, `since` is on the monotonic
    clock, `seconds` last to the first byte of the answer, `waiting` is how many waited for a worker as it came, `laps`
    are milliseconds by stage, `counts` what was found, `sources` whether results were computed (`miss`, `collapsed`,
    `hit`), and `traceparent` is W3C's.
    """

    id: str
    method: str
    path: str = ""
    traceparent: str = ""
    since: float = field(default_factory=time.monotonic)
    pipeline: str = ""
    route: str = ""
    status: int = 0
    kind: str = ""
    received: int = 0
    sent: int = 0
    seconds: float = 0.0
    waiting: int = 0
    pictures: int = 0
    laps: list[Mapping[str, float]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    open: bool = False
    """Whether its answer has begun and goes on: it is not to be told yet."""
    in_parts: bool = False
    """Whether what was done for it was told picture by picture."""

    def end_upload(self, pictures: int) -> None:
        """Called when so many pictures have arrived."""
        self.pictures = pictures
        self.laps.append({"upload": (time.monotonic() - self.since) * 1e3})

    def end_work(self, reply: Reply, counts: Mapping[str, int]) -> None:
        """Called with the reply for each picture, and what was counted in it."""
        self.laps.append(reply.laps)
        self.sources[reply.source] += 1
        self.counts.update(counts)

    def absorb(self, part: "RequestRecord") -> None:
        """Takes in what was told already of some of its pictures, and grows no larger, however many follow."""
        self.pictures += part.pictures
        self.counts.update(part.counts)
        self.sources.update(part.sources)
        self.laps = [*self.laps, *part.laps]
        self.laps = [self.stages]
        self.in_parts = True

    @property
    def ended(self) -> float:
        """When its answer was ready, on the monotonic clock."""
        return self.since + self.seconds

    @property
    def ended_at(self) -> float:
        """The same in seconds since 1970."""
        return time.time() - (time.monotonic() - self.ended)  # noqa: TID251  # a point in time

    @property
    def refused(self) -> bool:
        """Whether the answer was to come back later: no fault of anybody."""
        return self.status in _REFUSALS

    @property
    def failed(self) -> bool:
        """Whether the fault was ours."""
        return self.status >= _FAULTS and not self.refused

    @property
    def stages(self) -> dict[str, float]:
        """Milliseconds by stage, summed over the pictures."""
        total: dict[str, float] = {}
        for lap in self.laps:
            for stage, ms in lap.items():
                total[stage] = total.get(stage, 0.0) + ms
        return total

    @property
    def timing(self) -> str:
        """The stages as W3C Server Timing has them."""
        return ", ".join(f"{stage};dur={ms:.2f}" for stage, ms in self.stages.items())

    def fields(self) -> dict[str, object]:
        """All of it as plain data."""
        return {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "pipeline": self.pipeline,
            "status": self.status,
            "kind": self.kind,
            "received_bytes": self.received,
            "sent_bytes": self.sent,
            "ms": round(self.seconds * 1e3, 2),
            "pictures": self.pictures,
            **self.counts,
            **self.sources,
            "stages_ms": {stage: round(ms, 2) for stage, ms in self.stages.items()},
        }


log = logging.getLogger("faceattr_aio.journal")

REQUEST_ID = "X-Request-ID"
_TRACEPARENT = "traceparent"
_SANE_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
_STORY: web.RequestKey[RequestRecord] = web.RequestKey("faceattr_aio.story", RequestRecord)

Listener = Callable[[RequestRecord], None]


def record_of(request: web.Request) -> RequestRecord:
    """The same for the whole request, begun when it is asked for first."""
    if _STORY not in request:
        path, traceparent = request.raw_path.partition("?")[0], request.headers.get(_TRACEPARENT, "")
        request[_STORY] = RequestRecord(_identity(request), request.method, path, traceparent)
    return request[_STORY]


class RecordBuffer:
    """Gathers stories, and tells them to listeners many at a time: one by one, between requests, would cost twice as
    much.
    """

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self.listeners = list(listeners)
        self._untold: list[RequestRecord] = []

    async def end(self, request: web.Request, response: web.StreamResponse) -> None:
        """For `app.on_response_prepare`, which sees every answer of an app: also those that no handler gave."""
        told = record_of(request)
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


def _tell(listener: Listener, one: RequestRecord) -> None:
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
