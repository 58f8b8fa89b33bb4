"""The record of one request for logs, metrics and traces: sizes, timings, outcome. Never contains picture data."""

import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from aiohttp import web

from faceattr_aio.pipeline import Reply

log = logging.getLogger("faceattr_aio.journal")

REQUEST_ID = "X-Request-ID"
_TRACEPARENT = "traceparent"
_VALID_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
_REFUSALS = frozenset({429, 503})
_SERVER_ERROR = 500


@dataclass(slots=True)
class RequestRecord:
    """One request.

    `path` is as sent, without the query; `route` is the declared path; `pipeline` and the `kind` of a failure are empty
    when there is none. `received` and `sent` are bytes of the bodies. `since` is on the monotonic clock, `seconds` last
    until the first byte of the response. `waiting` is the number of requests that waited for a worker on arrival.
    `timings` has milliseconds by stage: one mapping for the upload, one for each picture. `counts` has numbers of
    findings (such as `faces`), `sources` the number of results by source. `traceparent` is the W3C header.
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
    timings: list[Mapping[str, float]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    open: bool = False
    """True while the response is being sent, so that the record is incomplete."""
    in_parts: bool = False
    """True when the pictures were recorded one by one, with records of their own."""

    def end_upload(self, pictures: int) -> None:
        """Record the end of the upload and the number of its pictures."""
        self.pictures = pictures
        self.timings.append({"upload": (time.monotonic() - self.since) * 1e3})

    def end_work(self, reply: Reply, counts: Mapping[str, int]) -> None:
        """Add the reply for one picture and its counts (for example `faces`)."""
        self.timings.append(reply.laps)
        self.sources[reply.source] += 1
        self.counts.update(counts)

    def absorb(self, part: "RequestRecord") -> None:
        """Add the record of some of the pictures. The size of this record stays the same for any number of parts."""
        self.pictures += part.pictures
        self.counts.update(part.counts)
        self.sources.update(part.sources)
        self.timings += part.timings
        self.timings = [self.stages]
        self.in_parts = True

    @property
    def ended(self) -> float:
        """Time of the response on the monotonic clock."""
        return self.since + self.seconds

    @property
    def ended_at(self) -> float:
        """Time of the response in seconds since 1970."""
        return time.time() - (time.monotonic() - self.ended)  # noqa: TID251  # a point in time

    @property
    def refused(self) -> bool:
        """True when the client was asked to try again later, which is not a failure."""
        return self.status in _REFUSALS

    @property
    def failed(self) -> bool:
        """True when the server failed."""
        return self.status >= _SERVER_ERROR and not self.refused

    @property
    def stages(self) -> dict[str, float]:
        """Milliseconds by stage, summed over the pictures."""
        total: dict[str, float] = {}
        for stage, ms in (item for timing in self.timings for item in timing.items()):
            total[stage] = total.get(stage, 0.0) + ms
        return total

    @property
    def timing(self) -> str:
        """The stages as the value of a Server-Timing header."""
        return ", ".join([f"{stage};dur={ms:.2f}" for stage, ms in self.stages.items()])

    def fields(self) -> dict[str, object]:
        """The record as plain data."""
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


_RECORD: web.RequestKey[RequestRecord] = web.RequestKey("faceattr_aio.story", RequestRecord)
Listener = Callable[[RequestRecord], None]


def record_of(request: web.Request) -> RequestRecord:
    """The record of the request, created by the first call. Its id is a valid X-Request-ID or a random one."""
    if (record := request.get(_RECORD)) is None:
        identity = request.headers.get(REQUEST_ID, "")
        if not _VALID_ID.fullmatch(identity):
            identity = secrets.token_hex(16)
        path, traceparent = request.raw_path.partition("?")[0], request.headers.get(_TRACEPARENT, "")
        request[_RECORD] = record = RequestRecord(identity, request.method, path, traceparent)
    return record


class RecordBuffer:
    """Collects records and passes them to the listeners many at a time, which costs half of one by one."""

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self.listeners = list(listeners)
        self._records: list[RequestRecord] = []

    async def add(self, request: web.Request, response: web.StreamResponse) -> None:
        """Complete the record of a request. A handler of `app.on_response_prepare`, which gets every response."""
        record, resource = record_of(request), request.match_info.route.resource
        record.seconds = time.monotonic() - record.since
        record.status = response.status
        record.route = resource.canonical if resource else ""
        record.received = request.content.total_bytes
        record.sent = response.content_length or 0
        self._records.append(record)

    def flush(self) -> None:
        """Pass the complete records to the listeners. Call it regularly and before a listener is read."""
        complete = [record for record in self._records if not record.open]
        self._records = [record for record in self._records if record.open]
        for record, listener in product(complete, self.listeners):
            try:
                listener(record)
            except Exception:
                log.exception("request %s could not be recorded", record.id)
