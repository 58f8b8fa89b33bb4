"""The life of one request, from top to bottom. Knows what a pipeline declares, not what it does."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from aiohttp import HttpVersion11, hdrs, web

from faceattr_aio.admission.clients import ClientLimits
from faceattr_aio.cache.results import Results, make_key
from faceattr_aio.errors import FaceattrError, MalformedUpload, NotAcceptable, UnknownExpectation
from faceattr_aio.inference.executor import Executor
from faceattr_aio.pipeline import JSON, Declaration, Outcome, Reply, Task
from faceattr_aio.telemetry.record import record_of
from faceattr_aio.uploads.receive import Uploads
from faceattr_aio.uploads.spool import SpoolFile
from faceattr_aio.web.auth import Authenticator
from faceattr_aio.web.body import read
from faceattr_aio.web.params import CONTENT_DIGEST, RequestParams, parse_deadline, parse_params
from faceattr_aio.web.responses import problem_response, respond

_EXPECTED = "100-continue"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Intake = tuple[list[SpoolFile], list[Task | FaceattrError]]
"""Pictures that have arrived, and what is to be done with each."""


@dataclass
class Endpoint:
    """One pipeline behind HTTP. `active` counts the requests between their first line and their answer."""

    name: str
    declaration: Declaration
    executor: Executor
    uploads: Uploads
    clients: Authenticator
    fairness: ClientLimits
    results: Results
    cache_control: str = "no-store"
    deadline_s: float = math.inf
    active: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        """POST: pictures in, answers out."""
        self.active += 1
        try:
            return await self._answer(request)
        finally:
            self.active -= 1

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """`Expect: 100-continue`."""
        return await invite(request, self._let_in)

    async def _answer(self, request: web.Request) -> web.Response:
        """The order of work of every request."""
        if known := await self._promised(request):
            return self._respond(request, [known], JSON)
        client, wishes = self._let_in(request)
        with ExitStack() as held:
            pictures, tasks = await self._take_in(request, client, wishes, held)
            keys = [self.key(picture.digest, wishes) for picture in pictures]
            work = partial(self._work, request, client, wishes, held)
            outcomes = await self.results.get_or_run(tasks, keys, work, wishes.deadline)
        return self._respond(request, outcomes, wishes.media_type)

    async def _take_in(self, request: web.Request, client: str, wishes: RequestParams, held: ExitStack) -> Intake:
        """The pictures of the body, in files that `held` closes."""
        await self.fairness.count(client)
        with self.fairness.upload(client):
            body = read(request.content)
            pictures = await self.uploads.receive(body, wishes.content_type, held, wishes.deadline)
        record_of(request).end_upload(len(pictures))
        return pictures, [_task(picture, wishes, len(pictures)) for picture in pictures]

    async def _promised(self, request: web.Request) -> Reply | None:
        """The result for a body that tells its digest, if it is known: even a full server can answer that, unread."""
        if CONTENT_DIGEST not in request.headers:
            return None
        self.identify(request)
        wishes = parse_params(request, self.declaration, math.inf)
        key = self.key(wishes.digest, wishes)
        return await self.results.get(key) if key else None

    def _let_in(self, request: web.Request) -> tuple[str, RequestParams]:
        """Who wants what, if that can be had: all that is told by the headers alone. Raises FaceattrError."""
        client = self.identify(request)
        deadline = parse_deadline(request, record_of(request).since, self.deadline_s)
        self.executor.check(deadline, self.name)
        self.uploads.check(request.content_length)
        return client, parse_params(request, self.declaration, deadline)

    def identify(self, request: web.Request) -> str:
        """Raises Unauthorized or RateLimited."""
        told = record_of(request)
        told.pipeline, told.waiting = self.name, self.executor.limiter.waiting
        client = self.clients.identify(request)
        self.fairness.check(client)
        return client

    def key(self, digest: bytes, wishes: RequestParams) -> str | None:
        """Under which a result is known; None when it is wanted anew, or is nothing to keep."""
        is_kept = self.results.cache and self.declaration.repeatable and wishes.media_type == JSON
        if not is_kept or wishes.is_fresh or not digest:
            return None
        return make_key(digest, wishes.options.model_dump_json(), self.executor.fingerprint(self.name))

    def count(self, reply: Reply) -> dict[str, int]:
        """What metrics and logs tell of a result, by name."""
        return {name: count(reply.result) for name, count in self.declaration.counts.items()}

    async def _work(
        self, request: web.Request, client: str, wishes: RequestParams, held: ExitStack, tasks: Sequence[Task]
    ) -> list[Outcome]:
        """The pictures whose results are not known."""
        held.callback(self.fairness.acquire(client))
        return await self.executor.run_all(
            self.name, tasks, held, lambda: request.transport is not None, wishes.deadline
        )

    def _respond(self, request: web.Request, outcomes: Sequence[Outcome], media_type: str) -> web.Response:
        told = record_of(request)
        for reply in outcomes:
            if isinstance(reply, Reply):
                told.end_work(reply, self.count(reply))
        response = respond(request, outcomes, media_type)
        response.headers[hdrs.CACHE_CONTROL] = self.cache_control
        return response


async def invite(request: web.Request, let_in: Callable[[web.Request], object]) -> web.StreamResponse | None:
    """Refuses with the final status, where `let_in` raises it, instead of inviting a body that will be refused."""
    try:
        if request.headers[hdrs.EXPECT].lower() != _EXPECTED:
            raise UnknownExpectation(f"Expect can be {_EXPECTED} and nothing else.")
        let_in(request)
    except FaceattrError as error:
        return refuse_expectation(request, error)
    if request.version >= HttpVersion11:
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # else a later failure would count as sent already
    return None


def refuse_expectation(request: web.Request, error: FaceattrError) -> web.Response:
    """The final status, instead of 100."""
    response = problem_response(request, error)
    response.force_close()  # else the next request would be taken for the body that was never sent
    return response


def _task(picture: SpoolFile, wishes: RequestParams, pictures: int) -> Task | FaceattrError:
    media_type = None if wishes.media_type == JSON else wishes.media_type
    if media_type and pictures > 1:
        raise NotAcceptable(f"{media_type} can answer one picture, and there are {pictures}; several need {JSON}.")
    if wishes.digest and picture.digest and wishes.digest != picture.digest:
        raise MalformedUpload("The picture is not the one that Content-Digest tells of; send it again.")
    return picture.fault or Task(picture.path, wishes.options, media_type, probed=True)
