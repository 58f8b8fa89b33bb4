"""`faceattr-aio analyze --out`: analyzes folders of any size into a table with one row for each file. Files that have a
row are skipped, so the same command resumes after a kill. Holds a few files in memory at a time.
"""

import argparse
import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from faceattr_aio.cli import FAILED
from faceattr_aio.cli.analyzers import Analyze, Analyzer
from faceattr_aio.cli.tables import Row, Table, open_table
from faceattr_aio.errors import FaceattrError, RetryableError, StartError
from faceattr_aio.pipeline import Outcome, Reply

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
_SCHEMA = "PRAGMA journal_mode = OFF; CREATE TABLE seen (name TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN"


def run(parsed: argparse.Namespace, analyzer: Analyzer) -> int:
    """Return 1 when the row of a file is a failure. Raises StartError, also when no further file can be analyzed."""
    if parsed.annotate or parsed.json:
        raise StartError("--out cannot be combined with --annotate or --json.")
    with closing(open_table(parsed.out)) as table, closing(ResumeIndex()) as index:
        bulk = _BulkRun(parsed.files, table, index)
        try:
            asyncio.run(bulk.run(analyzer))
        except RetryableError as error:
            raise StartError(f"{error.detail} Run the same command to continue.") from error
        except OSError as error:
            raise StartError(f"{parsed.out} cannot be written to: {error.strerror}.") from error
    print(f"{parsed.out}: {bulk.rows} files, {bulk.failed} of them failed; {bulk.existing} were already there")
    return FAILED if bulk.failed else 0


def row_of(file: Path, outcome: Outcome) -> Row:
    if isinstance(outcome, Reply):
        return {"file": name_of(file), **outcome.result}
    return {"file": name_of(file), "error": {"type": f"urn:faceattr:{outcome.kind}", "detail": outcome.detail}}


def name_of(path: Path) -> str:
    """Return a unique name of the path that can be encoded as UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def scan(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files among `paths`, and from folders, recursively, the files with the suffix of a picture.

    Links to folders are not followed. A folder that cannot be read is yielded like a file, so that its row has the
    error. Holds one open folder for each level.
    """
    for path in paths:
        if path.is_dir():
            yield from _scan_folder(path)
        else:
            yield path


def _scan_folder(folder: Path) -> Iterator[Path]:
    """Yield in the order of the file system, because sorting would read the whole folder first."""
    with ExitStack() as resources:
        levels = [resources.enter_context(os.scandir(folder))]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop().close()
            elif entry.is_dir(follow_symlinks=False):
                try:
                    levels.append(resources.enter_context(os.scandir(entry)))
                except OSError:
                    yield Path(entry)
            elif Path(entry).suffix.lower() in SUFFIXES and entry.is_file():
                yield Path(entry)


class ResumeIndex:
    """A set of file names of any size, in a temporary database on disk. Not safe for concurrent use by threads."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)

    def add(self, name: str) -> bool:
        """Add the name and return whether it is new."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,)).rowcount == 1

    def close(self) -> None:
        """Delete the database."""
        self._database.close()


class _BulkRun:
    """One run of the command. Counts the rows of the table: all, the failures among them, and those from before."""

    def __init__(self, paths: Sequence[Path], table: Table, index: ResumeIndex) -> None:
        """Read the rows of the table. Raises StartError."""
        self._paths, self._table = paths, table
        self.rows = self.failed = 0
        for name, failed in table.resume():
            index.add(name)
            self.rows += 1
            self.failed += failed
        self.existing = self.rows
        self._new_files = (file for file in scan(paths) if index.add(name_of(file)))
        self._scan_lock = asyncio.Lock()
        self._finished = threading.Event()

    async def run(self, analyzer: Analyzer) -> None:
        """Analyze all files. Raises RetryableError when no file can be analyzed at present."""
        async with analyzer as (analyze, concurrency):
            with tqdm(unit="file", initial=self.rows, file=sys.stderr) as bar:
                tasks = [asyncio.create_task(self._work(analyze, bar)) for _ in range(concurrency)]
                counting = asyncio.create_task(asyncio.to_thread(self._count_files, bar))
                try:
                    await asyncio.gather(*tasks)
                finally:
                    self._finished.set()
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(counting, *tasks, return_exceptions=True)

    async def _work(self, analyze: Analyze, bar: "tqdm[Any]") -> None:
        while file := await self._next_file():
            outcome = await analyze(file, None)
            if isinstance(outcome, RetryableError):
                raise outcome
            self._table.add(row_of(file, outcome))
            self.rows += 1
            self.failed += isinstance(outcome, FaceattrError)
            bar.update()

    async def _next_file(self) -> Path | None:
        """Return a file that has no row, or None after the last."""
        async with self._scan_lock:
            return await asyncio.to_thread(next, self._new_files, None)

    def _count_files(self, bar: "tqdm[Any]") -> None:
        """Count all files for the progress bar, in a thread of its own."""
        total = 0
        for _ in scan(self._paths):
            if self._finished.is_set():
                return
            total += 1
        bar.total = max(total, self.existing)
