"""Several serving processes behind one listening socket, for loads that one event loop cannot handle: starts them,
restarts one that exits, stops them together, and collects their metrics.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from faceattr_aio.config import Config
from faceattr_aio.errors import StartError
from faceattr_aio.telemetry.metrics import SHARED
from faceattr_aio.uploads.spool import TempDir

log = logging.getLogger("faceattr_aio.cli.fleet")

Serve = Callable[[int, Connection], None]
"""The main function of process number N, picklable. It sends None through the pipe once it serves, or the StartError
that prevents it, and obeys the commands that it receives.
"""
_STOP, _RELOAD = "stop", "reload"
"""Commands that are sent through the pipe."""
_STOP_SIGNALS = signal.SIGTERM, signal.SIGINT
_RESTART_DELAY_S = 1.0
"""Because a new process may exit for the same reason as the last."""


@dataclass
class ControlEvents:
    """Events that are set when a process has to stop, or to reload its settings and models."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


def events_from_signals() -> ControlEvents:
    """SIGTERM or SIGINT stop, SIGHUP reloads. A second signal to stop ends the process at once: its files have no names
    on disk that would remain.
    """
    events, loop = ControlEvents(), asyncio.get_running_loop()

    def stop() -> None:
        if events.stop.is_set():
            os._exit(1)
        events.stop.set()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, events.reload.set)
    return events


def events_from_pipe(pipe: Connection) -> ControlEvents:
    """Commands of the supervisor stop or reload. The process ends at once when the pipe closes, for example because the
    supervisor was killed. Signals are ignored, because they may be sent to the whole process group.
    """
    for number in (*_STOP_SIGNALS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    events = ControlEvents()

    def receive() -> None:
        try:
            command = pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        (events.stop if command == _STOP else events.reload).set()

    asyncio.get_running_loop().add_reader(pipe.fileno(), receive)
    return events


def divide_config(config: Config, number: int) -> Config:
    """Return the settings of process `number`. Workers, slots and uploads of all processes add up to those of `config`.

    Raises StartError when there are not enough for each.
    """
    processes, inference, upload = config.server.processes, config.inference, config.upload
    if processes == 1:
        return config
    workers, limit = inference.worker_count, inference.limit_count
    if min(workers, limit, upload.max_in_progress) < processes:
        raise StartError(f"{processes} processes need as many workers and slots; there are {workers} and {limit}.")

    def share(total: int) -> int:
        return total // processes + (number < total % processes)

    counts = {"workers_min": share(inference.workers_min), "workers_max": share(inference.workers_max)}
    if not inference.workers_max:
        counts["workers"] = share(workers)
    if inference.limit:
        counts["limit"] = share(limit)
    uploads = {
        "max_in_progress": share(upload.max_in_progress),
        "max_streams": max(1, share(upload.max_streams)),
        "max_spool_bytes": max(upload.max_bytes, share(upload.max_spool_bytes)),
    }
    # A request for a job may reach any process, and jobs in memory exist in one.
    jobs = {"backend": "none"} if config.jobs.backend == "memory" else {}
    return config.with_values({"jobs": jobs, "inference": counts, "upload": uploads})


class _ServingProcess:
    """A serving process and the supervisor's end of its pipe. The process ends when the pipe is closed."""

    def __init__(self, serve: Serve, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, child_end = context.Pipe()
        self.process = context.Process(target=serve, args=(number, child_end), name=f"faceattr-serve-{number}")
        self.process.start()
        child_end.close()

    async def until_ready(self) -> None:
        """Wait until it serves. Raises StartError."""
        try:
            fault = await asyncio.to_thread(self.pipe.recv)
        except EOFError as error:
            raise StartError("A serving process exited during its start.") from error
        if fault is not None:
            raise fault

    def send(self, command: str) -> None:
        try:
            self.pipe.send(command)
        except OSError:
            log.warning("a serving process has already exited")

    async def until_exit(self) -> None:
        """Wait for its exit, without a thread: the default executor may have fewer threads than there are processes."""
        loop, exited = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.process.sentinel, exited.set)
        try:
            await exited.wait()
        finally:
            loop.remove_reader(self.process.sentinel)
        self.process.join()


class Supervisor:
    """Runs `serve` in a number of processes and restarts one that exits.

    `check` raises StartError when the settings cannot be used as they are now. Needs `shared_metrics`.
    """

    def __init__(self, serve: Serve, processes: int, check: Callable[[], Any]) -> None:
        self._serve = serve
        self._check = check
        self._numbers = range(processes)
        self._processes: list[_ServingProcess] = []

    async def run(self, announce: Callable[[], Any]) -> None:
        """Run until SIGTERM or SIGINT. Raises StartError when one of the first processes cannot start."""
        events = events_from_signals()
        self._processes = [_ServingProcess(self._serve, number) for number in self._numbers]
        try:
            await asyncio.gather(*(process.until_ready() for process in self._processes))
            announce()
            await self._supervise(events)
        finally:
            for process in self._processes:
                process.pipe.close()

    async def _supervise(self, events: ControlEvents) -> None:
        """Restart processes and forward reloads until a stop is requested. Then stop all processes."""
        tasks = [asyncio.create_task(self._keep_running(number)) for number in self._numbers]
        tasks.append(asyncio.create_task(self._forward_reloads(events)))
        await events.stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for process in self._processes:
            process.send(_STOP)
        await asyncio.gather(*(process.until_exit() for process in self._processes))

    async def _forward_reloads(self, events: ControlEvents) -> None:
        """Check the settings once, so that an error is logged once, and let every process reload them."""
        while await events.reload.wait():
            events.reload.clear()
            try:
                self._check()
            except StartError as error:
                log.error("nothing was reloaded: %s", error)  # noqa: TRY400  # one sentence
                continue
            for process in self._processes:
                process.send(_RELOAD)

    async def _keep_running(self, number: int) -> None:
        """Restart the process whenever it exits."""
        while True:
            serving = self._processes[number]
            await serving.until_exit()
            log.error("serving process %d has exited; starting another one", number)
            serving.pipe.close()
            mark_process_dead(serving.process.pid)  # type: ignore[no-untyped-call]  # its counters remain in the sums
            await asyncio.sleep(_RESTART_DELAY_S)
            try:
                self._processes[number] = _ServingProcess(self._serve, number)
                await self._processes[number].until_ready()
            except (StartError, OSError) as error:
                log.error("serving process %d: %s", number, error)  # noqa: TRY400  # one sentence


@contextmanager
def shared_metrics() -> Iterator[None]:
    """Let serving processes add up their metrics in files of a temporary folder. Exit after all of them have exited."""
    with closing(TempDir(Path(tempfile.gettempdir()), "faceattr-metrics-")) as folder:
        os.environ[SHARED] = str(folder.path)
        try:
            yield
        finally:
            del os.environ[SHARED]
