"""The worker's side: loads pipelines, does one task after another. In a thread it is called directly; in a process of
its own, `main` also sets what holds for a process, and speaks over a pipe. Knows pipelines by dotted name only.
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
from faceattr_aio.pipeline import Clock, LoadSpec, Pipeline, Reply, Task, resolve

ModelHashes = Mapping[str, str]
"""Name and SHA-256 of every model that a worker has loaded: its first word."""


@dataclass(frozen=True)
class ProcessLimits:
    """What a worker process sets for itself: its niceness, and how many bytes of address space it may add to those
    that it has once its pipelines are loaded.
    """

    nice: int
    memory: int


class Worker:
    """The loaded pipelines of one worker. Not safe for threads."""

    def __init__(self, plans: Mapping[str, LoadSpec]) -> None:
        """Raises StartError when a pipeline cannot be loaded."""
        self._pipelines: dict[str, Pipeline[Any]] = {name: _load(name, plan) for name, plan in plans.items()}

    @property
    def models(self) -> ModelHashes:
        return {model: digest for pipeline in self._pipelines.values() for model, digest in pipeline.models.items()}

    def call(self, name: str, task: Task) -> Reply:
        """One picture through one pipeline. Raises FaceattrError, InternalError for anything unforeseen."""
        clock = Clock()
        try:
            return _perform(self._pipelines[name], task, clock)
        except FaceattrError:
            raise
        except Exception as error:
            raise InternalError(log=traceback.format_exc()) from error

    def close(self) -> None:
        for pipeline in self._pipelines.values():
            pipeline.close()


def _load(name: str, plan: LoadSpec) -> Pipeline[Any]:
    try:
        pipeline: Pipeline[Any] = resolve(plan.load)(plan)
    except StartError:
        raise
    except Exception as error:
        raise StartError(f"The pipeline '{name}' ({plan.load}) cannot be loaded: {error}") from error
    return pipeline


def _perform(pipeline: Pipeline[Any], task: Task, clock: Clock) -> Reply:
    result = pipeline.predict(task.path, task.options, clock)
    if task.media_type is None:
        return Reply(result, None, clock.laps)
    body = pipeline.encode(result, task.media_type, task.path)
    clock.lap("encode")
    return Reply(result, body, clock.laps)


def main(connection: Connection, plans: Mapping[str, LoadSpec], limits: ProcessLimits) -> None:
    """The life of a worker process: load, say hello, answer until the pipe ends. It ends with its server, whose
    process group may be signalled as a whole: the server decides when a worker stops.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(limits.nice)
    try:
        worker = Worker(plans)
    except StartError as error:
        connection.send(error)
        return
    _limit_memory(limits.memory)
    connection.send(worker.models)
    _answer(connection, worker)


def _answer(connection: Connection, worker: Worker) -> None:
    while True:
        try:
            name, task = connection.recv()
        except EOFError:
            return
        try:
            answer: Reply | FaceattrError = worker.call(name, task)
        except FaceattrError as error:
            answer = error
        connection.send(answer)


def _end_with_parent() -> None:
    """Ends the process with its server, even in the middle of a task."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _limit_memory(budget: int) -> None:
    """Bounds the address space to what is in use now plus `budget` bytes: a decoder that wants more gets an error."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + budget
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
