"""The server's end of a worker, in a process of its own or in a thread: start it, wait until it is ready, run a task,
close it.
"""

import atexit
import multiprocessing
import select
import threading
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext

from faceattr_aio.errors import DeadlineExceeded, FaceattrError, InternalError, StartError, WorkerGone
from faceattr_aio.inference.worker import ModelHashes, ProcessLimits, Worker, main, read_memory
from faceattr_aio.pipeline import LoadSpec, Reply, Task

_LOADING_S = 60.0


class WorkerCrashed(InternalError):
    """The worker process exited while it processed the picture."""


class WorkerHandle:
    """A worker, in a process or in a thread. One thread at a time calls it; `kill` and `watch` are for any thread.

    The default methods are those of a worker in a thread, which can neither be interrupted nor exit by itself.
    """

    def __init__(self) -> None:
        self.alive: bool = True
        self.served: int = 0
        """Tasks that it received."""
        self.models: ModelHashes = {}
        """The models it has loaded; set by `ready`."""

    @property
    def resident(self) -> int:
        """Bytes of memory of its process; 0 for a thread."""
        return 0

    def ready(self) -> None:
        """Wait until the worker has loaded. Raises StartError when it cannot; it still has to be closed."""

    def call(self, name: str, task: Task, timeout_s: float) -> Reply:
        """Run one task.

        Raises FaceattrError: DeadlineExceeded after `timeout_s`, WorkerCrashed when the process exits; then the worker
        is not `alive`. Raises WorkerGone when the worker had exited before it received the task.
        """
        raise NotImplementedError

    def watch(self, on_exit: Callable[[], None]) -> None:
        """Call `on_exit` in another thread once the worker has exited by itself; by then it is not `alive`."""

    def close(self) -> None:
        """End the worker and release what it held."""
        self.alive = False

    def kill(self) -> None:
        """End the worker in the middle of its task, if that is possible; it still has to be closed."""


Starter = Callable[[], WorkerHandle]
"""Starts a worker without waiting until it is ready. Raises StartError."""


def start_workers(start: Starter, number: int) -> list[WorkerHandle]:
    """Start workers side by side and wait until all are ready. Raises StartError; then none is left."""
    workers: list[WorkerHandle] = []
    try:
        workers.extend(start() for _ in range(number))
        for worker in workers:
            worker.ready()
    except Exception:
        for worker in workers:
            worker.close()
        raise
    return workers


class ThreadWorker(WorkerHandle):
    """Runs tasks in the calling thread."""

    def __init__(self, specs: Mapping[str, LoadSpec]) -> None:
        super().__init__()
        self._worker = Worker(specs)
        self.models: ModelHashes = self._worker.models

    def call(self, name: str, task: Task, timeout_s: float) -> Reply:  # noqa: ARG002  # a thread cannot be stopped
        self.served += 1
        return self._worker.call(name, task)

    def close(self) -> None:
        super().close()
        self._worker.close()


class ProcessWorker(WorkerHandle):
    """Runs tasks in a process of its own, which exits when this end of the pipe is closed."""

    def __init__(self, context: ForkServerContext, specs: Mapping[str, LoadSpec], limits: ProcessLimits) -> None:
        super().__init__()
        self._connection, child_end = context.Pipe()
        self._poll = select.poll()  # reused: Connection.poll would create a selector for each task
        self._poll.register(self._connection, select.POLLIN)
        self._process = context.Process(
            target=main, args=(child_end, specs, limits), name="faceattr-worker", daemon=True
        )
        self._process.start()
        child_end.close()
        # Runs before multiprocessing waits for its children at exit: this one exits only with its pipe.
        atexit.register(self._connection.close)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def resident(self) -> int:
        try:
            return read_memory(str(self.pid))[1]
        except (OSError, IndexError):  # it has exited
            return 0

    def ready(self) -> None:
        try:
            message = self._receive(_LOADING_S)
        except TimeoutError as error:
            raise StartError("A worker did not load in time.") from error
        except EOFError as error:
            raise StartError("A worker process exited while it loaded.") from error
        if isinstance(message, StartError):
            raise message
        assert isinstance(message, Mapping)
        self.models = message

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
            raise WorkerCrashed(log=f"worker process {self.pid} exited during its task") from error
        if isinstance(answer, FaceattrError):
            raise answer
        assert isinstance(answer, Reply)
        return answer

    def watch(self, on_exit: Callable[[], None]) -> None:
        def wait_for_exit() -> None:
            wait([self._process.sentinel])
            self.alive = False
            on_exit()

        threading.Thread(target=wait_for_exit, name="faceattr-watch", daemon=True).start()

    def close(self) -> None:
        super().close()
        atexit.unregister(self._connection.close)
        self._connection.close()
        self.kill()
        self._process.join()

    def kill(self) -> None:
        self._process.kill()

    def _receive(self, timeout_s: float) -> object:
        """The next message of the worker. Raises EOFError when it has exited, and TimeoutError after it was killed
        because there was none in time.
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
    make_specs: Callable[[], Mapping[str, LoadSpec]], modules: Iterable[str], limits: ProcessLimits
) -> Starter:
    """A starter of worker processes, forked from a server process that has imported `modules`, which they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["faceattr_aio.inference._preload", "faceattr_aio.inference.worker", *modules])

    def start() -> WorkerHandle:
        try:
            return ProcessWorker(context, make_specs(), limits)
        except (OSError, EOFError) as error:
            raise StartError(f"A worker process could not be started: {error}.") from error

    return start


def thread_starter(make_specs: Callable[[], Mapping[str, LoadSpec]]) -> Starter:
    """A starter of workers that run in the calling threads."""
    return lambda: ThreadWorker(make_specs())
