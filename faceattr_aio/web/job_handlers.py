"""The life of a request whose answer is fetched later: taken in like any other, then handed to the jobs. Knows neither
what a pipeline does nor where jobs are kept.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from aiohttp import hdrs, web

from faceattr_aio.errors import FaceattrError
from faceattr_aio.jobs.model import JobItem, Jobs, Submission
from faceattr_aio.jobs.webhooks import Webhooks
from faceattr_aio.schemas import Job
from faceattr_aio.telemetry.record import record_of
from faceattr_aio.web.handlers import Endpoint, refuse_expectation
from faceattr_aio.web.params import PREFER, RequestParams, header, parse_params, prefers_async
from faceattr_aio.web.responses import JsonResponse

JOB = "faceattr_aio.job"
"""The name of the route of one job."""
APPLIED = "Preference-Applied"
CALLBACK, PIPELINE = "callback", "pipeline"
_NOT_OPTIONS = frozenset({CALLBACK, PIPELINE})


@dataclass(kw_only=True)
class JobEndpoint(Endpoint):
    """One pipeline whose answers are fetched later. There need not be room for the work now, only for the job."""

    jobs: Jobs
    callbacks: Webhooks

    def _let_in(self, request: web.Request) -> tuple[str, RequestParams]:
        client = self.identify(request)
        self.jobs.check(client)
        self.uploads.check(request.content_length)
        if CALLBACK in request.query:
            self.callbacks.check(request.query[CALLBACK])
        return client, parse_params(request, self.declaration, math.inf, others=_NOT_OPTIONS)

    async def _answer(self, request: web.Request) -> web.Response:
        client, wishes = self._let_in(request)
        with ExitStack() as held:
            pictures, tasks = await self._take_in(request, client, wishes, held)
            if len(tasks) == 1 and isinstance(tasks[0], FaceattrError):
                raise tasks[0]  # there is nothing to wait for
            held.pop_all()  # from here on each has its file for itself
            files = [held.enter_context(_closing(picture.close)) for picture in pictures]
            keys = [partial(self.key, picture.digest, wishes) for picture in pictures]
            wanted = map(JobItem, tasks, keys, (picture.size for picture in pictures), files)
            owner, callback = self.clients.owner(request), request.query.get(CALLBACK, "")
            job = await self.jobs.submit(
                Submission(record_of(request).id, self.name, client, owner, callback, tuple(wanted))
            )
            held.pop_all()
        return _accepted(request, job)


@dataclass(frozen=True)
class Door:
    """A path behind which there are several endpoints; `choose` raises FaceattrError when none of them is meant."""

    choose: Callable[[web.Request], Endpoint]

    async def handle(self, request: web.Request) -> web.Response:
        return await self.choose(request).handle(request)

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        try:
            endpoint = self.choose(request)
        except FaceattrError as error:
            return refuse_expectation(request, error)
        return await endpoint.expect(request)


def _closing(close: Callable[[], None]) -> ExitStack:
    stack = ExitStack()
    stack.callback(close)
    return stack


def _accepted(request: web.Request, job: Job) -> web.Response:
    response = JsonResponse(request, job.model_dump(exclude_none=True), 202)
    response.headers[hdrs.LOCATION] = str(request.app.router[JOB].url_for(id=job.id))
    if prefers_async(header(request, PREFER)):
        response.headers[APPLIED] = "respond-async"
    return response
