"""Threads for what waits for the disk. Knows not what they do."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class IoThreads(ThreadPoolExecutor):
    """A thread pool whose work nobody closes a file under."""

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` gives, or raises. Who is cancelled meanwhile waits until the thread is done."""
        working = asyncio.get_running_loop().run_in_executor(self, partial(work, *args, **kwargs))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait({working})
            raise
