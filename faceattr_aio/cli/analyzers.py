"""The two ways in which `analyze` processes a file: with workers of its own, or by a server."""

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from faceattr_aio.client import Client, failure_of
from faceattr_aio.config import Config
from faceattr_aio.errors import FaceattrError, NoImage
from faceattr_aio.inference.executor import Executor
from faceattr_aio.pipeline import Outcome, Reply, Task

PIPELINE = "faces"
Analyze = Callable[[Path, str | None], Awaitable[Outcome]]
"""Analyzes a file. With a media type, the reply also contains the picture with boxes, in that type."""
Analyzer = AbstractAsyncContextManager[tuple[Analyze, int]]
"""Yields the function, and how many calls of it to make at a time."""

_REQUESTS_AT_A_TIME = 4
"""An idle server can process several; a full one answers 503, and the client waits."""
_JOB_DEADLINE_S = 86_400.0
"""Long, because a job may wait behind many others."""
_RESULT = ("image", "faces", "models")


@asynccontextmanager
async def local_analyzer(config: Config) -> AsyncIterator[tuple[Analyze, int]]:
    """Start workers. Two files at a time for each of them keep all of them busy."""
    executor = Executor(config)
    try:
        await executor.start()
        yield partial(_analyze_locally, executor), min(config.inference.limit_count, 2 * config.inference.worker_count)
    finally:
        await executor.close()


@asynccontextmanager
async def remote_analyzer(url: str, config: Config, jobs: int | None = None) -> AsyncIterator[tuple[Analyze, int]]:
    """Use a server, with the first API key of the settings: by requests, or by `jobs` jobs at a time."""
    key = config.auth.keys[0].get_secret_value() if config.auth.keys else ""
    async with Client(url, key=key) as client:
        yield partial(_analyze_remotely, client, use_job=bool(jobs)), jobs or _REQUESTS_AT_A_TIME


async def _analyze_locally(executor: Executor, file: Path, media_type: str | None) -> Outcome:
    try:
        return await executor.run(PIPELINE, Task(file, media_type=media_type))
    except FaceattrError as error:
        return error


async def _analyze_remotely(client: Client, file: Path, media_type: str | None, *, use_job: bool) -> Outcome:
    try:
        if not stat.S_ISREG((await asyncio.to_thread(file.stat)).st_mode):  # opening a named pipe would block
            return NoImage("This is not a regular file.")
        document = await (_run_job(client, file) if use_job else client.ask([file]))
        body = await client.annotate(file, media_type) if media_type else None
    except FaceattrError as error:
        return error
    except OSError as error:
        return NoImage(f"The file cannot be read: {error.strerror}.")
    return Reply({name: document[name] for name in _RESULT if name in document}, body)


async def _run_job(client: Client, file: Path) -> Mapping[str, object]:
    submitted = await client.submit([file], deadline_s=_JOB_DEADLINE_S)
    job = await client.result(submitted.id, deadline_s=_JOB_DEADLINE_S)
    if job.error:
        raise failure_of(job.error)
    return job.result or {}
