"""What asks a serving process to stop. Knows nothing of how it does."""

import asyncio
import os
import signal
from multiprocessing.connection import Connection

_SIGNALS = signal.SIGTERM, signal.SIGINT


def by_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; a second one ends the process: nothing that it holds has a name on disk."""
    stopping = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, _stop, stopping)
    return stopping


def by_pipe(pipe: Connection) -> asyncio.Event:
    """Set by what comes through the pipe; its end, as when whoever holds the other one is killed, ends the process.
    Signals are not for us: they may go to the whole process group.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    stopping = asyncio.Event()

    def read() -> None:
        try:
            pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        stopping.set()

    asyncio.get_running_loop().add_reader(pipe.fileno(), read)
    return stopping


def _stop(stopping: asyncio.Event) -> None:
    if stopping.is_set():
        os._exit(1)
    stopping.set()
