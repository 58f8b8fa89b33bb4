"""The work of `analyze`, done by a server: what it tells of each file. Knows not what is made of that."""

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from faceattr_aio.batch import Outcome
from faceattr_aio.client import Client
from faceattr_aio.config import Config
from faceattr_aio.errors import FaceattrError, NoImage
from faceattr_aio.pipeline import Reply

Ask = Callable[[Path, str | None], Awaitable[Outcome]]
"""What is in a file; with a media type, drawn on it too."""

_AT_A_TIME = 4
"""An idle server can use more than one request, and one that is not says so."""
_RESULT = ("image", "faces", "models")


@asynccontextmanager
async def asking(url: str, config: Config) -> AsyncIterator[tuple[Ask, int]]:
    """How to ask the server, and how often at a time. It is shown the first API key of the settings."""
    key = config.auth.keys[0].get_secret_value() if config.auth.keys else ""
    async with Client(url, key=key) as client:
        yield partial(_ask, client), _AT_A_TIME


async def _ask(client: Client, file: Path, media_type: str | None) -> Outcome:
    try:
        if not stat.S_ISREG((await asyncio.to_thread(file.stat)).st_mode):  # a pipe would never open
            return NoImage("That is no file.")
        document = await client.ask([file])
        body = await client.annotate(file, media_type) if media_type else None
    except FaceattrError as error:
        return error
    except OSError as error:
        return NoImage(f"The file cannot be read: {error.strerror}.")
    return Reply({name: document[name] for name in _RESULT if name in document}, body)
