"""Jobs over HTTP: submit pictures now, fetch the answer later."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from aiohttp import ETag, hdrs, web

from faceattr_aio.errors import BadOption, FaceattrError
from faceattr_aio.jobs.model import JobItem, Jobs, Submission
from faceattr_aio.jobs.webhooks import Webhooks
from faceattr_aio.schemas import Job
from faceattr_aio.telemetry.record import record_of
from faceattr_aio.web.auth import Authenticator
from faceattr_aio.web.handlers import Dispatch, Endpoint
from faceattr_aio.web.params import PREFERENCE_APPLIED, RequestParams, prefers_async, wait_of
from faceattr_aio.web.responses import JsonResponse

LONGEST_WAIT_S = 60.0
"""Upper bound of `Prefer: wait` for a job."""
_JOB_ROUTE = "faceattr_aio.job"
"""Name of the route of one job, for its URL."""
_CALLBACK, _PIPELINE = "callback", "pipeline"


@dataclass(kw_only=True)
class JobEndpoint(Endpoint):
    """The endpoint of one pipeline for jobs. A request needs capacity for its job, and no slot."""

    jobs: Jobs
    webhooks: Webhooks

    def admit(self, request: web.Request) -> tuple[str, RequestParams]:
        """See Endpoint. Raises BadOption for a callback URL that is not allowed."""
        client = self.authenticate(request)
        self.jobs.check(client)
        self.uploads.check(request.content_length)
        if _CALLBACK in request.query:
            self.webhooks.check(request.query[_CALLBACK])
        return client, RequestParams.parse(request, self.declaration, math.inf, other=(_CALLBACK, _PIPELINE))

    async def answer(self, request: web.Request) -> web.Response:
        """Store the pictures, submit the job and respond with 202."""
        client, params = self.admit(request)
        with ExitStack() as resources:
            pictures, tasks = await self.receive(request, client, params, resources)
            if len(tasks) == 1 and isinstance(tasks[0], FaceattrError):
                raise tasks[0]  # there is nothing to wait for
            resources.pop_all()  # each file gets an owner of its own
            files = [resources.enter_context(_closing(picture.close)) for picture in pictures]
            keys = [partial(self.key, picture.digest, params) for picture in pictures]
            items = tuple(map(JobItem, tasks, keys, (picture.size for picture in pictures), files))
            owner, callback = self.auth.owner(request), request.query.get(_CALLBACK, "")
            submission = Submission(record_of(request).id, self.name, client, owner, callback, items)
            job = await self.jobs.submit(submission)
            resources.pop_all()  # the job closes them
        return _accepted(request, job)


@dataclass
class JobRoutes:
    """The routes below /jobs. `endpoints` are those of the pipelines that can have jobs, by name."""

    jobs: Jobs
    webhooks: Webhooks
    endpoints: Mapping[str, JobEndpoint]

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        dispatch = Dispatch(self._choose)
        router.add_post("/jobs", dispatch.handle, expect_handler=dispatch.expect)
        router.add_get("/jobs/{id}", self.status, name=_JOB_ROUTE)
        router.add_delete("/jobs/{id}", self.remove)
        router.add_get("/result/{id}", self.status)

    async def status(self, request: web.Request) -> web.Response:
        """Answer with the job, after waiting for its end for the seconds of `Prefer: wait`."""
        owner = self._auth.owner(request)
        seconds = min(wait_of(request, 0.0), LONGEST_WAIT_S)
        job = await self.jobs.wait(request.match_info["id"], owner, seconds)
        response = _respond(request, job)
        if seconds:
            response.headers[PREFERENCE_APPLIED] = f"wait={seconds:g}"
        return response

    async def remove(self, request: web.Request) -> web.Response:
        """Cancel and forget a job."""
        await self.jobs.remove(request.match_info["id"], self._auth.owner(request))
        return web.Response(status=204)

    @property
    def _auth(self) -> Authenticator:
        """The authenticator in use; a reload replaces it in all endpoints."""
        return next(iter(self.endpoints.values())).auth

    def _choose(self, request: web.Request) -> JobEndpoint:
        name = request.query.get(_PIPELINE, next(iter(self.endpoints)))
        if name not in self.endpoints:
            raise BadOption(f"{_PIPELINE}: the pipelines are {', '.join(self.endpoints)}, not {name!r}.")
        return self.endpoints[name]


def _closing(close: Callable[[], None]) -> ExitStack:
    stack = ExitStack()
    stack.callback(close)
    return stack


def _accepted(request: web.Request, job: Job) -> web.Response:
    response = JsonResponse(request, job.model_dump(exclude_none=True), 202)
    response.headers[hdrs.LOCATION] = str(request.app.router[_JOB_ROUTE].url_for(id=job.id))
    if prefers_async(request):
        response.headers[PREFERENCE_APPLIED] = "respond-async"
    return response


def _respond(request: web.Request, job: Job) -> web.Response:
    """Return the job, or 304 when the client has it already."""
    document = job.model_dump(mode="json", exclude_none=True)
    etag = ETag(hashlib.sha256(json.dumps(document).encode()).hexdigest()[:32])
    known = etag in (request.if_none_match or ())
    response = web.Response(status=304) if known else JsonResponse(request, document)
    response.headers[hdrs.CACHE_CONTROL] = "private, no-cache"  # may be stored, and is revalidated each time
    response.etag = etag
    return response
