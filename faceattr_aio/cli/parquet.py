"""A table as a folder of Parquet files, which readers of Parquet treat as one table. Each file is written completely or
not at all; a kill loses the rows of the last minute.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from faceattr_aio.cli.tables import Row, lock
from faceattr_aio.errors import StartError

_MAX_ROWS, _MAX_AGE_S = 10_000, 60.0
"""Limits for the rows in memory: their number, and the age of the first. Then they are written as a file."""
_NEW = ".new"

_TEXT, _INT, _FLOAT = pa.string(), pa.int32(), pa.float32()
_POINT = pa.list_(_INT)
_LANDMARKS = pa.struct([(name, _POINT) for name in ("left_eye", "right_eye", "nose", "mouth")])
_BOX = pa.struct([(name, _INT) for name in ("x", "y", "width", "height")])
_GENDER = pa.struct([("label", _TEXT), ("probability", _FLOAT)])
_AGE = pa.struct([("years", _FLOAT), ("interval", _POINT), ("bracket", _TEXT), ("probability", _FLOAT)])
_FACE = pa.struct(
    [("box", _BOX), ("confidence", _FLOAT), ("landmarks", _LANDMARKS), ("gender", _GENDER), ("age", _AGE)]
)
SCHEMA = pa.schema(
    [
        ("file", _TEXT),
        ("width", _INT),
        ("height", _INT),
        ("format", _TEXT),
        ("faces", pa.list_(_FACE)),
        ("models", pa.map_(_TEXT, _TEXT)),
        ("error", _TEXT),
        ("detail", _TEXT),
    ]
)


class ParquetTable:
    """`folder` with part-00000.parquet and so on."""

    def __init__(self, folder: Path) -> None:
        """Raises StartError or OSError."""
        if folder.exists() and not folder.is_dir():
            raise StartError(f"{folder} is a file, but a table of Parquet files is a folder: choose another name.")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        lock(self._descriptor)
        self._rows: list[Row] = []
        self._started_at = 0.0
        self._number = 0

    def resume(self) -> Iterator[tuple[str, bool]]:
        for unfinished in self._folder.glob(f"part-*{_NEW}"):
            unfinished.unlink()
        for part in sorted(self._folder.glob("part-*.parquet")):
            self._number = int(part.stem.removeprefix("part-")) + 1
            yield from self._read(part)

    def add(self, row: Row) -> None:
        if not self._rows:
            self._started_at = time.monotonic()
        image, error = row.get("image", {}), row.get("error", {})
        models = row.get("models")
        flat = {"file": row["file"], **image, "faces": row.get("faces"), **error}
        self._rows.append(flat | {"error": error.get("type"), "models": list(models.items()) if models else None})
        if len(self._rows) >= _MAX_ROWS or time.monotonic() - self._started_at >= _MAX_AGE_S:
            self._write()

    def close(self) -> None:
        if self._rows:
            self._write()
        os.close(self._descriptor)

    def _write(self) -> None:
        """Write the rows to a file that gets its name when it is complete and on disk."""
        part = self._folder / f"part-{self._number:05}.parquet"
        new = part.with_name(part.name + _NEW)
        parquet.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA), new, compression="zstd")
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.rename(part)
        self._rows, self._number = [], self._number + 1

    def _read(self, part: Path) -> Iterator[tuple[str, bool]]:
        try:
            for batch in parquet.ParquetFile(part).iter_batches(columns=["file", "error"]):
                for row in batch.to_pylist():
                    yield row["file"], row["error"] is not None
        except (pa.ArrowException, LookupError) as error:
            raise StartError(f"{part} was not written by this program: choose another folder.") from error
