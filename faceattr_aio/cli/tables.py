"""Files with one row for each picture. They can be resumed after a kill: a row that was only partly written is removed.
The suffix of the name selects the format.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from faceattr_aio.config import load_extra
from faceattr_aio.errors import StartError

Row = dict[str, Any]
"""`file`, and either the members of the result or `error`."""
_COLUMNS = ("file", "width", "height", "format", "faces", "found", "error", "detail")


class Table(Protocol):
    """A table that this process has locked."""

    def resume(self) -> Iterator[tuple[str, bool]]:
        """Yield each file that has a row, and whether the row is a failure. Read it to the end before `add`.

        Raises StartError when the file contains anything else.
        """

    def add(self, row: Row) -> None:
        """Raises OSError."""

    def close(self) -> None:
        """Write buffered rows and unlock the table."""


def open_table(path: Path) -> Table:
    """Raises StartError."""
    try:
        match path.suffix.lower():
            case ".jsonl" | ".ndjson":
                return JsonLinesTable(path)
            case ".csv":
                return CsvTable(path)
            case ".parquet":
                table: Table = load_extra("faceattr_aio.cli.parquet", "bulk").ParquetTable(path)
                return table
    except BlockingIOError as error:
        raise StartError(f"{path} is being written to by another process.") from error
    except OSError as error:
        raise StartError(f"{path} cannot be written to: {error.strerror}.") from error
    raise StartError(f"{path} is not a supported kind of table: use .parquet, .jsonl or .csv.")


def lock(descriptor: int) -> None:
    """Lock the file until it is closed. When another process has locked it, close it and raise BlockingIOError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise


class _AppendedFile:
    """A locked file to which rows are appended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        lock(descriptor)
        self._file = os.fdopen(descriptor, "ab+")

    def close(self) -> None:
        self._file.close()

    def _read_lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        return iter(self._file.readline, b"")

    def _truncate(self, size: int, row_start: bytes) -> None:
        """Truncate the file to `size` bytes. Raises StartError, unless what follows them begins like a row."""
        self._file.seek(size)
        rest = self._file.read(len(row_start))
        if rest != row_start[: len(rest)]:
            raise self._foreign()
        self._file.truncate(size)
        self._file.seek(0, io.SEEK_END)

    def _write(self, data: bytes) -> None:
        """Write without buffering, so that a kill loses no row."""
        self._file.write(data)
        self._file.flush()

    def _foreign(self) -> StartError:
        return StartError(f"{self._path} contains something other than rows of this program: choose another file.")


class JsonLinesTable(_AppendedFile):
    """One line of JSON for each row, in the format of `--json`."""

    def resume(self) -> Iterator[tuple[str, bool]]:
        size = 0
        for line in self._read_lines():
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                name, failed = row["file"], "error" in row
            except (ValueError, LookupError, TypeError) as error:
                raise self._foreign() from error
            yield name, failed
            size += len(line)
        self._truncate(size, b'{"file": "')

    def add(self, row: Row) -> None:
        self._write(json.dumps(row).encode() + b"\n")


class CsvTable(_AppendedFile):
    """One record for each row, with the faces as JSON in one column."""

    def resume(self) -> Iterator[tuple[str, bool]]:
        size = 0
        for record, end in self._records():
            if len(record) != len(_COLUMNS) or (size == 0 and record != list(_COLUMNS)):
                raise self._foreign()
            if size:
                yield record[0], bool(record[_COLUMNS.index("error")])
            size = end
        self._truncate(size, b"" if size else _csv(_COLUMNS))
        if size == 0:
            self._write(_csv(_COLUMNS))

    def add(self, row: Row) -> None:
        image, error = row.get("image", {}), row.get("error", {})
        faces = row.get("faces")
        found = [len(faces), json.dumps(faces)] if faces is not None else ["", ""]
        size = (image.get(name, "") for name in ("width", "height", "format"))
        self._write(_csv((row["file"], *size, *found, error.get("type", ""), error.get("detail", ""))))

    def _records(self) -> Iterator[tuple[list[str], int]]:
        """Yield each complete record and the offset of its end. Raises StartError if any but the last is incomplete."""
        end, last = 0, b""
        lines = self._read_lines()

        def decoded_lines() -> Iterator[str]:
            nonlocal end, last
            for last in lines:
                end += len(last)
                yield last.decode("utf-8", "replace")

        with suppress(csv.Error):  # the file ends within a value
            for record in csv.reader(decoded_lines(), strict=True):
                if not last.endswith(b"\r\n"):
                    break
                yield record, end
        if next(lines, None) is not None:
            raise self._foreign()


def _csv(values: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode()
