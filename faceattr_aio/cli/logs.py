"""Where the log of `serve` goes: through a bounded queue to a thread that writes, so that a full disk or a reader that
stands still holds up no request. Knows not what is logged.
"""

import atexit
import logging
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import QueueHandler, RotatingFileHandler
from pathlib import Path

from aiohttp.http_exceptions import HttpProcessingError
from pythonjsonlogger.json import JsonFormatter

from faceattr_aio.config.schema import Logging
from faceattr_aio.errors import StartError

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_JSON = "{asctime}{levelname}{name}{message}"
_MOST = 10_000
"""Lines that may wait to be written; what comes then is dropped and counted."""
_STANDARD_ERROR = 2
_PAUSE_S, _PATIENCE_S = 0.2, 2.0


class BoundedHandler(QueueHandler):
    """Never waits: drops lines when too many wait, and says how many as soon as there is room again. What an operator
    should know is written without delay: `hurry` sees to it.
    """

    def __init__(self, lines: "queue.Queue[logging.LogRecord]", hurry: Callable[[], None]) -> None:
        super().__init__(lines)
        self.dropped = 0
        self._hurry = hurry

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """As it is: what is written is put together by the thread that writes, from plain data that nobody changes."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                self.queue.put_nowait(_dropped(self.dropped))
                self.dropped = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
        if record.levelno >= logging.WARNING:
            self._hurry()


class StandardError(logging.Handler):
    """Without locks and buffers: a reader that stands still would hold them until after our end, and with them that."""

    def createLock(self) -> None:  # noqa: N802  # so it is called
        self.lock = None  # one thread writes

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n"
        with suppress(OSError):  # nobody reads any more
            os.write(_STANDARD_ERROR, line.encode(errors="backslashreplace"))


class Writer(threading.Thread):
    """Writes what has gathered, then lets more gather: to wake for each line would cost more than the line."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]", handler: logging.Handler) -> None:
        super().__init__(name="faceattr-log", daemon=True)
        self._lines, self._handler = lines, handler
        self._due = threading.Event()
        self._ending = False

    def run(self) -> None:
        while not self._ending:
            self._due.wait(_PAUSE_S)
            self._due.clear()
            self._write()
        self._write()

    def hurry(self) -> None:
        """Lets no more gather."""
        self._due.set()

    def end(self) -> None:
        """Returns when all is written, or when that takes too long: whoever reads may stand still."""
        self._ending = True
        self.hurry()
        self.join(_PATIENCE_S)

    def _write(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._handler.handle(self._lines.get_nowait())


def set_up_log(settings: Logging, number: int | None = None) -> None:
    """For the whole process, which is the one with this number of several. What is wrong with a client's request is the
    client's to know, and it is told. Raises StartError when the file cannot be written.
    """
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_MOST)
    writer = Writer(lines, _handler(settings, number))
    writer.start()
    atexit.register(writer.end)
    logging.basicConfig(level=settings.level.upper(), handlers=[BoundedHandler(lines, writer.hurry)], force=True)
    logging.getLogger("aiohttp.server").addFilter(_is_no_clients_fault)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _handler(settings: Logging, number: int | None) -> logging.Handler:
    handler: logging.Handler = StandardError()
    if settings.file:
        path = settings.file if number is None else _numbered(settings.file, number)
        try:
            handler = RotatingFileHandler(
                path, maxBytes=settings.max_bytes, backupCount=settings.backup_count, encoding="utf-8"
            )
        except OSError as error:
            raise StartError(f"The log file {path} cannot be written: {error.strerror}.") from error
    handler.setFormatter(_formatter(settings))
    return handler


def _formatter(settings: Logging) -> logging.Formatter:
    if settings.format == "json":
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        return JsonFormatter(_JSON, style="{", rename_fields=names)
    return logging.Formatter(_TEXT)


def _numbered(file: Path, number: int) -> Path:
    """As faceattr-1.log."""
    return file.with_stem(f"{file.stem}-{number}")


def _dropped(lines: int) -> logging.LogRecord:
    text = "%d lines were dropped: they came faster than they could be written"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (lines,), None)


def _is_no_clients_fault(record: logging.LogRecord) -> bool:
    """False for a request that is no HTTP, which aiohttp logs as an error with its traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
