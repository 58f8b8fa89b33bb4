"""What a serving process is asked to do. Knows nothing of how it does."""

import asyncio
import os
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

STOP, RELOAD = "stop", "reload"
"""What comes through a pipe."""
_STOPPING = signal.SIGTERM, signal.SIGINT


@dataclass
class Asked:
    """Whether it is to stop, and whether to read its settings and models again."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


def by_signal() -> Asked:
    """By SIGTERM or SIGINT to stop, by SIGHUP to reload. A second one to stop ends the process: nothing that it holds
    has a name on disk.
    """
    asked, loop = Asked(), asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, _stop, asked.stop)
    loop.add_signal_handler(signal.SIGHUP, asked.reload.set)
    return asked


def by_pipe(pipe: Connection) -> Asked:
    """By what comes through the pipe; its end, as when whoever holds the other one is killed, ends the process.
    Signals are not for us: they may go to the whole process group.
    """
    for number in (*_STOPPING, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    asked = Asked()

    def read() -> None:
        try:
            word = pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        (asked.stop if word == STOP else asked.reload).set()

    asyncio.get_running_loop().add_reader(pipe.fileno(), read)
    return asked


def _stop(stopping: asyncio.Event) -> None:
    if stopping.is_set():
        os._exit(1)
    stopping.set()
