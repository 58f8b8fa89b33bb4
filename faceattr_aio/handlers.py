"""The life of one request, from top to bottom. Knows what a pipeline declares, not what it does."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from aiohttp import HttpVersion11, hdrs, web

from faceattr_aio.body import read
from faceattr_aio.clients import Clients
from faceattr_aio.errors import FaceattrError, NotAcceptable, UnknownExpectation, UnsupportedMedia
from faceattr_aio.executor import Executor
from faceattr_aio.fairness import Fairness
from faceattr_aio.jobs import Outcome
from faceattr_aio.journal import story
from faceattr_aio.negotiation import choose_media_type, read_options, read_wait
from faceattr_aio.pipeline import JSON, Declaration, Options, Reply, Task
from faceattr_aio.problems import problem, problem_response
from faceattr_aio.spool import SpoolFile
from faceattr_aio.story import Story
from faceattr_aio.upload import Uploads, is_accepted

_PREFER = "Prefer"
_EXPECTED = "100-continue"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Wanted:
    """Who asks for what: the form, the pipeline's options, and by when, on the monotonic clock."""

    client: str
    media_type: str
    options: Options
    deadline: float


@dataclass
class Endpoint:
    """One pipeline behind HTTP. `active` counts the requests between their first line and their answer."""

    name: str
    declaration: Declaration
    executor: Executor
    uploads: Uploads
    clients: Clients
    fairness: Fairness
    deadline_s: float = math.inf
    active: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        """POST: pictures in, answers out."""
        self.active += 1
        try:
            return await self._answer(request)
        finally:
            self.active -= 1

    async def _answer(self, request: web.Request) -> web.Response:
        """The order of work of every request."""
        wanted, told = self._let_in(request), story(request)
        with ExitStack() as held:
            with self.fairness.upload(wanted.client):
                pictures = await self.uploads.receive(
                    read(request.content), _header(request, hdrs.CONTENT_TYPE), held, wanted.deadline
                )
            told.end_upload(len(pictures))
            tasks = [_task(picture, wanted, len(pictures)) for picture in pictures]
            held.callback(self.fairness.acquire(wanted.client))
            outcomes = await self.executor.run_all(
                self.name, tasks, held, lambda: request.transport is not None, wanted.deadline
            )
        self._tell(told, outcomes)
        return _respond(request, outcomes, wanted.media_type)

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """`Expect: 100-continue`: refuses with the final status instead of inviting a body that will be refused."""
        try:
            if request.headers[hdrs.EXPECT].lower() != _EXPECTED:
                raise UnknownExpectation(f"Expect can be {_EXPECTED} and nothing else.")
            self._let_in(request)
        except FaceattrError as error:
            response = problem_response(request, error)
            response.force_close()  # else the next request would be taken for the body that was never sent
            return response
        if request.version >= HttpVersion11:
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # else a later failure would count as sent already
        return None

    def _let_in(self, request: web.Request) -> Wanted:
        """What is wanted, if that can be had: all that is told by the headers alone. Raises FaceattrError."""
        told = story(request)
        told.pipeline = self.name
        client = self.clients.identify(request)
        self.fairness.check(client)
        deadline = told.since + read_wait(_header(request, _PREFER), self.deadline_s)
        self.executor.check(deadline)
        self.uploads.check(request.content_length)
        media_type = choose_media_type(_header(request, hdrs.ACCEPT), self.declaration.media_types)
        options = read_options(request.query, self.declaration.options)
        if not is_accepted(_header(request, hdrs.CONTENT_TYPE)):
            raise UnsupportedMedia(
                "Send multipart/form-data with a part named 'image', "
                "or the picture itself as image/* or application/octet-stream."
            )
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise UnsupportedMedia("A body with a Content-Encoding is not accepted; send it as it is.")
        return Wanted(client, media_type, options, deadline)

    def _tell(self, told: Story, outcomes: Sequence[Outcome]) -> None:
        """How long each stage took, and what was found."""
        for reply in outcomes:
            if isinstance(reply, Reply):
                told.laps.append(reply.laps)
                told.counts.update({name: count(reply.result) for name, count in self.declaration.counts.items()})


def _header(request: web.Request, name: str) -> str:
    """All lines of a header as one, in ASCII: what is not becomes a question mark."""
    return ",".join(request.headers.getall(name, [])).encode("ascii", "replace").decode()


def _task(picture: SpoolFile, wanted: Wanted, pictures: int) -> Task | FaceattrError:
    media_type = None if wanted.media_type == JSON else wanted.media_type
    if media_type and pictures > 1:
        raise NotAcceptable(f"{media_type} can answer one picture; for {pictures} ask for {JSON}.")
    return picture.fault or Task(picture.path, wanted.options, media_type, probed=True)


def _respond(request: web.Request, outcomes: Sequence[Outcome], media_type: str) -> web.Response:
    """One picture's answer or failure as it is, several as a list in which a failure is an entry."""
    response = _single(request, outcomes[0], media_type) if len(outcomes) == 1 else _batch(request, outcomes)
    response.headers["Server-Timing"] = story(request).timing
    return response


def _single(request: web.Request, outcome: Outcome, media_type: str) -> web.Response:
    if isinstance(outcome, FaceattrError):
        return problem_response(request, outcome)
    if outcome.body is not None:
        return web.Response(body=outcome.body, content_type=media_type)
    return web.json_response({"id": story(request).id, **_document(outcome)})


def _batch(request: web.Request, outcomes: Sequence[Outcome]) -> web.Response:
    identity = story(request).id
    results = [
        {"error": problem(outcome, identity)} if isinstance(outcome, FaceattrError) else _document(outcome)
        for outcome in outcomes
    ]
    return web.json_response({"id": identity, "results": results})


def _document(reply: Reply) -> dict[str, object]:
    return {**reply.result, "cached": False}
