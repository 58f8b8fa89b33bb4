"""Several serving processes behind one listening socket, for when one event loop is the bottleneck: starts them,
replaces one that ends, and stops them together. Knows neither app nor workers.
"""

import asyncio
import logging
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from faceattr_aio.cli.signals import RELOAD, STOP, Asked, by_signal
from faceattr_aio.config.schema import Config, Section
from faceattr_aio.errors import StartError

log = logging.getLogger("faceattr_aio.cli.fleet")

Serve = Callable[[int, Connection], None]
"""What process number N does: says None through the pipe once it serves, or the StartError that keeps it from it, and
does what comes back. Must be picklable.
"""
_PAUSE_S = 1.0
"""Before another process is started where one has ended: it may end for the same reason."""


def divide_config(config: Config, number: int) -> Config:
    """The settings of one process: workers, slots and uploads of all of them add up to those of the whole.

    Raises StartError when there are not enough for each.
    """
    processes, inference, upload = config.server.processes, config.inference, config.upload
    workers, limit = inference.worker_count, inference.limit_count
    if min(workers, limit, upload.max_in_progress) < processes:
        raise StartError(f"{processes} processes need as many workers and slots; there are {workers} and {limit}.")

    def share(total: int) -> int:
        return total // processes + (number < total % processes)

    numbers: dict[str, int] = {"workers_min": share(inference.workers_min), "workers_max": share(inference.workers_max)}
    if not inference.workers_max:
        numbers["workers"] = share(workers)
    if inference.limit:
        numbers["limit"] = share(limit)
    alone = {"backend": "none"} if config.jobs.backend == "memory" else {}  # a job is asked for at any of them
    return config.model_copy(
        update={
            "jobs": config.jobs.model_copy(update=alone),
            "inference": _with(inference, **numbers),
            "upload": _with(
                upload,
                max_in_progress=share(upload.max_in_progress),
                max_streams=max(1, share(upload.max_streams)),
                max_spool_bytes=max(upload.max_bytes, share(upload.max_spool_bytes)),
            ),
        }
    )


def _with(section: Section, **values: int) -> Section:
    return section.model_copy(update=values)


class _Member:
    """One process, and our end of its pipe. The process ends when that is closed, as when we are killed."""

    def __init__(self, serve: Serve, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(number, theirs), name=f"faceattr-serve-{number}")
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    async def serves(self) -> None:
        """Returns when it does. Raises StartError."""
        try:
            said = await asyncio.to_thread(self._pipe.recv)
        except EOFError as error:
            raise StartError("A serving process ended as it started.") from error
        if said is not None:
            raise said

    def ask(self, word: str) -> None:
        """To stop, or to reload."""
        try:
            self._pipe.send(word)
        except OSError:
            log.warning("a serving process had ended already")

    async def ended(self) -> None:
        """Returns when it has. Takes no thread, of which there may be fewer than processes."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()

    def end(self) -> None:
        self._pipe.close()


class Supervisor:
    """As many processes as `config.server` says, each doing `serve`. `check` raises StartError when the settings cannot
    be used as they are now.
    """

    def __init__(self, serve: Serve, processes: int, check: Callable[[], Any], bury: Callable[[int], None]) -> None:
        """`bury` is told the id of a process that has ended and is replaced."""
        self._serve = serve
        self._check = check
        self._bury = bury
        self._members: list[_Member] = []
        self._processes = processes

    async def run(self, announce: Callable[[], Any]) -> None:
        """Until SIGTERM or SIGINT. Raises StartError when one of the first processes cannot start."""
        asked = by_signal()
        self._members = [_Member(self._serve, number) for number in range(self._processes)]
        try:
            await asyncio.gather(*(member.serves() for member in self._members))
            announce()
            tasks = [asyncio.create_task(self._keep(number)) for number in range(self._processes)]
            tasks.append(asyncio.create_task(self._pass_on(asked)))
            await asked.stop.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for member in self._members:
                member.ask(STOP)
            await asyncio.gather(*(member.ended() for member in self._members))
        finally:
            for member in self._members:
                member.end()

    async def _pass_on(self, asked: Asked) -> None:
        """A reload is every process's own, unless the settings are wrong: that is said once."""
        while await asked.reload.wait():
            asked.reload.clear()
            try:
                self._check()
            except StartError as error:
                log.error("nothing was reloaded: %s", error)  # noqa: TRY400  # one sentence
                continue
            for member in self._members:
                member.ask(RELOAD)

    async def _keep(self, number: int) -> None:
        """Puts a new process where one has ended."""
        while True:
            await self._members[number].ended()
            log.error("serving process %d has ended; another one is started", number)
            self._members[number].end()
            self._bury(self._members[number].pid)
            await asyncio.sleep(_PAUSE_S)
            try:
                self._members[number] = _Member(self._serve, number)
                await self._members[number].serves()
            except (StartError, OSError) as error:
                log.error("serving process %d: %s", number, error)  # noqa: TRY400  # one sentence
