"""Runs tasks on workers, no more at a time than there are slots. A slot and the files of a request belong to the work:
both are given back when the worker is done with them, not when the caller stops waiting. Knows no HTTP.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import DeadlineExceeded, Draining, FaceattrError, InternalError, NoImage, Unavailable
from faceattr_aio.inference.batch import Batch
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.staff import Staff
from faceattr_aio.inference.worker import ModelHashes
from faceattr_aio.pipeline import Declaration, Outcome, Reply, Task
from faceattr_aio.uploads.probe import probe
from faceattr_aio.uploads.spool import IoThreads

_IO_THREADS = 8


class Executor:
    """The workers behind their limit. `start` before the first `run`, `close` at the end.

    `run` awaits a reply; `run_all` takes the pictures of one request, which share one slot. Workers are threads unless
    `inference.pool` is `process`.
    """

    def __init__(self, config: Config) -> None:
        """Raises StartError when settings do not go together."""
        self.staff: Staff = Staff(config)
        self.limiter: Limiter = self.staff.limiter
        self.pool: Pool = self.staff.pool
        self.io: IoThreads = IoThreads(_IO_THREADS, "faceattr-io")
        self.retiring = False
        """Whether this instance should get no more work, though it still takes it."""
        self._closed = False
        self._image = config.image
        self._reloading = asyncio.Lock()

    @property
    def declarations(self) -> Mapping[str, Declaration]:
        """What each pipeline can be asked, by name."""
        return self.staff.declarations

    @property
    def reload_fault(self) -> str | None:
        return self.staff.reload_fault

    def record_failed_reload(self, error: Exception) -> None:
        self.staff.record_failed_reload(error)

    def fingerprint(self, name: str) -> str:
        return self.staff.fingerprint(name)

    async def start(self) -> None:
        """Loads every worker. Raises StartError."""
        await asyncio.get_running_loop().run_in_executor(self.io, self.staff.start)

    async def reload(self, config: Config | None = None) -> ModelHashes:
        """Puts new workers in place of all, one after another, from the files as they are now and as `config` says, if
        it is given; of that also `inference.limit`, `timeout_s`, `recycle_after` and `recycle_bytes` are taken over.
        Nobody who waits notices. A second reload waits for the first.

        Gives the models in use. Raises ReloadFailed when a worker could not be started; then all is as before.
        """
        if self._closed:
            raise Draining
        async with self._reloading:
            return await self.io.run(self.staff.reload, config)

    async def close(self) -> None:
        """Ends the workers; what still waits for one gets Draining. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self.limiter.drain()
        self.staff.stop()
        self.staff.lanes.shutdown(wait=False, cancel=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.io, self.pool.close)
        with suppress(TimeoutError):  # a thread cannot be stopped; the process ends without it
            async with asyncio.timeout(self.staff.config.inference.timeout_s):
                await loop.run_in_executor(self.io, partial(self.staff.lanes.shutdown, wait=True))
        self.io.shutdown(wait=False)

    def limiter_of(self, name: str) -> Limiter:
        """What the requests for a pipeline are counted by: its own portion, if it has one."""
        return self.staff.lanes[name].limiter

    def check(self, deadline: float = math.inf, name: str | None = None) -> None:
        """Whether a newcomer may come in, to the pipeline `name` if that is known, that wants its answer by `deadline`,
        on the monotonic clock.

        Raises Overloaded, Draining, DeadlineOutOfReach, or Unavailable when no worker can work.
        """
        limiter = self.limiter_of(name) if name else self.limiter
        limiter.check(deadline - time.monotonic())
        self.pool.check()

    def probe(self, path: Path) -> None:
        """Refuses a picture that must not go to a decoder. Raises FaceattrError, or OSError."""
        probe(path, self._image)

    async def run(self, name: str, task: Task, deadline: float = math.inf) -> Reply:
        """One picture through the pipeline `name`. Raises FaceattrError, and KeyError for a name there is not."""
        self.check(deadline, name)
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

        `held` is emptied when the work takes over what is in it. While the batch waits, `wanted` tells from another
        thread whether anybody still does; what has not begun by the `deadline` is not begun any more.

        Raises Overloaded, Draining, DeadlineOutOfReach, DeadlineExceeded or ClientGone.
        """
        self._check_running()
        checked = [await self._check(name, task) if isinstance(task, Task) else task for task in tasks]
        if not any(isinstance(task, Task) for task in checked):
            return [error for error in checked if isinstance(error, FaceattrError)]
        owned = ExitStack()
        owned.callback(self.limiter_of(name).acquire(deadline - time.monotonic()))
        owned.enter_context((held or ExitStack()).pop_all())
        return await self._submit(name, checked, wanted, owned, deadline)

    async def run_in_slot(self, name: str, task: Task, held: ExitStack, wanted: Callable[[], bool]) -> Outcome:
        """One picture of somebody who has a slot: it is in `held`, and goes with it as in `run_all`. Raises Draining,
        DeadlineExceeded or ClientGone.
        """
        self._check_running()
        checked = await self._check(name, task)
        if isinstance(checked, FaceattrError):
            return checked
        (outcome,) = await self._submit(name, [checked], wanted, held.pop_all(), math.inf)
        return outcome

    def _check_running(self) -> None:
        if self._closed:
            raise Draining
        if not self.pool.started:
            raise RuntimeError("The executor was not started: await its start(), or set it up in an app that runs.")

    async def _check(self, name: str, task: Task) -> Task | FaceattrError:
        """The task made complete, or why its picture must not go to a decoder."""
        options = task.options or self.declarations[name].options()
        try:
            if not task.probed:
                await self.io.run(self.probe, task.path)
        except FaceattrError as error:
            return error
        except OSError as error:
            return NoImage.from_exception(error, f"The file cannot be read: {error.strerror}.")
        return replace(task, path=task.path.absolute(), options=options)

    async def _submit(
        self,
        name: str,
        tasks: Sequence[Task | FaceattrError],
        wanted: Callable[[], bool],
        owned: ExitStack,
        deadline: float,
    ) -> list[Outcome]:
        lane, timeout_s = self.staff.lanes[name], self.staff.config.inference.timeout_s
        batch = Batch(self.pool, name, tasks, timeout_s, wanted, owned, lane.limiter.observe, deadline, lane.turn)
        try:
            async with asyncio.timeout(batch.allowed_s):
                outcomes = await asyncio.get_running_loop().run_in_executor(lane.threads, batch)
        except TimeoutError as error:
            raise DeadlineExceeded from error
        except asyncio.CancelledError:
            if self._closed and not _is_cancelled():
                raise Draining from None
            raise
        return [Draining() if self._closed and _is_ours(outcome) else outcome for outcome in outcomes]


def _is_ours(outcome: Outcome) -> bool:
    """Whether the picture failed because its worker was ended."""
    return isinstance(outcome, InternalError | Unavailable)


def _is_cancelled() -> bool:
    """Whether the caller itself was cancelled, rather than the batch it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
