"""Streamed answers: any number of pictures in one request, each answered by a line of NDJSON while others arrive.

No slot is held while the server waits for the client to send or to read.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count

from aiohttp import web

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.admission.wait_queue import WaitQueue
from faceattr_aio.errors import ClientGone, Draining, FaceattrError, InternalError, RateLimited
from faceattr_aio.pipeline import JSON, Outcome, Reply, Task
from faceattr_aio.schemas import Document, picture_body, problem_body
from faceattr_aio.telemetry.record import RequestRecord, record_of
from faceattr_aio.uploads.stream import StreamedPicture, StreamingUpload
from faceattr_aio.web.body import has_left, read_chunks
from faceattr_aio.web.handlers import Endpoint
from faceattr_aio.web.params import RequestParams
from faceattr_aio.web.responses import CLIENT_GONE, NdjsonResponse, log_failure

log = logging.getLogger("faceattr_aio.stream")

_DISCONNECT_CHECK_S = 0.25
"""Interval of the checks for a disconnect while a picture is processed."""


class OpenStreams:
    """The streams of an app; each open one is an upload in progress as well."""

    def __init__(self, limiter: Limiter, uploads: Limiter) -> None:
        self._limiter, self._uploads = limiter, uploads
        self._open: set[Stream] = set()
        self.endpoints: dict[str, StreamEndpoint] = {}
        """The streaming endpoint of each pipeline, by name."""

    def check(self) -> None:
        """Raises Overloaded or Draining when no stream can be opened."""
        self._limiter.check()
        self._uploads.check()

    @contextmanager
    def add(self, stream: "Stream") -> Iterator[None]:
        """Count a stream while it is open. Raises Overloaded or Draining."""
        self.check()
        with ExitStack() as resources:
            resources.callback(self._limiter.acquire())
            resources.callback(self._uploads.acquire())
            self._open.add(stream)
            resources.callback(self._open.remove, stream)
            yield

    @property
    def is_idle(self) -> bool:
        """True when no stream is open."""
        return not self._open and not self._limiter.in_flight

    def stop(self) -> None:
        """Refuse new streams. Open ones answer the pictures that have arrived and end with Draining."""
        self._limiter.drain()
        for stream in self._open:
            stream.stop(Draining())


@dataclass(kw_only=True)
class StreamEndpoint(Endpoint):
    """One pipeline, answered by streams.

    `queue` is where pictures wait for slots, `window` is the number of pictures of a stream that may be in progress (by
    default twice the workers), `on_picture` is called with the record of each picture.
    """

    streams: OpenStreams
    queue: WaitQueue
    window: int | None
    on_picture: Callable[[RequestRecord], None]

    def admit(self, request: web.Request) -> tuple[str, RequestParams]:
        """See Endpoint. A free slot is not required, because a stream waits for slots."""
        client = self.authenticate(request)
        self.executor.pool.check()
        self.streams.check()
        return client, RequestParams.parse(request, self.declaration, math.inf, JSON)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer each picture by a line; return when the last one was sent."""
        client, params = self.admit(request)
        stream = Stream(request, self, client, params)
        await self.limits.count(client)
        with self.limits.upload(client), self.streams.add(stream):
            return await stream.run()


class Stream:
    """One streamed request. `run` is called once."""

    def __init__(self, request: web.Request, endpoint: StreamEndpoint, client: str, params: RequestParams) -> None:
        self._request, self._endpoint, self._client, self._params = request, endpoint, client, params
        self._upload = StreamingUpload(endpoint.uploads, read_chunks(request.content), params.content_type)
        self._response = NdjsonResponse(request, endpoint.cache_control, endpoint.uploads.limits.timeout_s)
        workers = endpoint.executor.limiter_of(endpoint.name).workers
        self._window = asyncio.Semaphore(endpoint.window or 2 * workers)
        self._in_progress: asyncio.Queue[asyncio.Task[Outcome] | None] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._record = record_of(request)

    def stop(self, reason: FaceattrError) -> None:
        """Read no more pictures; answer those that have arrived and end with `reason`."""
        self._stopping.set()
        self._upload.stop(reason)

    async def run(self) -> web.StreamResponse:
        """Return the response after it was sent. Raises what fails before the first line."""
        try:
            await self._answer_all()
        except Exception as error:
            if not self._response.prepared:
                raise
            await self._end_with(error)
        finally:
            self._record.received = self._request.content.total_bytes
            self._record.open = False
        return self._response

    async def _end_with(self, error: Exception) -> None:
        """Send the error as the last line: the status was sent already."""
        self._response.force_close()
        if isinstance(error, ClientGone | ConnectionError):
            self._record.status = CLIENT_GONE
            return
        if not isinstance(error, FaceattrError):
            log.error("request %s failed", self._record.id, exc_info=error)
            error = InternalError()
        self._record.kind = error.kind
        with suppress(ClientGone, ConnectionError):
            await self._send({"error": problem_body(error, self._record.id)})

    async def _answer_all(self) -> None:
        reading = asyncio.create_task(self._read())
        reading.add_done_callback(lambda _: self._in_progress.put_nowait(None))
        try:
            while task := await self._in_progress.get():
                await self._answer(task)
                self._window.release()
            await reading  # raises why reading ended, unless the body has ended
        finally:
            await self._cancel(reading)

    async def _read(self) -> None:
        """Start a task for each picture as it arrives."""
        async with aclosing(self._upload.pictures()) as pictures:
            for number in count():
                await self._window.acquire()  # before reading, so that a client that sends faster is held back
                picture = await anext(pictures, None)
                if picture is None:
                    return
                task = asyncio.create_task(self._process(picture, number))
                task.add_done_callback(partial(_close, picture.resources))  # also when it is cancelled before it starts
                self._in_progress.put_nowait(task)

    async def _answer(self, task: "asyncio.Task[Outcome]") -> None:
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_DISCONNECT_CHECK_S)
                if has_left(self._request):
                    raise ClientGone
            outcome = task.result()
        finally:
            task.cancel()
        number = self._record.pictures
        self._record_picture(outcome)
        await self._send({"number": number, **picture_body(outcome, self._record.id)})

    async def _send(self, document: Document) -> None:
        self._record.open = True
        await self._response.send({"id": self._record.id, **document})

    def _record_picture(self, outcome: Outcome) -> None:
        part = RequestRecord(self._record.id, self._record.method, pipeline=self._record.pipeline, pictures=1)
        if isinstance(outcome, Reply):
            self._endpoint.end_work(part, outcome)
        else:
            log_failure(outcome, self._record.id)
        self._endpoint.on_picture(part)
        self._record.absorb(part)

    async def _process(self, picture: StreamedPicture, number: int) -> Outcome:
        """Return the outcome of one picture, which waits for a slot as long as it has to."""
        if picture.fault:
            return picture.fault
        try:
            if number:  # the first picture was counted with the request
                await self._wait_for_rate_limit()
            task = Task(picture.picture.path, self._params.options, probed=True)
            key = self._endpoint.key(picture.picture.digest, self._params)
            run = partial(self._run, picture.resources)
            (outcome,) = await self._endpoint.results.get_or_run([task], [key], run, math.inf)
        except FaceattrError as fault:
            return fault.without_traceback()
        return outcome

    async def _run(self, resources: ExitStack, tasks: Sequence[Task]) -> list[Outcome]:
        await self._acquire_slot(resources)
        return await self._endpoint.executor.run_all(
            self._endpoint.name, tasks, resources, lambda: self._request.transport is not None, has_slot=True
        )

    async def _wait_for_rate_limit(self) -> None:
        """Count a picture like a request; wait while the client is over its rate."""
        while not self._stopping.is_set():
            try:
                await self._endpoint.limits.count(self._client)
            except RateLimited as early:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), early.retry_after_s)
            else:
                return

    async def _acquire_slot(self, resources: ExitStack) -> None:
        """Wait for a slot; also while other requests of the same client hold its share of them."""
        while True:
            release = await self._endpoint.queue.acquire()
            try:
                resources.callback(self._endpoint.limits.slots.acquire(self._client))
            except RateLimited:
                release()
                await asyncio.sleep(self._endpoint.executor.limiter.service_s)
            else:
                resources.callback(release)
                return

    async def _cancel(self, reading: asyncio.Task[None]) -> None:
        """Cancel the reader and every picture in progress, and wait for them."""
        tasks: list[asyncio.Task[None] | asyncio.Task[Outcome] | None] = [reading]
        while not self._in_progress.empty():
            tasks.append(self._in_progress.get_nowait())
        for task in filter(None, tasks):
            task.cancel()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)


def _close(resources: ExitStack, _: object) -> None:
    resources.close()
