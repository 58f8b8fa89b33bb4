"""Files with a row for each picture, which are gone on with after a kill: a row that was half written is taken away.
Their kind is told by the end of the name. Knows not where rows come from.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from faceattr_aio.config import extras
from faceattr_aio.errors import StartError

Row = dict[str, Any]
"""`file`, and either what was found in it or `error`."""
_COLUMNS = ("file", "width", "height", "format", "faces", "found", "error", "detail")


class Table(Protocol):
    """One process at a time has it."""

    def resume(self) -> Iterator[tuple[str, bool]]:
        """The files that have a row, and whether it is a failure; to be read to the end before anything is added.

        Raises StartError when that is something else.
        """

    def add(self, row: Row) -> None:
        """Raises OSError."""

    def close(self) -> None:
        """Everything that was added is there."""


def open_table(path: Path) -> Table:
    """Raises StartError."""
    kinds: dict[str, Callable[[Path], Table]] = {".jsonl": JsonLines, ".ndjson": JsonLines, ".csv": Csv}
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            table: Table = extras.load("faceattr_aio.cli.parquet", "bulk").Parts(path)
            return table
        if suffix in kinds:
            return kinds[suffix](path)
    except BlockingIOError as error:
        raise StartError(f"{path} is being written to by another process.") from error
    except OSError as error:
        raise StartError(f"{path} cannot be written to: {error.strerror}.") from error
    raise StartError(f"{path} names no kind of file: end it in .parquet, .jsonl or .csv.")


def lock(descriptor: int) -> None:
    """Raises BlockingIOError when another process has it, and closes it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise


class _Appended:
    """A file of rows that are bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        lock(descriptor)
        self._file = os.fdopen(descriptor, "ab+")

    def close(self) -> None:
        self._file.close()

    def _lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        return iter(self._file.readline, b"")

    def _cut(self, size: int, begins: bytes) -> None:
        """Leaves so many bytes. What follows them is a row of ours that was cut, which `begins` like this, or else it
        stays where it is.
        """
        self._file.seek(size)
        begun = self._file.read(len(begins))
        if begun != begins[: len(begun)]:
            raise self._alien()
        self._file.truncate(size)
        self._file.seek(0, io.SEEK_END)

    def _write(self, data: bytes) -> None:
        """At once: what was computed is not computed again, whatever happens to us."""
        self._file.write(data)
        self._file.flush()

    def _alien(self) -> StartError:
        return StartError(f"{self._path} has something else in it than rows of ours: name another file.")


class JsonLines(_Appended):
    """A line of JSON for each, as `--json` prints it."""

    def resume(self) -> Iterator[tuple[str, bool]]:
        size = 0
        for line in self._lines():
            if not line.endswith(b"\n"):
                break
            yield self._read(line)
            size += len(line)
        self._cut(size, b'{"file": "')

    def add(self, row: Row) -> None:
        self._write(json.dumps(row).encode() + b"\n")

    def _read(self, line: bytes) -> tuple[str, bool]:
        try:
            row = json.loads(line)
            return row["file"], "error" in row
        except (ValueError, LookupError, TypeError) as error:
            raise self._alien() from error


class Csv(_Appended):
    """A line for each, the faces as JSON in one column."""

    def resume(self) -> Iterator[tuple[str, bool]]:
        size = 0
        for record, end in self._records():
            if len(record) != len(_COLUMNS) or (size == 0 and record != list(_COLUMNS)):
                raise self._alien()
            if size:
                yield record[0], bool(record[_COLUMNS.index("error")])
            size = end
        self._cut(size, b"" if size else _csv(_COLUMNS))
        if size == 0:
            self._write(_csv(_COLUMNS))

    def add(self, row: Row) -> None:
        image, error = row.get("image", {}), row.get("error", {})
        faces = row.get("faces")
        found = [len(faces), json.dumps(faces)] if faces is not None else ["", ""]
        size = (image.get(name, "") for name in ("width", "height", "format"))
        self._write(_csv((row["file"], *size, *found, error.get("type", ""), error.get("detail", ""))))

    def _records(self) -> Iterator[tuple[list[str], int]]:
        """Those that are whole, and where in the file each ends. Raises StartError when there is more than one that is
        not.
        """
        end, last = 0, b""
        lines = self._lines()

        def texts() -> Iterator[str]:
            nonlocal end, last
            for last in lines:
                end += len(last)
                yield last.decode("utf-8", "replace")

        with suppress(csv.Error):  # it ends in the middle of a value
            for record in csv.reader(texts(), strict=True):
                if not last.endswith(b"\r\n"):
                    break
                yield record, end
        if next(lines, None) is not None:
            raise self._alien()


def _csv(values: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode()
