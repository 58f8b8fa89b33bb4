"""The life of a request for a pipeline: `Endpoint.answer` has the order of work, `Dispatch` chooses the kind."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial

from aiohttp import HttpVersion11, hdrs, web

from faceattr_aio.admission.clients import ClientLimits
from faceattr_aio.cache.results import Results, make_key
from faceattr_aio.errors import FaceattrError, MalformedUpload, NotAcceptable, UnknownExpectation
from faceattr_aio.inference.executor import Executor
from faceattr_aio.pipeline import JSON, NDJSON, Declaration, Outcome, Reply, Task
from faceattr_aio.telemetry.record import RequestRecord, record_of
from faceattr_aio.uploads.receive import Uploads
from faceattr_aio.uploads.spool import SpoolFile
from faceattr_aio.web.auth import Authenticator
from faceattr_aio.web.body import read_chunks
from faceattr_aio.web.params import CONTENT_DIGEST, PREFER, RequestParams, accepts_stream, prefers_job, wait_of
from faceattr_aio.web.responses import problem_response, respond

_CONTINUE = "100-continue"


@dataclass
class Endpoint:
    """One pipeline behind HTTP, answered synchronously. `active` counts the requests that are being handled."""

    name: str
    declaration: Declaration
    executor: Executor
    uploads: Uploads
    auth: Authenticator
    limits: ClientLimits
    results: Results
    cache_control: str = "no-store"
    deadline_s: float = math.inf
    active: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Authenticate, admit, receive the pictures, run the pipeline or take known results, respond."""
        if CONTENT_DIGEST in request.headers and (reply := await self.lookup_by_digest(request)):
            return self.respond(request, [reply], JSON)
        client, params = self.admit(request)
        with ExitStack() as resources:
            pictures, tasks = await self.receive(request, client, params, resources)
            keys = [self.key(picture.digest, params) for picture in pictures]
            run = partial(self.run, request, client, params.deadline, resources)
            outcomes = await self.results.get_or_run(tasks, keys, run, params.deadline)
        return self.respond(request, outcomes, params.media_type)

    async def lookup_by_digest(self, request: web.Request) -> Reply | None:
        """Return the cached result for the Content-Digest of the request, or None; the body is not read.

        No slot is needed, so a full server answers too.
        """
        self.authenticate(request)
        params = RequestParams.parse(request, self.declaration, math.inf)
        key = self.key(params.digest, params)
        return await self.results.get(key) if key else None

    def admit(self, request: web.Request) -> tuple[str, RequestParams]:
        """Authenticate the client, check capacity and parse the headers, before the body is read.

        Raises FaceattrError: Unauthorized, RateLimited, Overloaded, Draining, DeadlineOutOfReach, UploadTooLarge, or
        an error about the headers.
        """
        client = self.authenticate(request)
        wait_s = wait_of(request, self.deadline_s) if PREFER in request.headers else self.deadline_s
        deadline = record_of(request).since + wait_s
        self.executor.check(deadline, self.name)
        self.uploads.check(request.content_length)
        return client, RequestParams.parse(request, self.declaration, deadline)

    def authenticate(self, request: web.Request) -> str:
        """Return the client's name. Raises Unauthorized or RateLimited."""
        record = record_of(request)
        record.pipeline, record.waiting = self.name, self.executor.limiter.waiting
        client = self.auth.identify(request)
        if self.limits.enabled:
            self.limits.check(client)
        return client

    async def receive(
        self, request: web.Request, client: str, params: RequestParams, resources: ExitStack
    ) -> tuple[list[SpoolFile], list[Task | FaceattrError]]:
        """Store the pictures of the body in files that `resources` closes; return the files and a task for each."""
        if self.limits.enabled:
            await self.limits.count(client)
        with self.limits.upload(client) if self.limits.enabled else nullcontext():
            chunks = read_chunks(request.content)
            pictures = await self.uploads.receive(chunks, params.content_type, resources, params.deadline)
        record_of(request).end_upload(len(pictures))
        return pictures, [_task(picture, params, len(pictures)) for picture in pictures]

    def key(self, digest: bytes, params: RequestParams) -> str | None:
        """Return the cache key, or None when the result must not be cached."""
        fresh = params.no_cache or params.media_type != JSON or not self.declaration.repeatable
        if fresh or not digest or not self.results.cache:
            return None
        return make_key(digest, params.options.model_dump_json(), self.executor.fingerprint(self.name))

    async def run(
        self, request: web.Request, client: str, deadline: float, resources: ExitStack, tasks: Sequence[Task]
    ) -> list[Outcome]:
        """Run the pipeline on the pictures that are not in the cache. The work takes ownership of `resources`."""
        if self.limits.enabled:
            resources.callback(self.limits.slots.acquire(client))
        return await self.executor.run_all(self.name, tasks, resources, lambda: request.transport is not None, deadline)

    def respond(self, request: web.Request, outcomes: Sequence[Outcome], media_type: str) -> web.Response:
        """Record the outcomes and return the response."""
        for reply in outcomes:
            if isinstance(reply, Reply):
                self.end_work(record_of(request), reply)
        response = respond(request, outcomes, media_type)
        response.headers[hdrs.CACHE_CONTROL] = self.cache_control
        return response

    def end_work(self, record: RequestRecord, reply: Reply) -> None:
        """Add a result to a record, with what logs and metrics count in it: for example its faces."""
        record.end_work(reply, {name: count(reply.result) for name, count in self.declaration.counts.items()})


def choose(endpoint: Endpoint, stream: Endpoint, job: Endpoint | None, request: web.Request) -> Endpoint:
    """Return the endpoint of a pipeline that answers the request: the synchronous one, that of streams or, if there are
    jobs, that of jobs. Raises NotAcceptable.
    """
    if NDJSON in ",".join(request.headers.getall(hdrs.ACCEPT, ())) and accepts_stream(request, endpoint.declaration):
        return stream
    if job and PREFER in request.headers and prefers_job(request, endpoint.declaration):
        return job
    return endpoint


@dataclass(frozen=True)
class Dispatch:
    """A path with several endpoints. `choose` returns the one for a request or raises FaceattrError."""

    choose: Callable[[web.Request], Endpoint]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a POST."""
        endpoint = self.choose(request)
        endpoint.active += 1
        try:
            return await endpoint.answer(request)
        finally:
            endpoint.active -= 1

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answer `Expect: 100-continue` by 100 Continue, or by the final status when the body would be refused."""
        try:
            if request.headers[hdrs.EXPECT].lower() != _CONTINUE:
                raise UnknownExpectation(f"Expect can be {_CONTINUE} and nothing else.")
            self.choose(request).admit(request)
        except FaceattrError as error:
            response = problem_response(request, error)
            response.force_close()  # the client may send the body anyway
            return response
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # aiohttp would take the response for one that has begun
        return None


def _task(picture: SpoolFile, params: RequestParams, pictures: int) -> Task | FaceattrError:
    media_type = None if params.media_type == JSON else params.media_type
    if media_type and pictures > 1:
        raise NotAcceptable(f"{media_type} can answer one picture, and there are {pictures}; several need {JSON}.")
    if params.digest and picture.digest and params.digest != picture.digest:
        raise MalformedUpload("The picture does not have the digest in Content-Digest; send it again.")
    return picture.fault or Task(picture.path, params.options, media_type, probed=True)
