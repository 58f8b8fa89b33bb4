"""The work of `analyze`, done here: workers of its own, and no server. Knows not what is made of an answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from faceattr_aio.cli.remote import Ask
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import FaceattrError
from faceattr_aio.inference.executor import Executor
from faceattr_aio.pipeline import Outcome, Task

PIPELINE = "faces"


@asynccontextmanager
async def working(config: Config) -> AsyncIterator[tuple[Ask, int]]:
    """How to do it, and how many files at a time: two for each worker, so that none of them waits."""
    executor = Executor(config.with_auto_pool("process"))
    try:
        await executor.start()
        yield partial(_work, executor), min(config.inference.limit_count, 2 * config.inference.worker_count)
    finally:
        await executor.close()


async def _work(executor: Executor, file: Path, media_type: str | None) -> Outcome:
    try:
        return await executor.run(PIPELINE, Task(file, media_type=media_type))
    except FaceattrError as error:
        return error
