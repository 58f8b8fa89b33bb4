"""Executors of the pipeline `trick`, and functions that send tasks to them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from faceattr_aio.config.schema import Config
from faceattr_aio.inference.executor import Executor
from faceattr_aio.pipeline import Reply, Task

MakeExecutor = Callable[..., Awaitable[Executor]]


def config(trick: dict[str, Any] | None = None, **inference: object) -> Config:
    entry = {"factory": "tests.support.pipelines:Trick", "path": "/trick", **(trick or {})}
    return Config.model_validate(
        {"inference": {"workers": 2, "limit": 4, "timeout_s": 60, **inference}, "pipelines": {"trick": entry}}
    )


async def idle(executor: Executor) -> None:
    """Wait until no slot is in use. Slots are released when the workers have finished."""
    async with asyncio.timeout(30):
        while executor.limiter.in_flight:  # released in threads, which set no event
            await asyncio.sleep(0.005)


def ask(executor: Executor, file: Path, tasks: int) -> list[asyncio.Task[Reply]]:
    return [asyncio.create_task(executor.run("trick", Task(file))) for _ in range(tasks)]


async def hold(executor: Executor, file: Path, tasks: int) -> list[asyncio.Task[Reply]]:
    """Start tasks and wait until each one has a slot."""
    before = executor.limiter.in_flight
    asked = ask(executor, file, tasks)
    async with asyncio.timeout(30):
        while executor.limiter.in_flight < before + tasks:
            await asyncio.sleep(0.005)
    return asked
