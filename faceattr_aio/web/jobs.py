"""/jobs: what is ordered there, and what can be asked of a job afterwards. Knows no pipeline, and not where jobs are
kept.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import ETag, hdrs, web

from faceattr_aio.errors import BadOption
from faceattr_aio.jobs.model import Jobs
from faceattr_aio.jobs.webhooks import Webhooks
from faceattr_aio.pipeline import JSON
from faceattr_aio.schemas import Job
from faceattr_aio.web.handlers import Endpoint
from faceattr_aio.web.job_handlers import APPLIED, JOB, PIPELINE, Door, JobEndpoint
from faceattr_aio.web.params import PREFER, choose_media_type, header, prefers_async, read_wait
from faceattr_aio.web.responses import JsonResponse

LONGEST_WAIT_S = 60.0
_KEPT = {hdrs.CACHE_CONTROL: "private, no-cache"}
"""It may be kept, and is asked for again each time."""


@dataclass(frozen=True)
class JobRoutes:
    """The jobs of an app, and for each pipeline that can have some its endpoint, by name."""

    jobs: Jobs
    callbacks: Webhooks
    endpoints: Mapping[str, JobEndpoint]

    @property
    def is_idle(self) -> bool:
        active = any(endpoint.active for endpoint in self.endpoints.values())
        return self.jobs.is_idle and self.callbacks.is_idle and not active

    def add_routes(self, router: web.UrlDispatcher) -> None:
        door = Door(self._named)
        router.add_post("/jobs", door.handle, expect_handler=door.expect)
        router.add_get("/jobs/{id}", self.status, name=JOB)
        router.add_delete("/jobs/{id}", self.remove)
        router.add_get("/result/{id}", self.status)

    def door(self, endpoint: Endpoint) -> Door:
        """To a pipeline's own path: to its jobs for those who prefer that and take JSON."""
        later = self.endpoints.get(endpoint.name)

        def choose(request: web.Request) -> Endpoint:
            if later is None or not prefers_async(header(request, PREFER)):
                return endpoint
            wanted = choose_media_type(header(request, hdrs.ACCEPT), endpoint.declaration.media_types)
            return later if wanted == JSON else endpoint

        return Door(choose)

    async def status(self, request: web.Request) -> web.Response:
        """Now, or when it is over, if that is within the time that Prefer tells. 304 to who knows it already."""
        owner = self._owner(request)
        seconds = min(read_wait(header(request, PREFER), 0.0), LONGEST_WAIT_S)
        job = await self.jobs.wait(request.match_info["id"], owner, seconds)
        response = _respond(request, job)
        if seconds:
            response.headers[APPLIED] = f"wait={seconds:g}"
        return response

    async def remove(self, request: web.Request) -> web.Response:
        """Also in the middle of its work, of which nothing is told then."""
        await self.jobs.remove(request.match_info["id"], self._owner(request))
        return web.Response(status=204)

    def _named(self, request: web.Request) -> Endpoint:
        name = request.query.get(PIPELINE, next(iter(self.endpoints)))
        if name not in self.endpoints:
            raise BadOption(f"{PIPELINE}: there are {', '.join(self.endpoints)}, not {name!r}.")
        return self.endpoints[name]

    def _owner(self, request: web.Request) -> str:
        """Raises Unauthorized."""
        return next(iter(self.endpoints.values())).clients.owner(request)


def _respond(request: web.Request, job: Job) -> web.Response:
    document = job.model_dump(mode="json", exclude_none=True)
    etag = ETag(hashlib.sha256(json.dumps(document).encode()).hexdigest()[:32])
    response: web.Response = JsonResponse(request, document)
    if etag in (request.if_none_match or ()):
        response = web.Response(status=304)
    response.headers.update(_KEPT)
    response.etag = etag
    return response
