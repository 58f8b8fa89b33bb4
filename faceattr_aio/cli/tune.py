"""`faceattr-aio tune`: finds out how many workers and slots pay on this machine, with a picture as clients send it.
Tells what to set, and writes it only where it is told to.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tqdm import tqdm

from faceattr_aio.cli import flags
from faceattr_aio.cli.decoder import bound_pixels
from faceattr_aio.config import Config
from faceattr_aio.errors import FaceattrError, StartError
from faceattr_aio.executor import Executor
from faceattr_aio.pipeline import Task
from faceattr_aio.sources import load_config

_WAITING = 2
"""Requests for each worker: one is worked on, the next is there when it is done."""
_ENOUGH = 0.95
"""Of the best rate: more workers for the last twentieth cost memory and gain nothing that lasts."""
_QUEUE = "queue"


@dataclass(frozen=True)
class Measured:
    """What so many workers did: pictures a second, and the seconds that a worker needs for one."""

    workers: int
    rate: float
    service_s: float


def run(parsed: argparse.Namespace) -> int:
    """Raises StartError when the picture cannot be used, or the settings are to go where a file is already."""
    config, _ = load_config(flags(parsed), parsed.config)
    if parsed.output and parsed.output.exists():
        raise StartError(f"{parsed.output} exists already; name a new file.")
    name = parsed.pipeline or next(iter(config.pipelines))
    if name not in config.pipelines:
        raise StartError(f"The settings have no pipeline '{name}'.")
    bound_pixels(config)
    measured = asyncio.run(_measure_all(config, name, Task(parsed.picture), parsed.seconds))
    knee = find_knee(measured)
    print(table(measured))
    settings = recommend(knee, parsed.wait)
    print(f"\nUp to {parsed.wait:g} s of waiting:\n\n{settings}")
    if parsed.output:
        parsed.output.write_text(settings)
    return 0


def candidates(cores: int) -> list[int]:
    """Numbers of workers worth trying: 1, 2, 4 and so on, and one for each core."""
    return sorted({1 << power for power in range(cores.bit_length()) if 1 << power <= cores} | {cores})


def find_knee(measured: Sequence[Measured]) -> Measured:
    """The fewest workers that do nearly as much as the best."""
    best = max(one.rate for one in measured)
    return next(one for one in sorted(measured, key=lambda one: one.workers) if one.rate >= _ENOUGH * best)


def recommend(knee: Measured, wait_s: float) -> str:
    """The settings, as TOML: longest wait = limit / workers x service time."""
    limit = max(knee.workers, int(wait_s / knee.service_s * knee.workers))
    return f"[inference]\nworkers = {knee.workers}\nlimit = {limit}\n"


def table(measured: Sequence[Measured]) -> str:
    lines = [f"{one.workers:7}  {one.rate:10.1f}  {one.service_s * 1e3:9.1f} ms" for one in measured]
    return "\n".join(["workers  pictures/s  for one each", *lines])


async def _measure_all(config: Config, name: str, task: Task, seconds: float) -> list[Measured]:
    numbers = candidates(len(os.sched_getaffinity(0)))
    with tqdm(numbers, unit="point", file=sys.stderr) as bar:
        return [await _measure(_with_workers(config, number), name, task, seconds) for number in bar]


def _with_workers(config: Config, workers: int) -> Config:
    inference = config.inference.model_copy(update={"workers": workers, "limit": _WAITING * workers})
    return config.model_copy(update={"inference": inference}).with_auto_pool("process")


async def _measure(config: Config, name: str, task: Task, seconds: float) -> Measured:
    """Each worker always has something to do. Raises StartError when the picture is refused."""
    executor, laps = Executor(config), list[float]()
    workers = config.inference.worker_count
    try:
        await executor.start()
        await executor.run(name, task)  # warms up
        end = time.monotonic() + seconds
        await asyncio.gather(*(_ask(executor, name, task, end, laps) for _ in range(_WAITING * workers)))
    except FaceattrError as error:
        raise StartError(f"{task.path}: {error.detail}") from error
    finally:
        await executor.close()
    return Measured(workers, len(laps) / seconds, median(laps))


async def _ask(executor: Executor, name: str, task: Task, end: float, laps: list[float]) -> None:
    """Asks again and again, and notes the seconds that a worker needed."""
    while time.monotonic() < end:
        reply = await executor.run(name, task)
        laps.append(sum(ms for stage, ms in reply.laps.items() if stage != _QUEUE) / 1e3)
