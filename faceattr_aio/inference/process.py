"""The server's end of a worker, in a process of its own or in a thread: start it, hear its hello, give it a task,
end it. A process that dies or does not answer in time costs the task it was at. Knows no pool and no event loop.
"""

import atexit
import multiprocessing
import resource
import select
import threading
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Protocol

from faceattr_aio.errors import DeadlineExceeded, FaceattrError, InternalError, StartError, WorkerGone
from faceattr_aio.inference.worker import ModelHashes, ProcessLimits, Worker, main
from faceattr_aio.pipeline import LoadSpec, Reply, Task

_LOADING_S = 60.0


class WorkerHandle(Protocol):
    """A worker as the pool sees it, in a process or in a thread."""

    alive: bool
    served: int
    """Tasks that it has done, or failed at."""
    models: ModelHashes
    """What it has loaded; known from its hello on."""

    @property
    def resident(self) -> int:
        """Bytes of memory of its process; 0 when it has none of its own."""

    def hello(self) -> None:
        """Waits until the worker is loaded. Raises StartError when it cannot be; it still has to be closed."""

    def call(self, name: str, task: Task, timeout_s: float) -> Reply:
        """One task. Raises FaceattrError, or WorkerGone when it was not even begun."""

    def wait(self) -> None:
        """Returns when the worker has ended, which `alive` tells by then."""

    def close(self) -> None:
        """Ends an idle worker, and gives back what an ended one held."""

    def kill(self) -> None:
        """Ends a worker in the middle of its task, if that is possible; the thread that waits for it closes it."""


Starter = Callable[[], WorkerHandle]
"""Begins to start a worker. Raises StartError; whether it can work, its hello tells."""


class ThreadWorker:
    """Works in the thread that calls; it can neither be interrupted nor die."""

    resident = 0

    def __init__(self, plans: Mapping[str, LoadSpec]) -> None:
        self.alive = True
        self.served = 0
        self._worker = Worker(plans)
        self.models = self._worker.models
        self._ended = threading.Event()

    def hello(self) -> None:
        """It is loaded as soon as it is there."""

    def call(self, name: str, task: Task, timeout_s: float) -> Reply:  # noqa: ARG002  # a thread cannot be stopped
        self.served += 1
        return self._worker.call(name, task)

    def wait(self) -> None:
        self._ended.wait()

    def close(self) -> None:
        self.alive = False
        self._worker.close()
        self._ended.set()

    def kill(self) -> None:
        """A thread goes on to the end of its task."""


class ProcessWorker:
    """Works in a process of its own, which ends when this end of the pipe is closed."""

    def __init__(self, context: ForkServerContext, plans: Mapping[str, LoadSpec], limits: ProcessLimits) -> None:
        self.alive = True
        self.served = 0
        self.models: ModelHashes = {}
        self._connection, theirs = context.Pipe()
        self._poll = select.poll()  # once: the connection's own would be set up anew for each task
        self._poll.register(self._connection, select.POLLIN)
        self._process = context.Process(target=main, args=(theirs, plans, limits), name="faceattr-worker", daemon=True)
        self._process.start()
        theirs.close()
        # Before multiprocessing waits for its children at exit: this one ends only with its pipe.
        atexit.register(self._connection.close)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def resident(self) -> int:
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):  # it has ended
            return 0
        return pages * resource.getpagesize()

    def hello(self) -> None:
        try:
            answer = self._receive(_LOADING_S)
        except TimeoutError as error:
            raise StartError("A worker did not load in time.") from error
        except EOFError as error:
            raise StartError("A worker died as it loaded.") from error
        if isinstance(answer, StartError):
            raise answer
        assert isinstance(answer, Mapping)
        self.models = answer

    def call(self, name: str, task: Task, timeout_s: float) -> Reply:
        self.served += 1
        try:
            self._connection.send((name, task))
        except OSError as error:
            self.alive = False
            raise WorkerGone from error
        try:
            answer = self._receive(timeout_s)
        except TimeoutError as error:
            raise DeadlineExceeded from error
        except EOFError as error:
            raise InternalError(log=f"worker process {self.pid} died at its task") from error
        if isinstance(answer, FaceattrError):
            raise answer
        assert isinstance(answer, Reply)
        return answer

    def wait(self) -> None:
        wait([self._process.sentinel])
        self.alive = False

    def close(self) -> None:
        self.alive = False
        atexit.unregister(self._connection.close)
        self._connection.close()
        self.kill()
        self._process.join()

    def kill(self) -> None:
        self._process.kill()

    def _receive(self, timeout_s: float) -> object:
        """The next word of the worker. Raises EOFError when it has ended, and TimeoutError when it is too late; then it
        is killed.
        """
        try:
            if self._poll.poll(timeout_s * 1e3):
                return self._connection.recv()
        except (EOFError, OSError) as error:
            self.alive = False
            raise EOFError from error
        self.alive = False
        self.kill()
        raise TimeoutError


def process_starter(
    make_plans: Callable[[], Mapping[str, LoadSpec]], modules: Iterable[str], limits: ProcessLimits
) -> Starter:
    """Starts workers in processes, forked from a clean server that has imported `modules`, which they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["faceattr_aio.inference._preload", "faceattr_aio.inference.worker", *modules])

    def start() -> WorkerHandle:
        try:
            return ProcessWorker(context, make_plans(), limits)
        except (OSError, EOFError) as error:
            raise StartError(f"A worker process could not be started: {error}.") from error

    return start


def thread_starter(make_plans: Callable[[], Mapping[str, LoadSpec]]) -> Starter:
    """Starts workers in the calling threads."""
    return lambda: ThreadWorker(make_plans())
