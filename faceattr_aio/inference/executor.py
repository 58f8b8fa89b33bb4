"""Executor: runs tasks on a pool of workers behind a limiter, as the configuration says; applies reloads.

A slot and the files of a request belong to the work: both are released when the worker has finished with them, not when
the caller stops waiting.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from faceattr_aio.admission.limiter import Limiter, Quota
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import (
    DeadlineExceeded,
    Draining,
    FaceattrError,
    InternalError,
    NoImage,
    ReloadFailed,
    Unavailable,
)
from faceattr_aio.inference.batch import Batch
from faceattr_aio.inference.loader import starter
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.scaling import Autoscaler, Maintenance, RecyclePolicy
from faceattr_aio.inference.worker import ModelHashes
from faceattr_aio.pipeline import Declaration, Outcome, Reply, Task
from faceattr_aio.uploads.probe import probe
from faceattr_aio.uploads.spool import IoThreads

log = logging.getLogger("faceattr_aio.staff")

_IO_THREADS = 8
_VERSION = metadata.version("faceattr-aio")


class Executor:
    """The workers behind their limiter. Call `start` before the first `run`, and `close` at the end.

    `run` awaits the reply for one picture; `run_all` those for the pictures of one request, which share one slot.
    Workers are threads unless `inference.pool` is `process`. The methods are for one event loop.
    """

    def __init__(self, config: Config) -> None:
        """Raises StartError when settings contradict each other."""
        workers, max_workers = config.inference.worker_count, config.inference.max_workers
        self.config: Config = config
        """The configuration in use; a reload replaces it once all workers are replaced."""
        self.limiter: Limiter = Limiter(config.inference.limit_count, workers)
        self.pool: Pool = Pool(starter(config), workers)
        self.io: IoThreads = IoThreads(_IO_THREADS, "faceattr-io")
        self.retiring = False
        """True when load balancers should send this instance no more work; it still accepts work."""
        self.reloads: Counter[str] = Counter()
        """Number of reloads that were `ok` and that `failed`."""
        self.reload_fault: str | None = None
        """The reason if the last reload failed."""
        self._limiters = {
            name: Quota(self.limiter, entry.share, f"requests for {name}") if entry.share < 1 else self.limiter
            for name, entry in config.pipelines.items()
        }
        """The limiter of each pipeline: a quota if its `share` is below 1, else the limiter of all."""
        self._image = config.image
        autoscaler = Autoscaler(workers, max_workers)
        self._maintenance = Maintenance(self.pool, self.limiter, autoscaler, _recycle_policy(config), self._fit)
        self._reloading = asyncio.Lock()
        self._closed = False

    @property
    def declarations(self) -> Mapping[str, Declaration]:
        """The declaration of each pipeline, by name."""
        return {name: entry.declaration for name, entry in self.config.pipelines.items()}

    async def start(self) -> None:
        """Load every worker. Raises StartError."""
        await asyncio.get_running_loop().run_in_executor(self.io, self.pool.start)
        self._maintenance.start()

    async def reload(self, config: Config | None = None) -> ModelHashes:
        """Replace all workers, one after another, by workers that load the files as they are now and, if `config` is
        given, as it says. `inference.limit`, `timeout_s`, `recycle_after` and `recycle_bytes` are taken from it too.
        Requests are served meanwhile. A second reload waits for the first.

        Returns the models in use. Raises ReloadFailed when a worker could not be started; then the previous settings
        and models stay in use (see `Pool.reload`).
        """
        if self._closed:
            raise Draining
        async with self._reloading:
            return await self.io.run(self._reload, config or self.config)

    async def close(self) -> None:
        """End the workers; callers that wait for one get Draining. Further calls do nothing."""
        if self._closed:
            return
        self._closed = True
        self.limiter.drain()
        self._maintenance.stop()
        timeout_s = self.config.inference.timeout_s
        await asyncio.get_running_loop().run_in_executor(self.io, self.pool.close, timeout_s)
        self.io.shutdown(wait=False)

    def limiter_of(self, name: str) -> Limiter:
        """The limiter of a pipeline: its own quota, if it has one."""
        return self._limiters[name]

    def check(self, deadline: float = math.inf, name: str | None = None) -> None:
        """Check that a newcomer could be admitted now, to the pipeline `name` if that is known; its answer has to be
        ready by `deadline` on the monotonic clock.

        Raises Overloaded, Draining, DeadlineOutOfReach, or Unavailable when no worker can be started.
        """
        limiter = self._limiters[name] if name else self.limiter
        limiter.check(deadline - time.monotonic())
        self.pool.check()

    def probe(self, path: Path) -> None:
        """Refuse a picture that must not reach a decoder. Raises FaceattrError, or OSError."""
        probe(path, self._image)

    def fingerprint(self, name: str) -> str:
        """Everything that decides the result of the pipeline `name`, except the picture and the options."""
        config, models = self.config, sorted(self.pool.models.items())
        settings = config.pipelines[name].settings.model_dump_json()
        return f"{_VERSION} {name} {settings} {config.image.working_side} {models}"

    def record_failed_reload(self, error: Exception) -> None:
        """Report a failed reload in the log, on /readyz and in the counter."""
        self.reloads["failed"] += 1
        self.reload_fault = str(error)
        log.error("nothing was reloaded, models and settings stay in use: %s", error)

    async def run(self, name: str, task: Task, deadline: float = math.inf) -> Reply:
        """Run one task on the pipeline `name`. Raises FaceattrError, and KeyError for an unknown name."""
        self.check(deadline, name)
        (outcome,) = await self.run_all(name, [task], deadline=deadline)
        if isinstance(outcome, FaceattrError):
            raise outcome
        return outcome

    async def run_all(
        self,
        name: str,
        tasks: Sequence[Task | FaceattrError],
        resources: ExitStack | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
        deadline: float = math.inf,
        *,
        has_slot: bool = False,
    ) -> list[Outcome]:
        """Run the tasks of one admitted request and return their outcomes, in order. A task that fails, or that has
        failed already, does not affect the others.

        Args:
            name: the pipeline.
            tasks: the pictures, or why one is refused.
            resources: is emptied when the work takes over what it holds, and closed when the work is over.
            is_wanted: called from another thread before each picture; when it returns False, the work ends.
            deadline: on the monotonic clock; pictures that have not started by then are not started.
            has_slot: the caller has acquired a slot, which is among the `resources`.

        Raises:
            Overloaded, Draining, DeadlineOutOfReach: no slot; `resources` are still the caller's.
            DeadlineExceeded, ClientGone: the work did not end in time, or was not wanted any more.

        """
        if self._closed:
            raise Draining
        if not self.pool.started:
            raise RuntimeError("The executor was not started: await its start(), or set it up in an app that runs.")
        prepared = [await self._prepare(name, task) if isinstance(task, Task) else task for task in tasks]
        runnable = [task for task in prepared if isinstance(task, Task)]
        if not runnable:
            return [task for task in prepared if not isinstance(task, Task)]
        owned = ExitStack()
        if not has_slot:
            owned.callback(self._limiters[name].acquire(deadline - time.monotonic()))
        if resources:
            owned.push(resources.pop_all())
        outcomes = iter(await self._submit(name, runnable, is_wanted, owned, deadline))
        return [next(outcomes) if isinstance(task, Task) else task for task in prepared]

    async def _prepare(self, name: str, task: Task) -> Task | FaceattrError:
        """Probe the picture and complete the task, or return why the picture must not reach a decoder."""
        if not task.probed:
            try:
                await self.io.run(self.probe, task.path)
            except FaceattrError as error:
                return error
            except OSError as error:
                return NoImage.from_exception(error, f"The file cannot be read: {error.strerror}.")
        if task.options and task.path.is_absolute():
            return task
        options = task.options or self.config.pipelines[name].declaration.options()
        return replace(task, path=task.path.absolute(), options=options)

    async def _submit(
        self,
        name: str,
        tasks: Sequence[Task],
        is_wanted: Callable[[], bool],
        resources: ExitStack,
        deadline: float,
    ) -> list[Outcome]:
        limiter, timeout_s = self._limiters[name], self.config.inference.timeout_s
        quota = limiter if isinstance(limiter, Quota) else None
        deadline = min(deadline, time.monotonic() + len(tasks) * timeout_s)
        batch = Batch(name, tasks, timeout_s, deadline, is_wanted, resources, limiter.observe, quota)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                outcomes = await asyncio.get_running_loop().run_in_executor(self.pool, batch)  # type: ignore[arg-type]  # the pool passes a worker
        except TimeoutError as error:
            raise DeadlineExceeded from error
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._closed and not (caller and caller.cancelling()):  # the batch was cancelled, not its caller
                raise Draining from None
            raise
        return [_as_draining(outcome) for outcome in outcomes] if self._closed else outcomes

    def _reload(self, config: Config) -> ModelHashes:
        """Runs in a thread; one reload at a time."""
        try:
            self.pool.reload(starter(config))
        except Exception as error:
            self.record_failed_reload(error)
            raise ReloadFailed(f"The previous models and settings stay in use. {error}") from error
        self.reloads["ok"] += 1
        self.reload_fault = None
        self.config = config
        self._maintenance.change_policy(_recycle_policy(config))
        self._fit()
        log.info("the models were reloaded: %s", ", ".join(self.pool.models))
        return self.pool.models

    def _fit(self) -> None:
        """Adapt the limit and the quotas to the number of workers."""
        self.limiter.resize(self.config.inference.limit_of(self.pool.size), self.pool.size)
        self.pool.wake()  # a quota may have more workers now


def _recycle_policy(config: Config) -> RecyclePolicy:
    return RecyclePolicy(config.inference.recycle_after, config.inference.recycle_bytes)


def _as_draining(outcome: Outcome) -> Outcome:
    """Draining for a picture that failed because its worker was ended."""
    return Draining() if isinstance(outcome, InternalError | Unavailable) else outcome
