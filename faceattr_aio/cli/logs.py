"""Where the log of `serve` goes: through a bounded queue to a thread that writes, so that a full disk or a reader that
stands still holds up no request. Knows not what is logged.
"""

import atexit
import logging
import queue
import sys
import time
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path

from aiohttp.http_exceptions import HttpProcessingError
from pythonjsonlogger.json import JsonFormatter

from faceattr_aio.config import Logging
from faceattr_aio.errors import StartError

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_JSON = "{asctime}{levelname}{name}{message}"
_MOST = 10_000
"""Lines that may wait to be written; what comes then is dropped and counted."""
_PAUSE_S = 0.2


class BoundedHandler(QueueHandler):
    """Never waits: drops lines when too many wait, and says how many as soon as there is room again."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]") -> None:
        super().__init__(lines)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """What is written is put together by the thread that writes; arguments are plain data that nobody changes."""
        return record if record.exc_info is None else super().prepare(record)

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                self.queue.put_nowait(_dropped(self.dropped))
                self.dropped = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class GustyListener(QueueListener):
    """Writes what has gathered, then lets more gather: a thread that wakes for each line costs more than the line."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]", writer: logging.Handler) -> None:
        super().__init__(lines, writer)
        self._lines = lines

    def dequeue(self, block: bool) -> logging.LogRecord:  # noqa: FBT001  # so it is called
        if self._lines.empty():
            time.sleep(_PAUSE_S)
        return super().dequeue(block)


def set_up_log(settings: Logging, number: int | None = None) -> None:
    """For the whole process, which is the one with this number of several. What is wrong with a client's request is the
    client's to know, and it is told. Raises StartError when the file cannot be written.
    """
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_MOST)
    listener = GustyListener(lines, _writer(settings, number))
    listener.start()
    atexit.register(listener.stop)
    logging.basicConfig(level=settings.level.upper(), handlers=[BoundedHandler(lines)], force=True)
    logging.getLogger("aiohttp.server").addFilter(_is_no_clients_fault)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _writer(settings: Logging, number: int | None) -> logging.Handler:
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
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
