"""An asyncio client of the server: streams files, retries when the server is full, and raises the server's failures as
exceptions of their own types.
"""

import asyncio
import io
import json
import math
import random
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, FormData, hdrs

from faceattr_aio import errors
from faceattr_aio.errors import DeadlineExceeded, FaceattrError, RetryableError
from faceattr_aio.pipeline import JSON, NDJSON
from faceattr_aio.schemas import Answer, Job

__all__ = ["Client", "Option", "Picture", "UnexpectedAnswer", "Unreachable"]

Picture = Path | bytes
Pictures = Iterable[Picture] | AsyncIterable[Picture]
Option = str | float

_BYTES = "application/octet-stream"
_SUCCESS = HTTPStatus.OK, HTTPStatus.ACCEPTED
_MIN_BACKOFF_S, _MAX_DOUBLINGS = 0.1, 6
_MAX_CONNECTION_RETRIES = 5
"""The client gives up on an unreachable server after these, about three seconds."""
_CHUNK = 1 << 16
_MAX_LINE = 1 << 21
"""Bytes. An answer with a thousand faces has a seventh of it."""
_PART_HEADER = b'Content-Disposition: form-data; name="image"\r\n\r\n'
_PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance", "retry_after_ms"}
_FAILURES = {
    failure.kind: failure
    for failure in vars(errors).values()
    if isinstance(failure, type) and issubclass(failure, FaceattrError)
}


class Client:
    """A client of one server, for concurrent requests: `async with Client("http://127.0.0.1:5000") as client`.

    A request that is refused with 429 or 503 is retried until `deadline_s` have passed since its start; the server
    receives the remaining time. All methods raise the server's failure as the `FaceattrError` of that name,
    DeadlineExceeded, Unreachable, UnexpectedAnswer, or OSError for a file that cannot be read.

    `url` is where the app is mounted, `path` the route of the pipeline, and `key` the API key if one is required.
    `deadline_s` (seconds) applies to each request that has no deadline of its own.
    """

    def __init__(self, url: str, *, key: str = "", deadline_s: float = 60.0, path: str = "analyze") -> None:
        self.deadline_s = deadline_s
        self._url = f"{url.rstrip('/')}/{path.lstrip('/')}"
        self._jobs_url = f"{url.rstrip('/')}/jobs"
        self._headers = {hdrs.AUTHORIZATION: f"Bearer {key}"} if key else {}
        self._opened: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._opened = ClientSession(
            headers=self._headers,
            timeout=ClientTimeout(total=None),  # each request has its own deadline
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def analyze(self, picture: Picture, *, deadline_s: float | None = None, **options: Option) -> Answer:
        """Return the faces in a picture. The options are those of docs/api.md, for example `max_faces=1`."""
        return Answer.model_validate(await self.ask([picture], deadline_s, options))

    async def analyze_batch(
        self, pictures: Sequence[Picture], *, deadline_s: float | None = None, **options: Option
    ) -> list[Answer | FaceattrError]:
        """Send several pictures in one request. Return the answer or the failure of each, in their order."""
        document = await self.ask(pictures, deadline_s, options)
        return [_outcome_of(result, document["id"]) for result in document.get("results", [document])]

    async def annotate(
        self, picture: Picture, media_type: str = "image/jpeg", *, deadline_s: float | None = None, **options: Option
    ) -> bytes:
        """Return the picture with boxes and labels, as image/jpeg or image/png."""
        return await self._send(self._url, [picture], media_type, deadline_s, options)

    async def stream(self, pictures: Pictures, **options: Option) -> AsyncGenerator[Answer | FaceattrError]:
        """Send any number of pictures over one request. Yield the answer or the failure of each, in their order, as
        soon as it is known and while later pictures are sent. There are no retries and no deadline.

        Raises the failure of the whole stream, and any exception of `pictures`.
        """
        body = _StreamedForm(pictures)
        headers = {hdrs.ACCEPT: NDJSON, hdrs.CONTENT_TYPE: f"multipart/form-data; boundary={body.boundary}"}
        request = self._session.post(
            self._url, data=body.chunks(), params=options, headers=headers, read_bufsize=_MAX_LINE
        )
        try:
            async with request as response:
                if response.status != HTTPStatus.OK:
                    raise _failure_in(await response.read(), response)
                async for line in response.content:
                    yield _outcome_of_line(line)
        except ClientError as error:
            raise body.fault or Unreachable(f"The stream to {self._url} broke: {error}.", retry_after_s=0) from error
        except FaceattrError as error:
            raise body.fault or error from None
        if body.fault:
            raise body.fault

    async def ask(
        self, pictures: Sequence[Picture], deadline_s: float | None = None, options: Mapping[str, Option] | None = None
    ) -> dict[str, Any]:
        """Return the server's JSON document about one picture or several."""
        return _parse(await self._send(self._url, pictures, JSON, deadline_s, options or {}), HTTPStatus.OK)

    async def submit(self, pictures: Sequence[Picture], *, deadline_s: float | None = None, **options: Option) -> Job:
        """Submit a job and return it at once. The options may include `pipeline` and `callback`."""
        content = await self._send(self._jobs_url, pictures, JSON, deadline_s, options)
        return Job.model_validate(_parse(content, HTTPStatus.ACCEPTED))

    async def result(self, identity: str, *, deadline_s: float | None = None) -> Job:
        """Wait until a job is done or has failed, and return it."""
        end = time.monotonic() + (self.deadline_s if deadline_s is None else deadline_s)

        async def attempt(left_s: float, _: int) -> bytes:
            wait = {"Prefer": f"wait={left_s:.3f}"}
            return await self._request(hdrs.METH_GET, f"{self._jobs_url}/{identity}", headers=wait)

        while True:
            job = Job.model_validate(_parse(await self._retry(attempt, end - time.monotonic()), HTTPStatus.OK))
            if job.is_over:
                return job

    @property
    def _session(self) -> ClientSession:
        assert self._opened, "use the client as `async with Client(...) as client`"
        return self._opened

    async def _send(
        self,
        url: str,
        pictures: Sequence[Picture],
        accept: str,
        deadline_s: float | None,
        options: Mapping[str, Option],
    ) -> bytes:
        """Send the pictures with retries. Each retry uses `Expect: 100-continue`, to send the body only if accepted."""

        async def attempt(left_s: float, retries: int) -> bytes:
            headers = {hdrs.ACCEPT: accept, "Prefer": f"wait={left_s:.3f}"}
            with ExitStack() as files:
                body = await _body_of(pictures, files)
                if not isinstance(body, FormData):
                    headers[hdrs.CONTENT_TYPE] = _BYTES
                return await self._request(
                    hdrs.METH_POST, url, data=body, params=options, headers=headers, expect100=retries > 0
                )

        return await self._retry(attempt, self.deadline_s if deadline_s is None else deadline_s)

    async def _retry(self, attempt: Callable[[float, int], Awaitable[bytes]], deadline_s: float) -> bytes:
        """Call `attempt(left_s, retries)` until it succeeds, fails permanently, or no time is left for a retry."""
        end, retries = time.monotonic() + deadline_s, 0
        while True:
            left_s = max(0.0, end - time.monotonic())
            try:
                async with asyncio.timeout(left_s):
                    return await attempt(left_s, retries)
            except TimeoutError as error:
                raise DeadlineExceeded from error
            except RetryableError as error:
                wait_s = max(error.retry_after_s, _backoff_s(retries))
                is_lost = isinstance(error, Unreachable) and retries >= _MAX_CONNECTION_RETRIES
                if is_lost or wait_s >= end - time.monotonic():
                    raise
                await asyncio.sleep(wait_s)
                retries += 1

    async def _request(self, method: str, url: str, **arguments: Any) -> bytes:
        """Make one attempt and return the body of the response."""
        try:
            async with self._session.request(method, url, **arguments) as response:
                content = await response.read()
        except ClientError as error:
            raise Unreachable(f"There is no response from {url}: {error}.", retry_after_s=0) from error
        if response.status not in _SUCCESS:
            raise _failure_in(content, response)
        return content


class Unreachable(RetryableError):
    """The server does not respond, or the connection broke."""

    status, kind, title = 503, "unreachable", "The server cannot be reached"


class UnexpectedAnswer(FaceattrError):
    """A response that is not from this kind of server: a wrong URL, or a proxy. `members` contains the `status`."""

    status, kind, title = 502, "unexpected-answer", "The response is not from a faceattr-aio server"


def failure_of(problem: dict[str, Any], retry_after: str = "") -> FaceattrError:
    """Return the failure that a problem document describes; `retry_after_ms` overrides the header `Retry-After`."""
    failure = _FAILURES.get(str(problem.get("type", "")).removeprefix("urn:faceattr:"))
    detail = str(problem.get("detail", ""))
    if failure is None:
        return UnexpectedAnswer(detail, status=problem.get("status"))
    members = {name: value for name, value in problem.items() if name not in _PROBLEM_MEMBERS}
    if not issubclass(failure, RetryableError):
        return failure(detail, **members)
    header_s = float(retry_after) if retry_after.isdecimal() else 1.0
    return failure(detail, retry_after_s=problem.get("retry_after_ms", header_s * 1e3) / 1e3, **members)


def _failure_in(content: bytes, response: ClientResponse) -> FaceattrError:
    return failure_of(_parse(content, response.status), response.headers.get(hdrs.RETRY_AFTER, ""))


def _parse(content: bytes, status: int) -> dict[str, Any]:
    """Raises UnexpectedAnswer when the content is not a JSON object."""
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UnexpectedAnswer(f"The response {status} is not a JSON object.", status=status)
    return document


def _outcome_of(result: dict[str, Any], identity: str) -> Answer | FaceattrError:
    if "error" in result:
        return failure_of(result["error"])
    return Answer.model_validate({"id": identity} | result)


def _outcome_of_line(line: bytes) -> Answer | FaceattrError:
    """Return the outcome of a picture. A line without a number is the failure of the whole stream, which is raised."""
    document = _parse(line, HTTPStatus.OK)
    if "error" in document and "number" not in document:
        raise failure_of(document["error"])
    return _outcome_of(document, "")


def _backoff_s(retries: int) -> float:
    """Return the time before the next retry: exponential backoff with jitter."""
    return _MIN_BACKOFF_S * math.exp2(min(retries, _MAX_DOUBLINGS)) * random.uniform(0.75, 1.25)  # noqa: S311  # jitter


async def _body_of(pictures: Sequence[Picture], files: ExitStack) -> FormData | IO[bytes]:
    """Return one picture as it is, or a form of several. Files are read while they are sent, and closed by `files`."""
    contents = [files.enter_context(await _open(picture)) for picture in pictures]
    if len(contents) == 1:
        return contents[0]
    form = FormData()
    for content in contents:
        form.add_field("image", content, filename="picture", content_type=_BYTES)
    return form


async def _open(picture: Picture) -> IO[bytes]:
    return io.BytesIO(picture) if isinstance(picture, bytes) else await asyncio.to_thread(picture.open, "rb")


class _StreamedForm:
    """A multipart body that sends each picture with the boundary that ends it, so that the server can process it before
    the next picture is known.
    """

    def __init__(self, pictures: Pictures) -> None:
        self.boundary = uuid.uuid4().hex
        self.fault: Exception | None = None
        """The exception that ended `pictures`."""
        self._pictures = pictures

    async def chunks(self) -> AsyncGenerator[bytes]:
        boundary = f"--{self.boundary}".encode()
        yield boundary + b"\r\n"
        try:
            async for picture in _iterate(self._pictures):
                yield _PART_HEADER
                with await _open(picture) as file:
                    while chunk := await asyncio.to_thread(file.read, _CHUNK):
                        yield chunk
                yield b"\r\n" + boundary + b"\r\n"
        except Exception as error:  # noqa: BLE001  # raised in Client.stream
            self.fault = error
            return  # the body is cut short, and the pictures that were sent are still answered
        yield b"\r\n\r\n" + boundary + b"--\r\n"


async def _iterate(pictures: Pictures) -> AsyncGenerator[Picture]:
    if isinstance(pictures, AsyncIterable):
        async for picture in pictures:
            yield picture
        return
    for picture in pictures:
        yield picture
