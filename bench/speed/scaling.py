"""Goodput by size of the picture, number of faces, workers and serving processes: behind HTTP, and of the pipeline
alone on as many cores.

    python -m bench.scaling --rounds 3 --seconds 0.6 --output scaling.json
    python -m bench.plot scaling.json

Size and faces: one worker; the server has one core, the load another. Workers and processes: the server has all cores;
the load may use them too, but takes less than a hundredth of the time.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from bench.load.overload import PICTURE, TYPE
from bench.speed import ceiling
from bench.speed.decode import photo
from bench.speed.processes import started
from bench.support.face_grid import face_grid
from bench.support.served import UNCACHED, Server, server_core
from bench.support.wire import connections, saturate, upload

MEGAPIXELS = (0.3, 1.0, 1.7, 1.85, 4.0, 7.0, 7.3, 14.0, 28.0, 29.0, 48.0)
"""Pairs around the sizes at which a JPEG is decoded at the next smaller scale."""
FACES = (0, 1, 2, 4, 8, 16)
WORKERS, PROCESSES = (1, 2, 3, 4), (1, 2)
QUALITY = 75
MANY_CONNECTIONS = 32
"""Connections for the measurement of processes: enough for each process to get some."""

Rows = Sequence[Mapping[str, float]]


class Setup(NamedTuple):
    """A server, the number of clients, and the number of cores it may use."""

    workers: int = 1
    processes: int = 1
    connections: int = 2
    cores: int = 1

    @property
    def settings(self) -> str:
        limit = 2 * self.processes * self.connections  # no refusals, even if one process gets all connections
        server = f"[server]\nprocesses = {self.processes}\n"
        return f"{UNCACHED}{server}[inference]\nworkers = {self.workers}\nlimit = {limit}\n"


class Point(NamedTuple):
    """A value on the axis of a panel, the setup that is measured there, and the picture with its number of faces."""

    panel: str
    value: float
    setup: Setup
    draw: Callable[[], bytes]
    faces: int = 1


class Measured(NamedTuple):
    """Pictures a second behind HTTP and of the pipeline alone, and their ratio."""

    goodput: float
    ceiling: float
    share: float


def points() -> list[Point]:
    cores, small = len(os.sched_getaffinity(0)), PICTURE.read_bytes
    return [
        *(Point("megapixels", size, Setup(), partial(photo, size, QUALITY)) for size in MEGAPIXELS),
        *(Point("faces", faces, Setup(), partial(face_grid, faces), faces) for faces in FACES),
        *(Point("workers", workers, Setup(workers, 1, 2 * workers, cores), small) for workers in WORKERS),
        *(
            Point("processes", number, Setup(max(PROCESSES), number, MANY_CONNECTIONS, cores), small)
            for number in PROCESSES
        ),
    ]


def faces_found(server: Server, picture: bytes) -> int:
    request = urllib.request.Request(f"{server.url}/analyze", picture, {"Content-Type": TYPE})  # noqa: S310  # a server that this module started
    with urllib.request.urlopen(request) as response:  # noqa: S310  # see above
        return len(json.load(response)["faces"])


async def goodput(server: Server, picture: bytes, clients: int, seconds: float) -> float:
    """Answers a second to closed-loop clients."""
    async with connections(server.url, upload("/analyze", picture, TYPE), clients) as opened:
        began = time.perf_counter()
        counts = await saturate(opened, seconds)
        spent = time.perf_counter() - began
    assert set(counts) == {"200"}, f"not all requests were answered: {counts}"
    return counts["200"] / spent


def alone(picture: Path, cores: Sequence[int], seconds: float) -> float:
    """Pictures a second of the pipeline without a server, on all these cores at once."""
    with ThreadPoolExecutor(len(cores)) as threads:
        return sum(threads.map(lambda core: ceiling.measure(seconds, core, picture), cores))


async def measure(server: Server, point: Point, picture: Path, cores: Sequence[int], seconds: float) -> Measured:
    data, setup = picture.read_bytes(), point.setup  # noqa: ASYNC240  # nothing else runs on this loop
    assert faces_found(server, data) == point.faces
    done = await goodput(server, data, setup.connections, seconds)
    most = alone(picture, cores[: min(setup.workers, setup.cores)], seconds)
    return Measured(done, most, done / most)


async def measure_all(chosen: Sequence[Point], rounds: int, seconds: float) -> dict[Point, list[Measured]]:
    """Measure every point in each round."""
    measured: dict[Point, list[Measured]] = {point: [] for point in chosen}
    with server_core() as core, tempfile.TemporaryDirectory() as folder:
        cores = [core, *sorted(os.sched_getaffinity(0))]
        pictures = {point: Path(folder) / f"{number}.jpg" for number, point in enumerate(chosen)}
        for point, picture in pictures.items():
            picture.write_bytes(point.draw())
        for _ in range(rounds):
            for setup, same in groupby(chosen, lambda point: point.setup):
                with started(setup.settings, set(cores[: setup.cores])) as server:
                    for point in same:
                        measured[point].append(await measure(server, point, pictures[point], cores, seconds))
    return measured


def summary(measured: Mapping[Point, Sequence[Measured]]) -> dict[str, Rows]:
    """The points of each panel, as medians over the rounds."""
    panels: dict[str, Rows] = {}
    for point, rounds in measured.items():
        medians = Measured(*map(median, zip(*rounds, strict=True)))
        row = {"value": point.value, **medians._asdict()}
        panels[point.panel] = [*panels.get(point.panel, []), row]
    return panels


def report(panels: Mapping[str, Rows]) -> Iterator[str]:
    """Markdown tables, one for each panel."""
    for panel, rows in panels.items():
        yield f"\n| {panel} | behind HTTP | alone | share |"
        yield "|---|---|---|---|"
        for row in rows:
            yield f"| {row['value']:g} | {row['goodput']:.1f}/s | {row['ceiling']:.1f}/s | {row['share']:.0%} |"


def write(file: Path, panels: Mapping[str, Rows]) -> None:
    """Write the panels into the file and keep its other panels."""
    before = json.loads(file.read_text())["panels"] if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"cores": len(os.sched_getaffinity(0)), "panels": {**before, **panels}}
    file.write_text(f"{json.dumps(document, indent=1)}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.6, help="duration of each measurement")
    parser.add_argument("--only", help="one panel: megapixels, faces, workers or processes")
    parser.add_argument("--output", type=Path, help="a JSON file for the medians")
    chosen = parser.parse_args(arguments)
    wanted = [point for point in points() if chosen.only in {None, point.panel}]
    panels = summary(uvloop.run(measure_all(wanted, chosen.rounds, chosen.seconds)))
    for line in report(panels):
        print(line)
    if chosen.output:
        write(chosen.output, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
