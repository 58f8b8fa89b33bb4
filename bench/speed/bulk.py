"""Files a second that `analyze --out` writes into a table, compared with the pipeline alone on as many cores, and the
memory of the largest process. Start-up is excluded by subtracting a short run from a long one.

    python -m bench.bulk --workers 2
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench.speed import ceiling
from bench.speed.ceiling import PICTURE
from bench.support.served import environment

FILES = (100, 1100)


class Measured(NamedTuple):
    """Files a second; pictures a second of as many pipelines alone; MB of the largest process in the short and the long
    run.
    """

    rate: float
    ceiling: float
    short_mb: float
    long_mb: float


def once(folder: Path, files: int, workers: int) -> tuple[float, float]:
    """Seconds for `files` files, and the MB of the largest process."""
    pictures = folder / f"pictures-{files}"
    pictures.mkdir()
    for number in range(files):
        os.link(folder / PICTURE.name, pictures / f"{number}.jpg")
    table = folder / f"{files}.jsonl"
    arguments = ["analyze", str(pictures), "--out", str(table), "--workers", str(workers)]
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603  # this package's program
        [sys.executable, "-m", "faceattr_aio", *arguments],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert len(table.read_bytes().splitlines()) == files
    return time.perf_counter() - began, used.ru_maxrss / 1e3


def alone(workers: int, seconds: float) -> float:
    """Pictures a second of that many processes together, each on its own core."""
    cores = sorted(os.sched_getaffinity(0))[:workers]
    with ThreadPoolExecutor(workers) as threads:
        return sum(threads.map(lambda core: ceiling.measure(seconds, core), cores))


def measure(workers: int, files: tuple[int, int] = FILES, seconds: float = 5.0) -> Measured:
    short, long = files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / PICTURE.name).write_bytes(PICTURE.read_bytes())
        before = alone(workers, seconds)
        (short_s, short_mb), (long_s, long_mb) = (once(folder, number, workers) for number in (short, long))
        after = alone(workers, seconds)
    return Measured((long - short) / (long_s - short_s), (before + after) / 2, short_mb, long_mb)


def report(measured: Measured) -> Iterator[str]:
    share = measured.rate / measured.ceiling
    yield f"{measured.rate:.1f} files a second, the pipelines alone {measured.ceiling:.1f}: {share:.1%}"
    yield f"the largest process used {measured.short_mb:.1f} MB, and {measured.long_mb:.1f} MB in a longer run"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.bulk")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="duration of each measurement of the pipelines alone",
    )
    chosen = parser.parse_args(arguments)
    print("\n".join(report(measure(chosen.workers, seconds=chosen.seconds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
