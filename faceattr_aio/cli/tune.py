"""`faceattr-aio tune`: measures the throughput of a pipeline with different numbers of workers and backends, and prints
the recommended settings.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import median
from typing import get_args

from pydantic import ValidationError
from tqdm import tqdm

from faceattr_aio.cli.settings import limit_decoder, load
from faceattr_aio.config import Config
from faceattr_aio.errors import FaceattrError, StartError
from faceattr_aio.inference.executor import Executor
from faceattr_aio.pipeline import Task

_REQUESTS_PER_WORKER = 2
"""One is processed while the next waits, so that the worker is never idle."""
_SUFFICIENT_SHARE = 0.95
"""Share of the best rate that is enough: more workers for the last 5 % cost memory for little gain."""
_QUEUE = "queue"


@dataclass(frozen=True)
class Measurement:
    """Pictures per second with a number of workers, and the seconds that a worker needs for one picture. `backend` is
    empty for a pipeline without such a setting.
    """

    backend: str
    workers: int
    rate: float
    service_s: float


def run(parsed: argparse.Namespace) -> int:
    """Raises StartError when the picture cannot be used or the output file exists."""
    config = load(parsed)
    if parsed.output and parsed.output.exists():
        raise StartError(f"{parsed.output} already exists: choose a new file.")
    name = parsed.pipeline or next(iter(config.pipelines))
    if name not in config.pipelines:
        raise StartError(f"The settings have no pipeline '{name}'.")
    limit_decoder(config.image.max_pixels)
    measurements = asyncio.run(_measure_all(config, name, Task(parsed.picture), parsed.seconds))
    print(table(measurements))
    settings = recommend(find_knee(measurements), name, parsed.wait)
    print(f"\nRecommended for a wait of at most {parsed.wait:g} s:\n\n{settings}")
    if parsed.output:
        parsed.output.write_text(settings)
    return 0


def candidates(cores: int) -> list[int]:
    """Return the numbers of workers to measure: powers of two up to `cores`, and `cores`."""
    return sorted({1 << power for power in range(cores.bit_length()) if 1 << power <= cores} | {cores})


def find_knee(measurements: Sequence[Measurement]) -> Measurement:
    """Return the measurement with the fewest workers and a rate of at least 95 % of the best."""
    sufficient = _SUFFICIENT_SHARE * max(one.rate for one in measurements)
    return min((one for one in measurements if one.rate >= sufficient), key=lambda one: one.workers)


def recommend(knee: Measurement, name: str, wait_s: float) -> str:
    """Return the settings as TOML. The limit follows from: longest wait = limit / workers x service time."""
    limit = max(knee.workers, int(wait_s / knee.service_s * knee.workers))
    backend = f'\n[pipelines.{name}]\nbackend = "{knee.backend}"\n' if knee.backend else ""
    return f"[inference]\nworkers = {knee.workers}\nlimit = {limit}\n{backend}"


def table(measurements: Sequence[Measurement]) -> str:
    rows = (f"{m.backend:9} {m.workers:7}  {m.rate:10.1f}  {m.service_s * 1e3:9.1f} ms" for m in measurements)
    return "\n".join(["backend   workers  pictures/s  service time", *rows])


def backends(config: Config, name: str) -> list[str]:
    """Return the values of the pipeline's setting `backend`, or an empty name if it has no such setting."""
    field = config.pipelines[name].declaration.settings.model_fields.get("backend")
    return list(get_args(field.annotation)) if field else [""]


async def _measure_all(config: Config, name: str, task: Task, seconds: float) -> list[Measurement]:
    """Raises StartError when no backend works."""
    points = list(product(backends(config, name), candidates(len(os.sched_getaffinity(0)))))
    measurements, faults = list[Measurement](), dict[str, str]()
    for backend, workers in tqdm(points, unit="point", file=sys.stderr):
        if backend not in faults:
            try:
                candidate = _with(config, name, backend, workers)
                measurements.append(await _measure(candidate, name, backend, task, seconds))
            except (StartError, ValidationError) as error:
                faults[backend] = str(error)
    if not measurements:
        raise StartError(next(iter(faults.values())))
    for fault in faults.values():
        print(f"faceattr-aio: not measured: {fault}", file=sys.stderr)
    return measurements


def _with(config: Config, name: str, backend: str, workers: int) -> Config:
    """Return the settings with this backend and number of workers. Raises ValidationError when they are invalid."""
    values = config.model_dump()
    counts = {"workers": workers, "limit": _REQUESTS_PER_WORKER * workers, "workers_min": 0, "workers_max": 0}
    values["inference"] |= counts
    if backend:
        values["pipelines"][name]["backend"] = backend
    return Config(**values).with_auto_pool("process")


async def _measure(config: Config, name: str, backend: str, task: Task, seconds: float) -> Measurement:
    """Keep all workers busy for some seconds. Raises StartError when the picture is refused."""
    executor, service_times = Executor(config), list[float]()
    try:
        await executor.start()
        await executor.run(name, task)  # warms up
        began = time.monotonic()
        repeat = partial(_repeat, executor, name, task, began + seconds, service_times)
        await asyncio.gather(*(repeat() for _ in range(config.inference.limit_count)))
        elapsed = time.monotonic() - began
    except FaceattrError as error:
        raise StartError(f"{task.path}: {error.detail}") from error
    finally:
        await executor.close()
    return Measurement(backend, config.inference.worker_count, len(service_times) / elapsed, median(service_times))


async def _repeat(executor: Executor, name: str, task: Task, end: float, service_times: list[float]) -> None:
    """Run the task until `end` and append the seconds that the worker needed each time."""
    while time.monotonic() < end:
        reply = await executor.run(name, task)
        service_times.append(sum(ms for stage, ms in reply.laps.items() if stage != _QUEUE) / 1e3)
