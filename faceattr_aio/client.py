"""Asks a server about faces in pictures: streams files, comes back when it is told to, and raises failures by their own
types. Knows nothing of how the work is done.
"""

import asyncio
import io
import json
import math
import random
import time
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, aclosing
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from aiohttp import ClientError, ClientSession, ClientTimeout, FormData, hdrs

from faceattr_aio import errors
from faceattr_aio.errors import DeadlineExceeded, FaceattrError, RetryableError
from faceattr_aio.schemas import Answer, Job

__all__ = ["Client", "Option", "Picture", "UnexpectedAnswer", "Unreachable"]

Picture = Path | bytes
Pictures = Iterable[Picture] | AsyncIterable[Picture]
Option = str | float
Once = Callable[[float, int], Awaitable[bytes]]
"""One try of several, with the seconds that are left and the number of those before."""

_JSON = "application/json"
_RAW: Mapping[str, str] = {hdrs.CONTENT_TYPE: "application/octet-stream"}
_FINE = 200, 202
_SHORTEST_WAIT_S, _MOST_DOUBLINGS = 0.1, 6
_MOST_BREAKS = 5
"""Tries after which nobody is expected at the address any longer: about three seconds."""


class Client:
    """One server, for many requests, also at the same time: `async with Client("http://127.0.0.1:5000") as client`.

    A request that is told to come back later does so until `deadline_s` have passed since it began, and the server is
    told how much of that is left. All methods raise what the server says as the `FaceattrError` of that name,
    DeadlineExceeded, Unreachable, UnexpectedAnswer, or OSError for a file that cannot be read.
    """

    def __init__(self, url: str, *, key: str = "", deadline_s: float = 60.0, path: str = "analyze") -> None:
        self.deadline_s = deadline_s
        self._url = f"{url.rstrip('/')}/{path.lstrip('/')}"
        self._jobs = f"{url.rstrip('/')}/jobs"
        self._headers = {hdrs.AUTHORIZATION: f"Bearer {key}"} if key else {}
        self._opened: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._opened = ClientSession(
            headers=self._headers,
            timeout=ClientTimeout(total=None),  # each request has a deadline of its own
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._opened
        await self._opened.close()

    async def analyze(self, picture: Picture, *, deadline_s: float | None = None, **options: Option) -> Answer:
        """The faces in one picture; options as in docs/api.md, as `max_faces=1`."""
        return Answer.model_validate(await self.ask([picture], deadline_s, options))

    async def analyze_batch(
        self, pictures: Sequence[Picture], *, deadline_s: float | None = None, **options: Option
    ) -> list[Answer | FaceattrError]:
        """Those in several, in one request: for each picture in their order its answer, or why there is none."""
        document = await self.ask(pictures, deadline_s, options)
        return [_entry(each, document["id"]) for each in document.get("results", [document])]

    async def annotate(
        self, picture: Picture, media_type: str = "image/jpeg", *, deadline_s: float | None = None, **options: Option
    ) -> bytes:
        """The picture with boxes and labels, as image/jpeg or image/png."""
        return await self._send(self._url, [picture], media_type, deadline_s, options)

    def stream(self, pictures: Pictures, **options: Option) -> AsyncGenerator[Answer | FaceattrError]:
        """Those in any number of pictures, over one request: for each in their order its answer, or why there is none,
        as soon as it is known, while later ones are still awaited. Is not tried again and has no deadline.
        """
        assert self._opened, "use the client as `async with Client(...) as client`"
        return stream(self._opened, self._url, pictures, options)

    async def ask(
        self, pictures: Sequence[Picture], deadline_s: float | None = None, options: Mapping[str, Option] | None = None
    ) -> dict[str, Any]:
        """The server's document as it is, of one picture or several."""
        body = await self._send(self._url, pictures, _JSON, deadline_s, options or {})
        return document_of(body, 200)

    async def submit(self, pictures: Sequence[Picture], *, deadline_s: float | None = None, **options: Option) -> Job:
        """Orders a job, whose `id` is asked for later; `pipeline` and `callback` may be among the options."""
        return Job.model_validate(document_of(await self._send(self._jobs, pictures, _JSON, deadline_s, options), 202))

    async def result(self, identity: str, *, deadline_s: float | None = None) -> Job:
        """The job, once it is done or has failed."""
        ends = time.monotonic() + (self.deadline_s if deadline_s is None else deadline_s)

        async def once(left_s: float, _: int) -> bytes:
            wait = {"Prefer": f"wait={left_s:.3f}"}
            return await self._fetch(hdrs.METH_GET, f"{self._jobs}/{identity}", headers=wait)

        while True:
            job = Job.model_validate(document_of(await self._persist(once, ends - time.monotonic()), 200))
            if job.is_over:
                return job

    async def _send(
        self,
        url: str,
        pictures: Sequence[Picture],
        accept: str,
        deadline_s: float | None,
        options: Mapping[str, Option],
    ) -> bytes:
        """Who was refused before asks first whether the body is wanted (100-continue)."""

        async def once(left_s: float, tries: int) -> bytes:
            headers = {hdrs.ACCEPT: accept, "Prefer": f"wait={left_s:.3f}"}
            async with AsyncExitStack() as opened:
                body = await _body(pictures, opened)
                kind = {} if isinstance(body, FormData) else dict(_RAW)
                sent = {"data": body, "params": dict(options), "headers": {**headers, **kind}, "expect100": tries > 0}
                return await self._fetch(hdrs.METH_POST, url, **sent)

        return await self._persist(once, self.deadline_s if deadline_s is None else deadline_s)

    async def _persist(self, once: Once, deadline_s: float) -> bytes:
        """Until there is an answer, a failure that does not pass, or no time for another try."""
        ends = time.monotonic() + deadline_s
        for tries in count():
            left_s = max(0.0, ends - time.monotonic())
            try:
                async with asyncio.timeout(left_s):
                    return await once(left_s, tries)
            except TimeoutError as error:
                raise DeadlineExceeded from error
            except RetryableError as error:
                wait_s = max(error.retry_after_s, _backoff_s(tries))
                lost = isinstance(error, Unreachable) and tries >= _MOST_BREAKS
                if lost or wait_s >= ends - time.monotonic():
                    raise
                await asyncio.sleep(wait_s)
        raise AssertionError  # count() does not end

    async def _fetch(self, method: str, url: str, **sent: Any) -> bytes:
        """Once."""
        assert self._opened, "use the client as `async with Client(...) as client`"
        try:
            async with self._opened.request(method, url, **sent) as response:
                content = await response.read()
        except ClientError as error:
            raise Unreachable(f"There is no answer from {url}: {error}.", retry_after_s=0) from error
        if response.status not in _FINE:
            raise failure_of(document_of(content, response.status), response.headers.get(hdrs.RETRY_AFTER, ""))
        return content


async def _body(pictures: Sequence[Picture], opened: AsyncExitStack) -> FormData | IO[bytes]:
    """One picture as it is, several as a form; files are sent as they are read."""
    contents = [await _content(picture, opened) for picture in pictures]
    if len(contents) == 1:
        return contents[0]
    form = FormData()
    for content in contents:
        form.add_field("image", content, filename="picture", content_type="application/octet-stream")
    return form


async def _content(picture: Picture, opened: AsyncExitStack) -> IO[bytes]:
    if isinstance(picture, bytes):
        return io.BytesIO(picture)
    return opened.enter_context(await asyncio.to_thread(picture.open, "rb"))


def _backoff_s(tries: int) -> float:
    """At least this long, twice as long each time, and not at the same time as others."""
    return _SHORTEST_WAIT_S * math.exp2(min(tries, _MOST_DOUBLINGS)) * random.uniform(0.75, 1.25)  # noqa: S311


def _entry(document: dict[str, Any], identity: str) -> Answer | FaceattrError:
    if "error" in document:
        return failure_of(document["error"], "")
    return Answer.model_validate({"id": identity} | document)


_NDJSON = "application/x-ndjson"
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 21
"""Bytes: an answer of a thousand faces has a seventh of it."""
_PART = b'Content-Disposition: form-data; name="image"\r\n\r\n'


async def stream(
    session: ClientSession, url: str, pictures: Pictures, options: Mapping[str, str | float]
) -> AsyncGenerator[Answer | FaceattrError]:
    """For each picture in order its answer, or why there is none.

    Raises what the server says of the whole, Unreachable, UnexpectedAnswer, and whatever `pictures` do.
    """
    sending = _Sending(pictures)
    kind = f"multipart/form-data; boundary={sending.boundary}"
    asking = session.post(
        url,
        data=sending.body(),
        params=dict(options),
        headers={hdrs.ACCEPT: _NDJSON, hdrs.CONTENT_TYPE: kind},
        read_bufsize=_LONGEST_LINE,
    )
    try:
        async with asking as response:
            if response.status != 200:  # noqa: PLR2004  # all others are failures
                retry_after = response.headers.get(hdrs.RETRY_AFTER, "")
                raise failure_of(document_of(await response.read(), response.status), retry_after)
            async for line in response.content:
                yield _read(line)
    except ClientError as error:
        raise sending.fault or Unreachable(f"The stream to {url} broke: {error}.", retry_after_s=0) from error
    except FaceattrError as error:
        raise sending.fault or error from None
    if sending.fault:
        raise sending.fault


def _read(line: bytes) -> Answer | FaceattrError:
    """Raises the failure of a last line, which is that of no picture."""
    document = document_of(line, 200)
    if "error" not in document:
        return Answer.model_validate(document)
    failure = failure_of(document["error"], "")
    if "number" not in document:
        raise failure
    return failure


class _Sending:
    """A body whose every picture ends with the boundary behind it, so that none waits for the next."""

    def __init__(self, pictures: Pictures) -> None:
        self.boundary = uuid.uuid4().hex
        self.fault: Exception | None = None
        """Why there was no next picture."""
        self._pictures = pictures

    async def body(self) -> AsyncIterator[bytes]:
        boundary = f"--{self.boundary}".encode()
        yield boundary + b"\r\n"
        try:
            async for picture in _each(self._pictures):
                yield _PART
                async with aclosing(_chunks(picture)) as content:
                    async for chunk in content:
                        yield chunk
                yield b"\r\n" + boundary + b"\r\n"
        except Exception as error:  # noqa: BLE001  # it is raised where answers are read
            self.fault = error
            return  # the body is cut short: what came before is still answered
        yield b"\r\n\r\n" + boundary + b"--\r\n"


async def _each(pictures: Pictures) -> AsyncIterator[Picture]:
    if isinstance(pictures, AsyncIterable):
        async for picture in pictures:
            yield picture
        return
    for picture in pictures:
        yield picture


async def _chunks(picture: Picture) -> AsyncGenerator[bytes]:
    if isinstance(picture, bytes):
        yield picture
        return
    with await asyncio.to_thread(picture.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk


_KINDS = {one.kind: one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, FaceattrError)}
_STANDARD = {"type", "title", "status", "detail", "instance", "retry_after_ms"}


class Unreachable(RetryableError):
    """Nobody answers at the address, or the connection broke."""

    status, kind, title = 503, "unreachable", "The server cannot be reached"


class UnexpectedAnswer(FaceattrError):
    """Not what a server of ours would say: a wrong address, or a proxy in between. `members` has the `status`."""

    status, kind, title = 502, "unexpected-answer", "The answer is not that of such a server"


def document_of(content: bytes, status: int) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UnexpectedAnswer(f"The answer {status} is no document of such a server.", status=status)
    return document


def failure_of(problem: dict[str, Any], retry_after: str) -> FaceattrError:
    """The failure that a problem document tells of; `retry_after_ms` goes over the header's whole seconds."""
    kind = _KINDS.get(str(problem.get("type", "")).removeprefix("urn:faceattr:"))
    detail = str(problem.get("detail", ""))
    if kind is None:
        return UnexpectedAnswer(detail, status=problem.get("status"))
    members = {name: value for name, value in problem.items() if name not in _STANDARD}
    if not issubclass(kind, RetryableError):
        return kind(detail, **members)
    whole_s = float(retry_after) if retry_after.isdecimal() else 1.0
    return kind(detail, retry_after_s=problem.get("retry_after_ms", whole_s * 1e3) / 1e3, **members)
