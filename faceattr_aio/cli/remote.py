"""The work of `analyze`, done by a server or by whatever works on its jobs: what is told of each file. Knows not what
is made of that.
"""

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from faceattr_aio.client import Client, failure_of
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import FaceattrError, NoImage
from faceattr_aio.pipeline import Outcome, Reply

Ask = Callable[[Path, str | None], Awaitable[Outcome]]
"""What is in a file; with a media type, drawn on it too."""

_AT_A_TIME = 4
"""An idle server can use more than one request, and one that is not says so."""
_JOB_S = 86_400.0
"""A job may wait for as long as there are others."""
_RESULT = ("image", "faces", "models")

Look = Callable[[Client, Path], Awaitable[Mapping[str, object]]]
"""The server's document about a file."""


@asynccontextmanager
async def asking(url: str, config: Config, jobs: int | None = None) -> AsyncIterator[tuple[Ask, int]]:
    """How to ask the server, and how often at a time; with `jobs` it is so many of them instead of requests. It is
    shown the first API key of the settings.
    """
    key = config.auth.keys[0].get_secret_value() if config.auth.keys else ""
    async with Client(url, key=key) as client:
        yield partial(_ask, client, _order if jobs else _request), jobs or _AT_A_TIME


async def _request(client: Client, file: Path) -> Mapping[str, object]:
    return await client.ask([file])


async def _order(client: Client, file: Path) -> Mapping[str, object]:
    job = await client.submit([file], deadline_s=_JOB_S)
    over = await client.result(job.id, deadline_s=_JOB_S)
    if over.error:
        raise failure_of(over.error, "")
    return over.result or {}


async def _ask(client: Client, look: Look, file: Path, media_type: str | None) -> Outcome:
    try:
        if not stat.S_ISREG((await asyncio.to_thread(file.stat)).st_mode):  # a pipe would never open
            return NoImage("That is no file.")
        document = await look(client, file)
        body = await client.annotate(file, media_type) if media_type else None
    except FaceattrError as error:
        return error
    except OSError as error:
        return NoImage(f"The file cannot be read: {error.strerror}.")
    return Reply({name: document[name] for name in _RESULT if name in document}, body)
