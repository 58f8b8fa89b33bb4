"""Runs tasks on workers, no more at a time than there are slots. A slot and the files of a request belong to the work:
both are given back when the worker is done with them, not when the caller stops waiting. Knows no HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

from faceattr_aio.config import Config
from faceattr_aio.errors import ClientGone, DeadlineExceeded, Draining, FaceattrError, NoImage
from faceattr_aio.limiter import GOING_DOWN, Limiter
from faceattr_aio.model_store import ModelStore
from faceattr_aio.pipeline import Declaration, Plan, Reply, Task
from faceattr_aio.pool import Pool
from faceattr_aio.probe import Bounds, probe
from faceattr_aio.worker import Hello, ProcessLimits
from faceattr_aio.workers import Lendable, process_starter, thread_starter

_IO_THREADS = 8
_BYTES_PER_PIXEL = 12
"""Most that a decoder was seen to take, with room: 9 for a progressive JPEG without chroma subsampling."""
_BASE_MEMORY = 512 << 20
"""Bytes for nets and buffers that do not depend on the size of the picture."""

Outcome = Reply | FaceattrError


@dataclass(frozen=True)
class _Job:
    """What one request wants: its pictures, one after another. Called in a thread of the pool."""

    pool: Pool
    name: str
    tasks: Sequence[Task | FaceattrError]
    submitted: float
    deadline: float
    wanted: Callable[[], bool]
    owned: ExitStack
    observe: Callable[[float], None]

    def __call__(self) -> list[Outcome]:
        started = time.monotonic()
        outcomes = [task if isinstance(task, FaceattrError) else self._outcome(task, started) for task in self.tasks]
        self.observe(time.monotonic() - started)
        return outcomes

    def _outcome(self, task: Task, started: float) -> Outcome:
        if not self.wanted():
            raise ClientGone
        try:
            with self.pool.lend(self.deadline - time.monotonic()) as worker:
                reply = worker.call(self.name, task, self.deadline - time.monotonic())
        except FaceattrError as error:
            return error
        return replace(reply, laps={"queue": (started - self.submitted) * 1e3, **reply.laps})


def _is_cancelled() -> bool:
    """Whether the caller itself was cancelled, rather than the job it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Threads(ThreadPoolExecutor):
    """Gives back what a job owns in the callback of the concurrent future: that one ends with the work itself, or with
    its removal from the queue. The future that a caller awaits ends with the caller's patience.
    """

    def submit(self, job: _Job) -> Future[list[Outcome]]:  # type: ignore[override]  # takes jobs alone
        try:
            future = super().submit(job)
        except RuntimeError:  # shut down in the meantime
            job.owned.close()
            raise
        future.add_done_callback(lambda _: job.owned.close())
        return future


class Executor:
    """The workers behind their limit. `start` before the first `run`, `close` at the end.

    `run` awaits a reply; `run_all` takes the pictures of one request, which share one slot.
    """

    def __init__(self, config: Config, *, processes: bool) -> None:
        workers = config.inference.worker_count
        self.limiter = Limiter(config.inference.limit_count, workers)
        self.declarations: Mapping[str, Declaration] = {name: one.declaration for name, one in config.pipelines.items()}
        self.io = ThreadPoolExecutor(_IO_THREADS, "faceattr-io")
        self._config = config
        self._processes = processes
        self._closed = False
        self._store = ModelStore(config.models.dir)
        self._bounds = Bounds(config.image.formats, config.image.max_pixels, config.image.max_scans)
        self._threads = _Threads(workers, "faceattr-worker")
        self._pool = Pool(self._starter(), workers)

    @property
    def models(self) -> Hello:
        """Name and hash of the models in use."""
        return self._pool.models

    @property
    def fault(self) -> str | None:
        """Why fewer workers run than should, or None."""
        return self._pool.fault

    async def start(self) -> None:
        """Loads every worker. Raises StartError."""
        await asyncio.get_running_loop().run_in_executor(self.io, self._pool.start)

    async def close(self) -> None:
        """Ends the workers; what still waits for one gets Draining. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self.limiter.drain()
        self._threads.shutdown(wait=False, cancel_futures=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.io, self._pool.close)
        with suppress(TimeoutError):  # a thread cannot be stopped; the process ends without it
            async with asyncio.timeout(self._config.inference.timeout_s):
                await loop.run_in_executor(self.io, partial(self._threads.shutdown, wait=True))
        self.io.shutdown(wait=False)

    async def run(self, name: str, task: Task) -> Reply:
        """One picture through the pipeline `name`. Raises FaceattrError."""
        (outcome,) = await self.run_all(name, [task])
        if isinstance(outcome, FaceattrError):
            raise outcome
        return outcome

    async def run_all(
        self,
        name: str,
        tasks: Sequence[Task],
        files: ExitStack | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> list[Outcome]:
        """The pictures of one request, in their order; one that fails does not keep the others from their answer.

        `files` is emptied when the work takes over what it holds. While the job waits, `wanted` tells from another
        thread whether anybody still does. Raises Overloaded, Draining, DeadlineExceeded or ClientGone.
        """
        self.limiter.check()
        checked = [await self._check(name, task) for task in tasks]
        if not any(isinstance(task, Task) for task in checked):
            return [error for error in checked if isinstance(error, FaceattrError)]
        owned = ExitStack()
        owned.callback(self.limiter.acquire())
        owned.enter_context((files or ExitStack()).pop_all())
        return await self._submit(name, checked, owned, wanted)

    async def _check(self, name: str, task: Task) -> Task | FaceattrError:
        """The task made complete, or why its picture must not go to a decoder."""
        try:
            await asyncio.get_running_loop().run_in_executor(self.io, probe, task.path, self._bounds)
        except FaceattrError as error:
            return error
        except OSError as error:
            return NoImage.because(error, f"The file cannot be read: {error.strerror}.")
        return replace(task, path=task.path.absolute(), options=task.options or self.declarations[name].options())

    async def _submit(
        self, name: str, tasks: Sequence[Task | FaceattrError], owned: ExitStack, wanted: Callable[[], bool]
    ) -> list[Outcome]:
        timeout_s, now = self._config.inference.timeout_s * len(tasks), time.monotonic()
        job = _Job(self._pool, name, tasks, now, now + timeout_s, wanted, owned, self.limiter.observe)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, job)
        except TimeoutError as error:
            raise DeadlineExceeded(f"The answer was not ready within {timeout_s:g} s.") from error
        except asyncio.CancelledError:
            if self._closed and not _is_cancelled():
                raise Draining(GOING_DOWN) from None
            raise

    def _starter(self) -> Callable[[], Lendable]:
        if not self._processes:
            return thread_starter(self._plans)
        memory = _BASE_MEMORY + _BYTES_PER_PIXEL * self._config.image.max_pixels
        return process_starter(self._plans, ProcessLimits(self._config.inference.nice, memory))

    def _plans(self) -> Mapping[str, Plan]:
        """Made anew for each worker, so that every start of one verifies the files it will load."""
        return {name: self._plan(name) for name in self._config.pipelines}

    def _plan(self, name: str) -> Plan:
        entry = self._config.pipelines[name]
        files = {model: self._store.verify(model) for model in entry.declaration.models(entry.settings)}
        return Plan(entry.declaration.load, entry.settings, files, self._config.image.working_side, self._processes)
