"""The cost of reloads for clients: a load beyond the capacity of a server on one core, without reloads, with five of
which one finds a damaged model, and without again.

    python -m bench.reload --seconds 30

Exit status 1: a target was missed; 3: the machine was too unsteady.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from bench.load.overload import FAILED, INCONCLUSIVE, PICTURE, SETTINGS, STEADY, TYPE, served
from bench.support.openloop import Record, offer, post, session
from bench.support.served import Server
from faceattr_aio.config.schema import Config
from faceattr_aio.inference.models import ModelStore

RATE = 200.0
RELOADS, BROKEN = 5, 2
"""Number of reloads, and the number of the one that finds a damaged model."""
LEAST_GOODPUT = 0.90
"""Share of the goodput without reloads."""
RELOADED, ROLLED_BACK = "the models were reloaded", "nothing was reloaded"


@dataclass(frozen=True)
class Measured:
    """The records without reloads, before and after, and with them; and the text of the log."""

    before: Record
    during: Record
    after: Record
    log: str

    @property
    def usual(self) -> float:
        return (self.before.counts["200"] + self.after.counts["200"]) / 2

    @property
    def share(self) -> float:
        return self.during.counts["200"] / self.usual

    @property
    def spread(self) -> float:
        return abs(self.before.counts["200"] - self.after.counts["200"]) / self.usual


def copy_models(folder: Path) -> Path:
    """Copy the models that the settings use into `folder`. Return the path of the largest."""
    store, entry = ModelStore(), Config().pipelines["faces"]
    paths = [shutil.copy(store.verify(name).path, folder) for name in entry.declaration.models(entry.settings)]
    return max(map(Path, paths), key=lambda path: path.stat().st_size)


async def reload(server: Server, model: Path, whole: bytes, log: Path, seconds: float) -> None:
    """Reload RELOADS times in `seconds`, each time after the last one has ended."""
    damaged = bytes(len(whole))
    for number in range(1, RELOADS + 1):
        await asyncio.sleep(seconds / (RELOADS + 1))
        replace(model, damaged if number == BROKEN else whole)
        os.kill(server.pid, signal.SIGHUP)
        while _ended(log) < number:  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.05)


def _ended(log: Path) -> int:
    return sum(count_reloads(log.read_text()))


def count_reloads(log: str) -> tuple[int, int]:
    """Number of reloads, and of those that were rolled back."""
    return log.count(RELOADED), log.count(ROLLED_BACK)


def replace(model: Path, content: bytes) -> None:
    """Replace the file as `models pull` does: processes that have it open keep the old content."""
    beside = model.with_suffix(".part")
    beside.write_bytes(content)
    beside.rename(model)


async def measure(seconds: float) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        model, log = copy_models(Path(folder)), Path(folder) / "log.txt"
        whole = model.read_bytes()
        with log.open("w") as file, served(f"{SETTINGS}[models]\ndir = '{folder}'\n", file) as server:
            async with session() as client:
                ask = partial(post, client, f"{server.url}/analyze", PICTURE.read_bytes(), TYPE)
                await offer(ask, RATE, 1.0)  # warm-up
                before = await offer(ask, RATE, seconds)
                during, _ = await asyncio.gather(offer(ask, RATE, seconds), reload(server, model, whole, log, seconds))
                after = await offer(ask, RATE, seconds)
            return Measured(before, during, after, log.read_text())


def report(measured: Measured) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether its target is met."""
    for name, record in (("before", measured.before), ("with reloads", measured.during), ("after", measured.after)):
        counts = ", ".join(f"{outcome}: {count}" for outcome, count in sorted(record.counts.items()))
        waited = f"accepted P99 {record.ms('200', 99):.0f} ms, longest {record.ms('200', 100):.0f} ms"
        yield f"{name:12}  {counts}; {waited}", not record.unexpected()
    yield f"goodput with reloads {measured.share:.0%} of that without", measured.share >= LEAST_GOODPUT
    reloaded, rolled_back = count_reloads(measured.log)
    yield f"{reloaded} reloads, {rolled_back} rolled back", (reloaded, rolled_back) == (RELOADS - 1, 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.reload")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of each of three measurements")
    measured = uvloop.run(measure(parser.parse_args().seconds))
    kept = True
    for line, good in report(measured):
        print(line if good else f"{line}   <-- target missed")
        kept = kept and good
    if measured.spread > STEADY:
        print("inconclusive: the machine was too unsteady")
        return INCONCLUSIVE
    return 0 if kept else FAILED


if __name__ == "__main__":
    sys.exit(main())
