"""Time to store an upload by the size of a write, on one core, without HTTP. Data arrive in pieces as small as a
network delivers; each write is a hand-off to a thread.

python -m bench.chunks --rounds 5 --seconds 0.5
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from unittest.mock import patch

import uvloop

from bench.speed.upload import FOLDERS
from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.config.schema import UploadConfig
from faceattr_aio.uploads import receive
from faceattr_aio.uploads.receive import PictureWriter, Uploads
from faceattr_aio.uploads.spool import IoThreads, Spool

CHUNKS_KIB = (8, 64, 256, 1024)
SIZES_MB = (0.07, 1.0, 10.0)
PIECE = 1 << 13
_ROOM = 1 << 30
_LIMITS = UploadConfig(max_bytes=_ROOM)
Point = tuple[int, float, str]
"""KiB for each write, megabytes, folder."""


async def store(spool: Spool, pieces: Sequence[bytes]) -> None:
    """Store one upload as the server does, and discard it."""
    with ExitStack() as files:
        one = PictureWriter(Uploads(_LIMITS, spool, Limiter(1, 1)), files)
        for piece in pieces:
            await one.add(piece)
        await one.finish()


async def measure(spool: Spool, megabytes: float, seconds: float) -> float:
    """Milliseconds for one upload, over many stored one after another."""
    size = round(megabytes * 1e6)
    pieces = [bytes(min(PIECE, size - start)) for start in range(0, size, PIECE)]
    await store(spool, pieces)
    began, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        await store(spool, pieces)
        done += 1
    return spent * 1e3 / done


async def measure_all(rounds: int, seconds: float, chunks: Sequence[int] = CHUNKS_KIB) -> dict[Point, list[float]]:
    measured: dict[Point, list[float]] = {}
    with IoThreads(1) as threads, ExitStack() as opened:
        spools = {folder: Spool(Path(folder), _ROOM, threads) for folder in FOLDERS}
        for spool in spools.values():
            spool.start()
            opened.callback(spool.close)
        for _ in range(rounds):
            for megabytes in SIZES_MB:
                for folder, spool in spools.items():
                    for chunk in chunks:
                        with patch.object(receive, "CHUNK", chunk << 10):
                            ms = await measure(spool, megabytes, seconds)
                        measured.setdefault((chunk, megabytes, folder), []).append(ms)
    return measured


def report(measured: Mapping[Point, Sequence[float]]) -> Iterator[str]:
    """A Markdown table of the medians over the rounds."""
    columns = list(dict.fromkeys((megabytes, folder) for _, megabytes, folder in measured))
    yield (
        " | ".join(["| KiB for each write", *(f"{megabytes:g} MB in {folder}" for megabytes, folder in columns)]) + " |"
    )
    yield "|---" * (1 + len(columns)) + "|"
    for chunk in dict.fromkeys(chunk for chunk, *_ in measured):
        cells = (f"{median(measured[chunk, *column]):.2f} ms" for column in columns)
        yield " | ".join([f"| {chunk}", *cells]) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.chunks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="duration of each measurement")
    chosen = parser.parse_args(arguments)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for line in report(uvloop.run(measure_all(chosen.rounds, chosen.seconds))):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
