"""Who may have an answer line by line, how many at a time, and their end when the server goes down. All other requests
pass. Knows no pipeline, and not how a stream is worked on.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import Draining
from faceattr_aio.pipeline import JSON
from faceattr_aio.uploads.stream import StreamingUpload
from faceattr_aio.web.body import read
from faceattr_aio.web.handlers import Endpoint, invite
from faceattr_aio.web.params import RequestParams, accepts_stream, parse_params
from faceattr_aio.web.stream import Stream, StreamConfig


class Streams:
    """Those of an app that are open, each an upload in progress; `room` is how many of these they may be."""

    def __init__(self, room: Limiter, uploads: Limiter) -> None:
        self._room, self._uploads = room, uploads
        self._open: set[Stream] = set()

    def check(self) -> None:
        """Whether one more may be opened. Raises Overloaded or Draining."""
        self._room.check()
        self._uploads.check()

    @contextmanager
    def open(self, stream: Stream) -> Iterator[None]:
        """Counts it as long as it lasts. Raises Overloaded or Draining."""
        self.check()
        with ExitStack() as held:
            held.callback(self._room.acquire())
            held.callback(self._uploads.acquire())
            self._open.add(stream)
            held.callback(self._open.remove, stream)
            yield

    def stop(self) -> None:
        """No new ones; what has arrived for the others is answered, and then they end with Draining."""
        self._room.drain()
        for stream in self._open:
            stream.stop(Draining())


class Door(Protocol):
    """Where all goes that is no stream."""

    async def handle(self, request: web.Request) -> web.StreamResponse: ...
    async def expect(self, request: web.Request) -> web.StreamResponse | None: ...


@dataclass(frozen=True)
class Front:
    """What stands before a pipeline's endpoint: streams go their own way."""

    endpoint: Endpoint
    door: Door
    streams: Streams
    terms: StreamConfig

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """POST: pictures in, answers out."""
        if not accepts_stream(request, self.endpoint.declaration):
            return await self.door.handle(request)
        self.endpoint.active += 1
        try:
            return await self._stream(request)
        finally:
            self.endpoint.active -= 1

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """`Expect: 100-continue`."""
        if not accepts_stream(request, self.endpoint.declaration):
            return await self.door.expect(request)
        return await invite(request, self._let_in)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        client, wishes = self._let_in(request)
        uploads = self.endpoint.uploads
        arrivals = StreamingUpload(uploads, read(request.content), wishes.content_type)
        stream = Stream(request, self.endpoint, client, wishes, arrivals, self.terms)
        await self.endpoint.fairness.count(client)
        with self.endpoint.fairness.upload(client), self.streams.open(stream):
            return await stream.run()

    def _let_in(self, request: web.Request) -> tuple[str, RequestParams]:
        """Who wants what. Whether there is a slot just now does not matter: a stream waits for its turns. Raises
        FaceattrError.
        """
        client = self.endpoint.identify(request)
        self.endpoint.executor.pool.check()
        self.streams.check()
        return client, parse_params(request, self.endpoint.declaration, math.inf, JSON)
