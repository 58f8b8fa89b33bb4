"""A client's side of a stream: pictures go out as they come, and answers come in as they are known. Knows nothing of
how the work is done.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path

from aiohttp import ClientError, ClientSession, hdrs

from faceattr_aio.answers import Answer
from faceattr_aio.errors import FaceattrError
from faceattr_aio.failures import Unreachable, document_of, failure_of

Picture = Path | bytes
Pictures = Iterable[Picture] | AsyncIterable[Picture]

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
                async with aclosing(_content(picture)) as content:
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


async def _content(picture: Picture) -> AsyncGenerator[bytes]:
    if isinstance(picture, bytes):
        yield picture
        return
    with await asyncio.to_thread(picture.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk
