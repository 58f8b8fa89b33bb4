"""What a reload costs those who ask meanwhile: more is offered than a server on one core can do, without reloads, with
five of which one finds a damaged model, and without again.

    python -m bench.reload --seconds 30

Exit status 1: a bound was passed; 3: the machine was too unsteady to tell.
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
"""How many, and which of them finds a damaged model."""
LEAST_GOODPUT = 0.90
"""Of the goodput without reloads."""
RELOADED, ROLLED_BACK = "the models were reloaded", "nothing was reloaded"


@dataclass(frozen=True)
class Measured:
    """What was recorded without reloads before and after, and with them; and what the log said."""

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
    """The models that the settings use; the path of the largest."""
    store, entry = ModelStore(), Config().pipelines["faces"]
    paths = [shutil.copy(store.verify(name).path, folder) for name in entry.declaration.models(entry.settings)]
    return max(map(Path, paths), key=lambda path: path.stat().st_size)


async def reload(server: Server, model: Path, whole: bytes, log: Path, seconds: float) -> None:
    """So many reloads, spread over the time, each when the one before is over."""
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
    """Those that were done, and those that changed nothing."""
    return log.count(RELOADED), log.count(ROLLED_BACK)


def replace(model: Path, content: bytes) -> None:
    """As `models pull` does: the file that is there stays whole for those who read it."""
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
                await offer(ask, RATE, 1.0)  # warms up
                before = await offer(ask, RATE, seconds)
                during, _ = await asyncio.gather(offer(ask, RATE, seconds), reload(server, model, whole, log, seconds))
                after = await offer(ask, RATE, seconds)
            return Measured(before, during, after, log.read_text())


def report(measured: Measured) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether it keeps its bound."""
    for name, record in (("before", measured.before), ("with reloads", measured.during), ("after", measured.after)):
        counts = ", ".join(f"{outcome}: {count}" for outcome, count in sorted(record.counts.items()))
        waited = f"accepted 99 % within {record.ms('200', 99):.0f} ms, longest {record.ms('200', 100):.0f} ms"
        yield f"{name:12}  {counts}; {waited}", not record.strange()
    yield f"goodput with reloads {measured.share:.0%} of that without", measured.share >= LEAST_GOODPUT
    reloaded, rolled_back = count_reloads(measured.log)
    yield f"{reloaded} reloads, {rolled_back} that changed nothing", (reloaded, rolled_back) == (RELOADS - 1, 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.reload")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of three measurements")
    measured = uvloop.run(measure(parser.parse_args().seconds))
    kept = True
    for line, good in report(measured):
        print(line if good else f"{line}   <-- past its bound")
        kept = kept and good
    if measured.spread > STEADY:
        print("inconclusive: the machine was too unsteady")
        return INCONCLUSIVE
    return 0 if kept else FAILED


if __name__ == "__main__":
    sys.exit(main())
