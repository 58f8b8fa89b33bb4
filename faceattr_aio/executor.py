"""Runs tasks on workers, no more at a time than there are slots. A slot and the files of a request belong to the work:
both are given back when the worker is done with them, not when the caller stops waiting. Knows no HTTP.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path

from faceattr_aio.batch import Batch, Outcome
from faceattr_aio.config import Config
from faceattr_aio.errors import (
    DeadlineExceeded,
    Draining,
    FaceattrError,
    InternalError,
    NoImage,
    ReloadFailed,
    Unavailable,
)
from faceattr_aio.io_threads import IoThreads
from faceattr_aio.lanes import Lanes
from faceattr_aio.limiter import Limiter
from faceattr_aio.pipeline import Declaration, Reply, Task
from faceattr_aio.plans import starter
from faceattr_aio.pool import Pool
from faceattr_aio.probe import Bounds, probe
from faceattr_aio.scaling import Scaling
from faceattr_aio.upkeep import Recycling, Upkeep
from faceattr_aio.worker import ModelHashes

log = logging.getLogger(__name__)

_IO_THREADS = 8
_VERSION = metadata.version("faceattr-aio")


class Executor:
    """The workers behind their limit. `start` before the first `run`, `close` at the end.

    `run` awaits a reply; `run_all` takes the pictures of one request, which share one slot. Workers are threads unless
    `inference.pool` is `process`.
    """

    def __init__(self, config: Config) -> None:
        """Raises StartError when settings do not go together."""
        workers, image = config.inference.worker_count, config.image
        self.limiter: Limiter = Limiter(config.inference.limit_count, workers)
        self.declarations: Mapping[str, Declaration] = _declarations(config)
        self.io: IoThreads = IoThreads(_IO_THREADS, "faceattr-io")
        self.retiring = False
        """Whether this instance should get no more work, though it still takes it."""
        self._config = config
        self._closed = False
        self._bounds = Bounds(image.formats, image.max_pixels, image.max_scans, image.max_scan_megapixels)
        shares = {name: entry.share for name, entry in config.pipelines.items()}
        self._lanes = Lanes(self.limiter, shares, config.inference.most_workers)
        self.pool: Pool = Pool(starter(config), workers)
        self.reloads: Counter[str] = Counter()
        """How many there were: `ok` and `failed`."""
        self.reload_fault: str | None = None
        """Why the last reload failed, if it did."""
        self._reloading = asyncio.Lock()
        scaling = Scaling(workers, config.inference.most_workers)
        self._upkeep = Upkeep(self.pool, self.limiter, _recycling(config), scaling, self._fit_limit)

    async def start(self) -> None:
        """Loads every worker. Raises StartError."""
        await asyncio.get_running_loop().run_in_executor(self.io, self.pool.start)
        self._upkeep.start()

    async def reload(self, config: Config | None = None) -> ModelHashes:
        """Puts new workers in place of all, one after another, from the files as they are now and as `config` says, if
        it is given; of that also `inference.limit`, `timeout_s`, `recycle_after` and `recycle_bytes` are taken over.
        Nobody who waits notices. A second reload waits for the first.

        Gives the models in use. Raises ReloadFailed when a worker could not be started; then all is as before.
        """
        if self._closed:
            raise Draining
        async with self._reloading:
            return await self.io.run(self._reload, config or self._config)

    async def close(self) -> None:
        """Ends the workers; what still waits for one gets Draining. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self.limiter.drain()
        self._upkeep.stop()
        self._lanes.shutdown(wait=False, cancel=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.io, self.pool.close)
        with suppress(TimeoutError):  # a thread cannot be stopped; the process ends without it
            async with asyncio.timeout(self._config.inference.timeout_s):
                await loop.run_in_executor(self.io, partial(self._lanes.shutdown, wait=True))
        self.io.shutdown(wait=False)

    def limiter_of(self, name: str) -> Limiter:
        """What the requests for a pipeline are counted by: its own portion, if it has one."""
        return self._lanes[name].limiter

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
        probe(path, self._bounds)

    def fingerprint(self, name: str) -> str:
        """All that decides what the pipeline `name` finds in a picture, beside the picture and the options."""
        settings, models = self._config.pipelines[name].settings, sorted(self.pool.models.items())
        return f"{_VERSION} {name} {settings.model_dump_json()} {self._config.image.working_side} {models}"

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

    def _reload(self, config: Config) -> ModelHashes:
        try:
            self.pool.reload(starter(config))
        except Exception as error:
            self.tell_failed_reload(error)
            raise ReloadFailed(f"All is as before. {error}") from error
        self.reloads["ok"] += 1
        self.reload_fault = None
        self._config, self.declarations = config, _declarations(config)
        self._upkeep.recycling = _recycling(config)
        self._fit_limit()
        log.info("the models were reloaded: %s", ", ".join(self.pool.models))
        return self.pool.models

    def tell_failed_reload(self, error: Exception) -> None:
        """To the log, on /readyz, and in the count."""
        self.reloads["failed"] += 1
        self.reload_fault = str(error)
        log.error("nothing was reloaded, and all is as before: %s", error)

    def _fit_limit(self) -> None:
        """To the number of workers that there are now."""
        self.limiter.workers = self.pool.size
        self.limiter.limit = self._config.inference.limit_of(self.pool.size)
        self._lanes.fit()

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

    async def _submit(
        self,
        name: str,
        tasks: Sequence[Task | FaceattrError],
        wanted: Callable[[], bool],
        owned: ExitStack,
        deadline: float,
    ) -> list[Outcome]:
        lane, timeout_s = self._lanes[name], self._config.inference.timeout_s
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


def _declarations(config: Config) -> Mapping[str, Declaration]:
    return {name: entry.declaration for name, entry in config.pipelines.items()}


def _recycling(config: Config) -> Recycling:
    return Recycling(config.inference.recycle_after, config.inference.recycle_bytes)


def _is_ours(outcome: Outcome) -> bool:
    """Whether the picture failed because its worker was ended."""
    return isinstance(outcome, InternalError | Unavailable)


def _is_cancelled() -> bool:
    """Whether the caller itself was cancelled, rather than the batch it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
