"""A long run below the capacity with invalid requests mixed in: whether memory, descriptors, threads or waits grow,
with the growth per hour and its standard error. `bench.soak` measures the same above the capacity.

    python -m bench.stress.soak --minutes 10 [--load 0.7]

Exit status 1: something grows.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import uvloop
from matplotlib.axes import Axes
from scipy.stats import linregress
from tqdm import trange

from bench.load.overload import FAILED, PICTURE, SETTINGS, TYPE, served
from bench.load.soak import DOCUMENTED, mixed, settle
from bench.stress import plots
from bench.stress.sections import rows
from bench.support.openloop import offer, post, saturate, session
from bench.support.served import Server

SLICE_S = 5.0
SURE = 3.0
"""Standard errors by which a slope must exceed its limit to count."""
SETTLING = 0.2
"""Share of the run at its start that does not count, because heaps still fill."""
LEAST_SLICES = 5


@dataclass(frozen=True)
class Figure:
    """A figure, its permitted growth in an hour, and the growth that is noise however short the run is."""

    name: str
    unit: str
    most_per_hour: float
    noise: float


FIGURES = (
    Figure("memory", "MB", 60.0, 10.0),
    Figure("descriptors", "", 2.0, 8.0),
    Figure("threads", "", 2.0, 4.0),
    Figure("p50 of accepted answers", "ms", 20.0, 10.0),
    Figure("p99 of accepted answers", "ms", 100.0, 100.0),
)


@dataclass(frozen=True)
class Slope:
    """Growth in an hour with its standard error, over a number of hours."""

    figure: Figure
    first: float
    last: float
    per_hour: float
    error: float
    hours: float

    @property
    def kept(self) -> bool:
        """The growth does not exceed its limit with certainty."""
        surely = self.per_hour - SURE * self.error
        return surely <= self.figure.most_per_hour or self.per_hour * self.hours <= self.figure.noise


@dataclass
class Soaked:
    """Outcomes of all requests, and the time and figures of each slice."""

    counts: Counter[str] = field(default_factory=Counter)
    slices: list[tuple[float, tuple[float, ...]]] = field(default_factory=list)
    left: int = 0
    """Descriptors at the end in excess of those at the start."""

    def slopes(self) -> list[Slope]:
        """The slope of each figure after the settling time. Raises ValueError if the run was too short."""
        settled = self.slices[round(len(self.slices) * SETTLING) :]
        if len(settled) < LEAST_SLICES:
            raise ValueError(f"{len(settled)} slices are too few: soak longer.")
        hours = [second / 3600 for second, _ in settled]
        return [self._slope(index, hours, [row[index] for _, row in settled]) for index in range(len(FIGURES))]

    @staticmethod
    def _slope(index: int, hours: Sequence[float], values: Sequence[float]) -> Slope:
        line = linregress(hours, values)
        error = 0.0 if math.isnan(line.stderr) else float(line.stderr)  # for a constant figure
        return Slope(FIGURES[index], values[0], values[-1], float(line.slope), error, hours[-1] - hours[0])

    def undocumented(self) -> dict[str, int]:
        """Answers that are not documented."""
        return {outcome: count for outcome, count in self.counts.items() if outcome not in DOCUMENTED}


def sample(server: Server) -> tuple[float, float, float]:
    """Memory of the server and its workers in MB, its descriptors, and the threads of all."""
    found = [psutil.Process(pid) for pid in (server.pid, *server.descendants())]
    return server.proportional() / 1e6, server.descriptors(), sum(process.num_threads() for process in found)


async def soak(server: Server, seconds: float, load: float, slice_s: float = SLICE_S) -> Soaked:
    """Run in slices, each at `load` times the capacity for two clients that never pause."""
    url, found, open_before = f"{server.url}/analyze", Soaked(), server.descriptors()
    async with session() as client:
        good = partial(post, client, url, PICTURE.read_bytes(), TYPE)
        capacity = (await saturate(good, 2, slice_s)).counts["200"] / slice_s
        for number in trange(max(1, round(seconds / slice_s)), unit_scale=slice_s, unit="s"):
            record = await offer(mixed(client, url), load * capacity, slice_s)
            found.counts += record.counts
            figures = (*sample(server), record.ms("200", 50), record.ms("200", 99))
            found.slices.append(((number + 1) * slice_s, figures))
    found.left = await settle(server, open_before)
    return found


def report(found: Soaked) -> Iterator[str]:
    """The report in Markdown."""
    body = [
        (
            f"{slope.figure.name} {slope.figure.unit}".strip(),
            f"{slope.first:.1f}",
            f"{slope.last:.1f}",
            f"{slope.per_hour:+.2f} +- {slope.error:.2f}",
            f"{slope.figure.most_per_hour:g}",
            "steady" if slope.kept else "**grows**",
        )
        for slope in found.slopes()
    ]
    yield from rows(("figure", "first", "last", "growth an hour", "limit", "verdict"), body)
    yield ""
    yield ", ".join(f"{outcome}: {count}" for outcome, count in sorted(found.counts.items()))
    yield f"undocumented answers: {found.undocumented() or 'none'}"
    yield f"remaining descriptors: {found.left}"


def plot(found: Soaked) -> plots.Draw:
    """Memory over time."""

    def draw(axes: Axes) -> None:
        axes.plot([second / 60 for second, _ in found.slices], [row[0] for _, row in found.slices], color="#1769aa")
        axes.set(xlabel="minutes", ylabel="memory, MB", ylim=(0, None))

    return draw


async def measure(seconds: float, load: float, slice_s: float) -> Soaked:
    with served(SETTINGS) as server:
        return await soak(server, seconds, load, slice_s)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--load", type=float, default=0.7, help="load as a multiple of the capacity; over 1 is overload"
    )
    parser.add_argument("--slice", type=float, default=SLICE_S, help="seconds between two samples")
    parser.add_argument("--plot", type=Path, help="file for a plot of memory over time")
    chosen = parser.parse_args(arguments)
    found = uvloop.run(measure(chosen.minutes * 60, chosen.load, chosen.slice))
    print("\n".join(report(found)))
    if chosen.plot:
        plots.save(plot(found), chosen.plot)
    kept = all(slope.kept for slope in found.slopes()) and not found.undocumented() and found.left == 0
    return 0 if kept else FAILED


if __name__ == "__main__":
    sys.exit(main())
