"""`faceattr-aio tune`: finds out how many workers and slots pay on this machine, and which backend, with a picture as
clients send it. Tells what to set, and writes it only where it is told to.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import get_args

from pydantic import ValidationError
from tqdm import tqdm

from faceattr_aio.cli import flags
from faceattr_aio.cli.opencv_env import bound_pixels
from faceattr_aio.config.load import load_config
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import FaceattrError, StartError
from faceattr_aio.inference.executor import Executor
from faceattr_aio.pipeline import Task

_WAITING = 2
"""Requests for each worker: one is worked on, the next is there when it is done."""
_ENOUGH = 0.95
"""Of the best rate: more workers for the last twentieth cost memory and gain nothing that lasts."""
_QUEUE = "queue"


@dataclass(frozen=True)
class Measured:
    """What so many workers did: pictures a second, and the seconds that a worker needs for one. `backend` is empty for
    a pipeline that has no choice.
    """

    backend: str
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
    settings = recommend(knee, name, parsed.wait)
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


def recommend(knee: Measured, name: str, wait_s: float) -> str:
    """The settings, as TOML: longest wait = limit / workers x service time."""
    limit = max(knee.workers, int(wait_s / knee.service_s * knee.workers))
    backend = f'\n[pipelines.{name}]\nbackend = "{knee.backend}"\n' if knee.backend else ""
    return f"[inference]\nworkers = {knee.workers}\nlimit = {limit}\n{backend}"


def table(measured: Sequence[Measured]) -> str:
    lines = [f"{one.backend:9} {one.workers:7}  {one.rate:10.1f}  {one.service_s * 1e3:9.1f} ms" for one in measured]
    return "\n".join(["backend   workers  pictures/s  for one each", *lines])


def backends(config: Config, name: str) -> list[str]:
    """Those that the pipeline can be set to; an empty name where there is no choice."""
    field = config.pipelines[name].declaration.settings.model_fields.get("backend")
    return list(get_args(field.annotation)) if field else [""]


async def _measure_all(config: Config, name: str, task: Task, seconds: float) -> list[Measured]:
    """Raises StartError when no backend works."""
    points = list(product(backends(config, name), candidates(len(os.sched_getaffinity(0)))))
    measured, faults = list[Measured](), dict[str, str]()
    for backend, workers in tqdm(points, unit="point", file=sys.stderr):
        if backend not in faults:
            try:
                measured.append(await _measure(_set(config, name, backend, workers), name, backend, task, seconds))
            except (StartError, ValidationError) as error:
                faults[backend] = str(error)
    if not measured:
        raise StartError(next(iter(faults.values())))
    for fault in faults.values():
        print(f"faceattr-aio: not measured: {fault}", file=sys.stderr)
    return measured


def _set(config: Config, name: str, backend: str, workers: int) -> Config:
    """The settings with these. Raises ValidationError when they do not go together."""
    values = config.model_dump()
    values["inference"] |= {"workers": workers, "limit": _WAITING * workers, "workers_min": 0, "workers_max": 0}
    if backend:
        values["pipelines"][name]["backend"] = backend
    return Config(**values).with_auto_pool("process")


async def _measure(config: Config, name: str, backend: str, task: Task, seconds: float) -> Measured:
    """Each worker always has something to do. Raises StartError when the picture is refused."""
    executor, laps = Executor(config), list[float]()
    workers = config.inference.worker_count
    try:
        await executor.start()
        await executor.run(name, task)  # warms up
        began = time.monotonic()
        end = began + seconds
        await asyncio.gather(*(_ask(executor, name, task, end, laps) for _ in range(_WAITING * workers)))
        spent = time.monotonic() - began
    except FaceattrError as error:
        raise StartError(f"{task.path}: {error.detail}") from error
    finally:
        await executor.close()
    return Measured(backend, workers, len(laps) / spent, median(laps))


async def _ask(executor: Executor, name: str, task: Task, end: float, laps: list[float]) -> None:
    """Asks again and again, and notes the seconds that a worker needed."""
    while time.monotonic() < end:
        reply = await executor.run(name, task)
        laps.append(sum(ms for stage, ms in reply.laps.items() if stage != _QUEUE) / 1e3)
