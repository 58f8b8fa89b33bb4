"""The log of `serve` and `worker`: a bounded queue and a thread that writes, so that a full disk or a reader that stops
reading does not delay a request.
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

from faceattr_aio.config.schema import LoggingConfig
from faceattr_aio.errors import StartError

_JSON_NAMES = {"asctime": "time", "levelname": "level", "name": "logger"}
_FORMATTERS = {
    "text": logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"),
    "json": JsonFormatter("{asctime}{levelname}{name}{message}", style="{", rename_fields=_JSON_NAMES),
}
_DROPPED = "%d lines were dropped because they could not be written fast enough"
_QUEUE_SIZE = 10_000
"""Lines. Further lines are dropped and counted."""
_STDERR = 2
_WRITE_PERIOD_S, _EXIT_TIMEOUT_S = 0.2, 2.0

Lines = queue.Queue[logging.LogRecord]


class BoundedHandler(QueueHandler):
    """Queues lines without blocking. Lines that do not fit are dropped, and their number is logged when there is space.
    `flush_soon` is called for warnings and errors, so that they are written without delay.
    """

    def __init__(self, records: Lines, flush_soon: Callable[[], None]) -> None:
        super().__init__(records)
        self.dropped = 0
        self._flush_soon = flush_soon

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return the record unchanged: the writing thread formats it, and its arguments are immutable."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                count = (self.dropped,)
                self.queue.put_nowait(logging.LogRecord(__name__, logging.WARNING, __file__, 0, _DROPPED, count, None))
                self.dropped = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
        if record.levelno >= logging.WARNING:
            self._flush_soon()


class StderrHandler(logging.Handler):
    """Writes to file descriptor 2 without buffer and lock, so that a reader that stops reading cannot block exit."""

    def createLock(self) -> None:  # noqa: N802  # overrides
        self.lock = None  # only one thread writes

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n"
        with suppress(OSError):  # the reader has closed the pipe
            os.write(_STDERR, line.encode(errors="backslashreplace"))


class LogWriter(threading.Thread):
    """Writes the queued lines every 0.2 s: waking for each line would cost more than writing it."""

    def __init__(self, records: Lines, handler: logging.Handler) -> None:
        super().__init__(name="faceattr-log", daemon=True)
        self.due = threading.Event()
        """Set it to write the queued lines now."""
        self._lines, self._handler, self._closing = records, handler, False

    def run(self) -> None:
        while not self._closing:
            self.due.wait(_WRITE_PERIOD_S)
            self.due.clear()
            self._write()
        self._write()

    def close(self) -> None:
        """Write the queued lines and stop; gives up after 2 s, because the reader may have stopped reading."""
        self._closing = True
        self.due.set()
        self.join(_EXIT_TIMEOUT_S)

    def _write(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._handler.handle(self._lines.get_nowait())


def set_up_log(settings: LoggingConfig, number: int | None = None) -> None:
    """Set up logging for the whole process. `number` is the number of a serving process if there are several.

    Errors in a client's request are not logged, because they are in its response. Raises StartError when the file
    cannot be written.
    """
    handler = _open_file(settings.file, settings, number) if settings.file else StderrHandler()
    handler.setFormatter(_FORMATTERS[settings.format])
    records: Lines = queue.Queue(_QUEUE_SIZE)
    writer = LogWriter(records, handler)
    writer.start()
    atexit.register(writer.close)
    logging.basicConfig(level=settings.level.upper(), handlers=[BoundedHandler(records, writer.due.set)], force=True)
    logging.getLogger("aiohttp.server").addFilter(_is_not_malformed_request)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _open_file(path: Path, settings: LoggingConfig, number: int | None) -> logging.Handler:
    """Open the file; process 1 of several opens faceattr-1.log instead of faceattr.log."""
    if number is not None:
        path = path.with_stem(f"{path.stem}-{number}")
    try:
        return RotatingFileHandler(
            path, maxBytes=settings.max_bytes, backupCount=settings.backup_count, encoding="utf-8"
        )
    except OSError as error:
        raise StartError(f"The log file {path} cannot be written: {error.strerror}.") from error


def _is_not_malformed_request(record: logging.LogRecord) -> bool:
    """Return False for a request that is not valid HTTP, which aiohttp logs as an error with its traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
