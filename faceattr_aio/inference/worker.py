"""The worker's side: load pipelines by their dotted names and run one task after another. A thread calls `Worker`
directly; `main` runs it in a process of its own, behind a pipe.
"""

import os
import resource
import signal
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from faceattr_aio.errors import FaceattrError, InternalError, StartError
from faceattr_aio.pipeline import Clock, LoadSpec, Outcome, Pipeline, Reply, Task, resolve

ModelHashes = Mapping[str, str]
"""Name and SHA-256 of every model that a worker has loaded."""


@dataclass(frozen=True)
class ProcessLimits:
    """Limits that a worker process sets for itself: its niceness, and the bytes of address space that it may use beyond
    those in use once its pipelines are loaded.
    """

    nice: int
    memory: int


def read_memory(process: str) -> list[int]:
    """Bytes of address space and bytes of resident memory of a process, by its id or "self". Raises OSError or returns
    an empty list when it has exited.
    """
    return [int(pages) * resource.getpagesize() for pages in Path(f"/proc/{process}/statm").read_text().split()[:2]]


class Worker:
    """The loaded pipelines of one worker. Not thread-safe."""

    def __init__(self, specs: Mapping[str, LoadSpec]) -> None:
        """Raises StartError when a pipeline cannot be loaded."""
        self._pipelines: dict[str, Pipeline[Any]] = {name: _load(name, spec) for name, spec in specs.items()}

    @property
    def models(self) -> ModelHashes:
        return {model: digest for pipeline in self._pipelines.values() for model, digest in pipeline.models.items()}

    def call(self, name: str, task: Task) -> Reply:
        """Run one task. Raises FaceattrError: InternalError for an exception that the pipeline does not declare."""
        clock = Clock()
        try:
            pipeline, body = self._pipelines[name], None
            result = pipeline.predict(task.path, task.options, clock)
            if task.media_type is not None:
                body = pipeline.encode(result, task.media_type, task.path)
                clock.lap("encode")
        except FaceattrError:
            raise
        except Exception as error:
            raise InternalError(log=traceback.format_exc()) from error
        return Reply(result, body, clock.laps)

    def close(self) -> None:
        for pipeline in self._pipelines.values():
            pipeline.close()


def _load(name: str, spec: LoadSpec) -> Pipeline[Any]:
    try:
        pipeline: Pipeline[Any] = resolve(spec.load)(spec)
    except StartError:
        raise
    except Exception as error:
        raise StartError(f"The pipeline '{name}' ({spec.load}) cannot be loaded: {error}") from error
    return pipeline


def main(connection: Connection, specs: Mapping[str, LoadSpec], limits: ProcessLimits) -> None:
    """Entry point of a worker process: load, send the models or the StartError, run tasks until the pipe is closed.

    Signals are ignored, because they may be sent to the whole process group: the server decides when a worker stops.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(limits.nice)
    try:
        worker = Worker(specs)
    except StartError as error:
        connection.send(error)
        return
    _limit_memory(limits.memory)
    connection.send(worker.models)
    _run_tasks(connection, worker)


def _run_tasks(connection: Connection, worker: Worker) -> None:
    while True:
        try:
            name, task = connection.recv()
        except EOFError:
            return
        try:
            outcome: Outcome = worker.call(name, task)
        except FaceattrError as error:
            outcome = error
        connection.send(outcome)


def _end_with_parent() -> None:
    """Exit when the server exits, even in the middle of a task."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _limit_memory(budget: int) -> None:
    """Limit the address space to its present size plus `budget` bytes: allocations beyond that fail."""
    bound = read_memory("self")[0] + budget
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
