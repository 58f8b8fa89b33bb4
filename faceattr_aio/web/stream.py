"""One request of any number of pictures, from the first to the last: each is a line of the answer, in order, while more
still arrive. No slot is held while the client is waited for, in either direction. Knows not who may open one.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count

from aiohttp import web

from faceattr_aio.admission.wait_queue import WaitQueue
from faceattr_aio.errors import ClientGone, FaceattrError, InternalError, RateLimited
from faceattr_aio.pipeline import Outcome, Reply, Task
from faceattr_aio.schemas import picture_body, problem_body
from faceattr_aio.telemetry.record import RequestRecord, record_of
from faceattr_aio.uploads.spool import SpoolFile
from faceattr_aio.uploads.stream import StreamedPicture, StreamingUpload
from faceattr_aio.web.body import has_left
from faceattr_aio.web.handlers import Endpoint
from faceattr_aio.web.ndjson import Lines
from faceattr_aio.web.params import RequestParams
from faceattr_aio.web.responses import GONE, log_failure

log = logging.getLogger("faceattr_aio.stream")

_LOOK_S = 0.25
"""How often somebody who waits for a worker sees whether the client is still there."""


@dataclass(frozen=True)
class StreamConfig:
    """What all streams of an app have in common: `window` pictures of one may be under way, `tell` is told of each."""

    turns: WaitQueue
    window: Callable[[], int]
    tell: Callable[[RequestRecord], None]


class Stream:
    """Run it once."""

    def __init__(
        self,
        request: web.Request,
        endpoint: Endpoint,
        client: str,
        wishes: RequestParams,
        arrivals: StreamingUpload,
        terms: StreamConfig,
    ) -> None:
        self._request, self._endpoint, self._client, self._wishes = request, endpoint, client, wishes
        self._arrivals, self._terms = arrivals, terms
        self._lines = Lines(request, endpoint.cache_control)
        self._room = asyncio.Semaphore(terms.window())
        self._coming: asyncio.Queue[asyncio.Task[Outcome] | None] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._told = record_of(request)

    def stop(self, reason: FaceattrError) -> None:
        """Takes in no more; what has arrived is still answered, and then `reason`."""
        self._stopping.set()
        self._arrivals.stop(reason)

    async def run(self) -> web.StreamResponse:
        """The answer, which has been sent by then. Raises what goes wrong before its first line."""
        try:
            await self._answer_all()
        except Exception as error:
            if not self._lines.prepared:
                raise
            await self._end_early(error)
        finally:
            self._told.received = self._request.content.total_bytes
            self._told.open = False
        return self._lines

    async def _end_early(self, error: Exception) -> None:
        """The status is sent already: the last line says why it is the last."""
        self._lines.force_close()
        if isinstance(error, ClientGone | ConnectionError):
            self._told.status = GONE
            return
        if not isinstance(error, FaceattrError):
            log.error("request %s failed", self._told.id, exc_info=error)
            error = InternalError()
        self._told.kind = error.kind
        with suppress(ClientGone, ConnectionError):
            await self._add({"error": problem_body(error, self._told.id)})

    async def _answer_all(self) -> None:
        reading = asyncio.create_task(self._read())
        reading.add_done_callback(lambda _: self._coming.put_nowait(None))
        try:
            while working := await self._coming.get():
                await self._answer(working)
                self._room.release()
            await reading  # raises why there is no more to read, unless it is that all was read
        finally:
            await self._give_up(reading)

    async def _read(self) -> None:
        async with aclosing(self._arrivals.pictures()) as pictures:
            for number in count():
                await self._room.acquire()  # before anything is read: the client notices that we are slower
                arrival = await anext(pictures, None)
                if arrival is None:
                    return
                working = asyncio.create_task(self._perform(arrival, number))
                working.add_done_callback(partial(_close, arrival.resources))  # also of one that never began
                self._coming.put_nowait(working)

    async def _answer(self, working: "asyncio.Task[Outcome]") -> None:
        try:
            while not working.done():
                await asyncio.wait({working}, timeout=_LOOK_S)
                if has_left(self._request):
                    raise ClientGone
            outcome = working.result()
        finally:
            working.cancel()
        number = self._told.pictures
        self._tell(outcome)
        await self._add({"number": number, **picture_body(outcome, self._told.id)})

    def _is_wanted(self) -> bool:
        """Asked in other threads too."""
        return self._request.transport is not None

    async def _add(self, document: dict[str, object]) -> None:
        self._told.open = True
        await self._lines.add({"id": self._told.id, **document}, self._endpoint.uploads.limits.timeout_s)

    def _tell(self, outcome: Outcome) -> None:
        part = RequestRecord(self._told.id, self._told.method, pipeline=self._told.pipeline, pictures=1)
        if isinstance(outcome, Reply):
            part.end_work(outcome, self._endpoint.count(outcome))
        else:
            log_failure(outcome, self._told.id)
        self._terms.tell(part)
        self._told.absorb(part)

    async def _perform(self, arrival: StreamedPicture, number: int) -> Outcome:
        """One picture, however long it has to wait for its turn."""
        if arrival.fault:
            return arrival.fault
        try:
            if number:  # the first was counted with the request
                await self._wait_to_be_counted()
            return await self._find_out(arrival.picture, arrival.resources)
        except FaceattrError as fault:
            return fault.bare()

    async def _find_out(self, picture: SpoolFile, held: ExitStack) -> Outcome:
        task = Task(picture.path, self._wishes.options, probed=True)
        key = self._endpoint.key(picture.digest, self._wishes)
        work = partial(self._work, held)
        (outcome,) = await self._endpoint.results.get_or_run([task], [key], work, math.inf)
        return outcome

    async def _work(self, held: ExitStack, tasks: Sequence[Task]) -> list[Outcome]:
        await self._take_slot(held)
        executor, name = self._endpoint.executor, self._endpoint.name
        return [await executor.run_in_slot(name, tasks[0], held, self._is_wanted)]

    async def _wait_to_be_counted(self) -> None:
        """Each picture counts like a request; who sends more of them than it may is read more slowly."""
        while not self._stopping.is_set():
            try:
                await self._endpoint.fairness.count(self._client)
            except RateLimited as early:
                with suppress(TimeoutError):
                    async with asyncio.timeout(early.retry_after_s):
                        await self._stopping.wait()
            else:
                return

    async def _take_slot(self, held: ExitStack) -> None:
        """Waits for one; the client's own other requests may be what there is to wait for."""
        while True:
            release = await self._terms.turns.acquire()
            try:
                held.callback(self._endpoint.fairness.acquire(self._client))
            except RateLimited:
                release()
                await asyncio.sleep(self._endpoint.executor.limiter.service_s)
            else:
                held.callback(release)
                return

    async def _give_up(self, reading: asyncio.Task[None]) -> None:
        """Whatever still waits or works has nobody to do it for."""
        left: list[asyncio.Task[None] | asyncio.Task[Outcome]] = [reading]
        while not self._coming.empty():
            if working := self._coming.get_nowait():
                left.append(working)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _close(held: ExitStack, _: object) -> None:
    held.close()
