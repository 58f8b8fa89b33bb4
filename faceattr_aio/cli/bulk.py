"""`faceattr-aio analyze --out`: folders of any size, into a table with one row for each file, here or by a server. What
the table has already is not done again, so after a kill the same command goes on. Holds a few files at a time.
"""

import argparse
import asyncio
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from faceattr_aio.cli import FAILED
from faceattr_aio.cli.remote import Ask
from faceattr_aio.cli.seen import Seen, name_of
from faceattr_aio.cli.tables import Row, Table, open_table
from faceattr_aio.cli.walk import pictures
from faceattr_aio.errors import FaceattrError, RetryableError, StartError
from faceattr_aio.pipeline import Outcome, Reply

_LOOKED_FOR = 256
"""Files at a time, by a thread."""

Working = AbstractAsyncContextManager[tuple[Ask, int]]


@dataclass
class Tally:
    """Of the rows in the table: all, those that are failures, and those that were there before."""

    rows: int = 0
    failed: int = 0
    before: int = 0


def run(parsed: argparse.Namespace, working: Working) -> int:
    """1 when a file has a row that is a failure. Raises StartError, also when nobody can do the work any longer."""
    if parsed.annotate or parsed.json:
        raise StartError("--out takes everything: leave out --annotate and --json.")
    with closing(open_table(parsed.out)) as table, closing(Seen()) as seen:
        tally = _take_up(table, seen)
        try:
            asyncio.run(_Bulk(parsed.files, table, seen, tally).run(working))
        except RetryableError as error:
            raise StartError(f"{error.detail} The same command goes on from here.") from error
        except OSError as error:
            raise StartError(f"{parsed.out} cannot be written to: {error.strerror}.") from error
    print(f"{parsed.out}: {tally.rows} files, {tally.failed} of them failed; {tally.before} were there before")
    return FAILED if tally.failed else 0


def row_of(file: Path, outcome: Outcome) -> Row:
    """What is told of a file."""
    if isinstance(outcome, Reply):
        return {"file": name_of(file), **outcome.result}
    return {"file": name_of(file), "error": {"type": f"urn:faceattr:{outcome.kind}", "detail": outcome.detail}}


def _take_up(table: Table, seen: Seen) -> Tally:
    tally = Tally()
    for name, failed in table.resume():
        seen.add(name)
        tally.rows += 1
        tally.before += 1
        tally.failed += failed
    return tally


class _Bulk:
    """One run over `places`."""

    def __init__(self, places: Sequence[Path], table: Table, seen: Seen, tally: Tally) -> None:
        self._places, self._table, self._tally = places, table, tally
        self._fresh = (file for file in pictures(places) if seen.add(name_of(file)))
        self._found: deque[Path] = deque()
        self._looking = asyncio.Lock()
        self._over = threading.Event()

    async def run(self, working: Working) -> None:
        """As many files at a time as `working` says. Raises NotNow when one cannot be done now, nor others."""
        async with working as (ask, at_a_time):
            with tqdm(unit="file", initial=self._tally.rows, file=sys.stderr) as bar:
                tasks = [asyncio.create_task(self._work(ask, bar)) for _ in range(at_a_time)]
                counting = asyncio.create_task(asyncio.to_thread(self._count, bar))
                try:
                    await asyncio.gather(*tasks)
                finally:
                    self._over.set()
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(counting, *tasks, return_exceptions=True)

    async def _work(self, ask: Ask, bar: "tqdm[Any]") -> None:
        while file := await self._next():
            outcome = await ask(file, None)
            if isinstance(outcome, RetryableError):
                raise outcome
            self._table.add(row_of(file, outcome))
            self._tally.rows += 1
            self._tally.failed += isinstance(outcome, FaceattrError)
            bar.update()

    async def _next(self) -> Path | None:
        """A file without a row."""
        async with self._looking:
            if not self._found:
                self._found.extend(await asyncio.to_thread(list, islice(self._fresh, _LOOKED_FOR)))
            return self._found.popleft() if self._found else None

    def _count(self, bar: "tqdm[Any]") -> None:
        """For the bar: how many there will be. In a thread, beside the work."""
        total = 0
        for _ in pictures(self._places):
            if self._over.is_set():
                return
            total += 1
        bar.total = max(total, self._tally.before)
