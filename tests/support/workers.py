"""Workers and batches for tests of the pool: what the workers load, a starter that records, and batches that record."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from faceattr_aio.errors import StartError
from faceattr_aio.inference.batch import Batch
from faceattr_aio.inference.process import Starter, WorkerHandle, process_starter, thread_starter
from faceattr_aio.inference.worker import ProcessLimits
from faceattr_aio.pipeline import LoadSpec
from tests.support.gate import PATIENCE_S
from tests.support.pipelines import TrickSettings

MODULES = ("tests.support.pipelines",)
LIMITS = ProcessLimits(nice=5, memory=1 << 30)
BROKEN = "The trick is broken: repair it."


def load_specs(**settings: object) -> dict[str, LoadSpec]:
    return {
        "trick": LoadSpec("tests.support.pipelines:TrickPipeline", TrickSettings.model_validate(settings), {}, 1024)
    }


def processes(**settings: object) -> Starter:
    return process_starter(lambda: load_specs(**settings), MODULES, LIMITS)


def threads(**settings: object) -> Starter:
    return thread_starter(lambda: load_specs(**settings))


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that has no event, such as the exit of a process."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class RecordingStarter:
    """Starts workers and records them. Fails once, at each start whose number is in `failing`; calls `on_start` before
    each start.
    """

    def __init__(self, start: Starter | None = None, failing: tuple[int, ...] = ()) -> None:
        self.failing = failing
        self.started: list[WorkerHandle] = []
        self.on_start: Callable[[], object] = lambda: None
        self._start = start or threads()

    def __call__(self) -> WorkerHandle:
        self.on_start()
        if len(self.started) in self.failing:
            self.failing = ()
            raise StartError(BROKEN)
        self.started.append(self._start())
        return self.started[-1]

    @property
    def alive(self) -> int:
        return sum(worker.alive for worker in self.started)

    @property
    def pids(self) -> set[int]:
        """The processes that run."""
        return {worker.pid for worker in self.started if worker.alive}  # type: ignore[attr-defined]  # they are processes


def make_batch(*tasks: object, **changes: Any) -> Batch:
    """A batch for the pipeline `trick` without a deadline, with these changes."""
    values = {
        "timeout_s": PATIENCE_S,
        "deadline": float("inf"),
        "is_wanted": lambda: True,
        "resources": ExitStack(),
        "observe": lambda _: None,
        **changes,
    }
    return Batch("trick", tasks, **values)  # type: ignore[arg-type]  # mypy cannot check the changes


def resources(*callbacks: Callable[[], object]) -> ExitStack:
    """Resources that make these calls when they are closed."""
    stack = ExitStack()
    for callback in callbacks:
        stack.callback(callback)
    return stack
