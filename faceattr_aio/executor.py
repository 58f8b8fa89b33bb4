"""Runs tasks on workers, no more at a time than there are slots. A slot and the files of a request belong to the work:
both are given back when the worker is done with them, not when the caller stops waiting. Knows no HTTP.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from faceattr_aio.config import Config
from faceattr_aio.errors import (
    DeadlineExceeded,
    Draining,
    FaceattrError,
    InternalError,
    NoImage,
    StartError,
    Unavailable,
)
from faceattr_aio.headers import BLIND
from faceattr_aio.io_threads import IoThreads
from faceattr_aio.jobs import Job, JobThreads, Outcome
from faceattr_aio.limiter import Limiter
from faceattr_aio.model_store import ModelStore
from faceattr_aio.pipeline import Declaration, Plan, Reply, Task
from faceattr_aio.pool import Pool
from faceattr_aio.probe import Bounds, probe
from faceattr_aio.worker import ProcessLimits
from faceattr_aio.workers import Lendable, process_starter, thread_starter

_IO_THREADS = 8
_BYTES_PER_PIXEL = 12
"""Most that a decoder was seen to take, with room: 9 for a progressive JPEG without chroma subsampling."""
_BASE_MEMORY = 512 << 20
"""Bytes for nets and buffers that do not depend on the size of the picture."""


class Executor:
    """The workers behind their limit. `start` before the first `run`, `close` at the end.

    `run` awaits a reply; `run_all` takes the pictures of one request, which share one slot. Workers are threads unless
    `inference.pool` is `process`.
    """

    def __init__(self, config: Config) -> None:
        """Raises StartError when settings do not go together."""
        workers, image = config.inference.worker_count, config.image
        self.limiter = Limiter(config.inference.limit_count, workers)
        self.declarations: Mapping[str, Declaration] = {name: one.declaration for name, one in config.pipelines.items()}
        self.io = IoThreads(_IO_THREADS, "faceattr-io")
        self.retiring = False
        """Whether this instance should get no more work, though it still takes it."""
        self._config = config
        self._closed = False
        self._store = ModelStore(config.models.dir)
        self._bounds = Bounds(image.formats, image.max_pixels, image.max_scans, image.max_scan_megapixels)
        self._threads = JobThreads(workers, "faceattr-worker")
        self.pool = Pool(self._starter(), workers)

    async def start(self) -> None:
        """Loads every worker. Raises StartError."""
        await asyncio.get_running_loop().run_in_executor(self.io, self.pool.start)

    async def close(self) -> None:
        """Ends the workers; what still waits for one gets Draining. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self.limiter.drain()
        self._threads.shutdown(wait=False, cancel_futures=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.io, self.pool.close)
        with suppress(TimeoutError):  # a thread cannot be stopped; the process ends without it
            async with asyncio.timeout(self._config.inference.timeout_s):
                await loop.run_in_executor(self.io, partial(self._threads.shutdown, wait=True))
        self.io.shutdown(wait=False)

    def check(self, deadline: float = math.inf) -> None:
        """Whether a newcomer may come in that wants its answer by `deadline`, on the monotonic clock.

        Raises Overloaded, Draining, DeadlineOutOfReach, or Unavailable when no worker can work.
        """
        self.limiter.check(deadline - time.monotonic())
        self.pool.check()

    def probe(self, path: Path) -> None:
        """Refuses a picture that must not go to a decoder. Raises FaceattrError, or OSError."""
        probe(path, self._bounds)

    async def run(self, name: str, task: Task, deadline: float = math.inf) -> Reply:
        """One picture through the pipeline `name`. Raises FaceattrError, and KeyError for a name there is not."""
        self.check(deadline)
        (outcome,) = await self.run_all(name, [task], deadline=deadline)
        if isinstance(outcome, FaceattrError):
            raise outcome
        return outcome

    async def run_all(
        self,
        name: str,
        tasks: Sequence[Task | FaceattrError],
        held: ExitStack | None = None,
        wanted: Callable[[], bool] = lambda: True,
        deadline: float = math.inf,
    ) -> list[Outcome]:
        """The pictures of one request that was let in, in their order. One that fails, or that is a failure already,
        keeps no other from its answer.

        `held` is emptied when the work takes over what is in it. While the job waits, `wanted` tells from another
        thread whether anybody still does; what has not begun by the `deadline` is not begun any more.

        Raises Overloaded, Draining, DeadlineOutOfReach, DeadlineExceeded or ClientGone.
        """
        if self._closed:
            raise Draining
        if not self.pool.started:
            raise RuntimeError("The executor was not started: await its start(), or set it up in an app that runs.")
        checked = [await self._check(name, task) if isinstance(task, Task) else task for task in tasks]
        if not any(isinstance(task, Task) for task in checked):
            return [error for error in checked if isinstance(error, FaceattrError)]
        owned = ExitStack()
        owned.callback(self.limiter.acquire(deadline - time.monotonic()))
        owned.enter_context((held or ExitStack()).pop_all())
        timeout_s = self._config.inference.timeout_s
        job = Job(self.pool, name, checked, timeout_s, wanted, owned, self.limiter.observe, deadline)
        return await self._submit(job)

    async def _check(self, name: str, task: Task) -> Task | FaceattrError:
        """The task made complete, or why its picture must not go to a decoder."""
        options = task.options or self.declarations[name].options()
        try:
            if not task.probed:
                await self.io.run(self.probe, task.path)
        except FaceattrError as error:
            return error
        except OSError as error:
            return NoImage.because(error, f"The file cannot be read: {error.strerror}.")
        return replace(task, path=task.path.absolute(), options=options)

    async def _submit(self, job: Job) -> list[Outcome]:
        try:
            async with asyncio.timeout(job.allowed_s):
                outcomes = await asyncio.get_running_loop().run_in_executor(self._threads, job)
        except TimeoutError as error:
            raise DeadlineExceeded from error
        except asyncio.CancelledError:
            if self._closed and not _is_cancelled():
                raise Draining from None
            raise
        return [Draining() if self._closed and _is_ours(outcome) else outcome for outcome in outcomes]

    def _starter(self) -> Callable[[], Lendable]:
        if self._config.inference.pool != "process":
            _refuse_blind(self._config.image.formats)
            return thread_starter(self._plans)
        modules = sorted({one.load.partition(":")[0] for one in self.declarations.values()})
        memory = _BASE_MEMORY + _BYTES_PER_PIXEL * self._config.image.max_pixels
        return process_starter(self._plans, modules, ProcessLimits(self._config.inference.nice, memory))

    def _plans(self) -> Mapping[str, Plan]:
        """Made anew for each worker, so that every start of one verifies the files it will load."""
        return {name: self._plan(name) for name in self._config.pipelines}

    def _plan(self, name: str) -> Plan:
        entry = self._config.pipelines[name]
        files = {model: self._store.verify(model) for model in entry.declaration.models(entry.settings)}
        own_process = self._config.inference.pool == "process"
        return Plan(entry.declaration.load, entry.settings, files, self._config.image.working_side, own_process)


def _refuse_blind(formats: Iterable[str]) -> None:
    """Raises StartError when a header could hide a picture that fills the memory of the whole program."""
    for name in BLIND.intersection(formats):
        raise StartError(f"The type {name} needs workers of bounded memory: set inference.pool to 'process'.")


def _is_ours(outcome: Outcome) -> bool:
    """Whether the picture failed because its worker was ended."""
    return isinstance(outcome, InternalError | Unavailable)


def _is_cancelled() -> bool:
    """Whether the caller itself was cancelled, rather than the job it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
