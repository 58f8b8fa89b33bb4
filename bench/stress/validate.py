"""Validates the simulation: the same load is sent to real instances on one core, from another core: one instance with
the real pipeline, and two and three that sleep behind a real nginx.

    python -m bench.stress.validate --seconds 8

Exit status 1: the error of a prediction exceeds its limit; 3: only of some that other programs disturbed.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from bench.stress import picture_mix
from bench.stress.balancer import balanced
from bench.stress.instance import Size
from bench.stress.interference import QUIET_ENOUGH, undisturbed
from bench.stress.model import Model, fit
from bench.stress.observe import observe
from bench.stress.simulation import SEED, Site, simulate
from bench.stress.users import run_users
from bench.stress.workload import Result, Workload
from bench.support.served import QUIET, UNCACHED, Server, server_core, start_server
from bench.support.sleeper import SLEEP

MOST_OFF = {"throughput": 0.15, "P99": 0.25}
OPEN, CLOSED = (0.7, 1.0, 1.5), (0.7, 1.5)
"""Multiples of the capacity of all instances together."""
THINK_S = (0.5, 1.5)
FAILED, INCONCLUSIVE = 1, 3
_SETTINGS = UNCACHED + "[inference]\nworkers = {workers}\nlimit = {limit}\n"
_SLEEP_S = 0.05
T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A kind of instance: its settings, the path of its requests, and its size in the simulation."""

    name: str
    settings: str
    path: str
    size: Size


REAL = Kind("faces", _SETTINGS, "/analyze", Size(workers=1, limit=4, cores=1))
SLEEPING = Kind(
    "sleeping", f"{_SETTINGS}pool = 'thread'\n{SLEEP}seconds = {_SLEEP_S}\n", "/sleep", Size(2, 8, cores=math.inf)
)
CASES = ((1, REAL), (1, SLEEPING), (2, SLEEPING), (3, SLEEPING))


@dataclass(frozen=True)
class MeasureOptions:
    """Duration of each measurement after its warm-up; how often it is repeated while other programs disturb it; and how
    long to wait for them each time.
    """

    seconds: float = 8.0
    tries: int = 1
    patience_s: float = 0.0

    def measure(self, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
        """Return the result, and the share of the machine that other programs used."""
        return undisturbed(lambda: uvloop.run(work()), self.tries, self.patience_s)


@dataclass(frozen=True)
class Row:
    """One load, as measured and as predicted."""

    instances: int
    kind: str
    load: float
    workload: Workload
    seen: Result
    predicted: Result
    others: float
    """Share of the machine that other programs used; the error of a disturbed row is meaningless."""

    @property
    def off(self) -> dict[str, float]:
        """The relative error of each figure."""
        return {
            "throughput": self.predicted.throughput / self.seen.throughput - 1,
            "P99": self.predicted.p99_s() / self.seen.p99_s() - 1,
        }

    @property
    def good(self) -> bool:
        return not self.seen.failed and all(abs(self.off[figure]) <= most for figure, most in MOST_OFF.items())

    def line(self) -> str:
        workload, off = self.workload, self.off
        users = (
            f"{workload.rate:.0f}/s"
            if workload.rate
            else f"{workload.users} {'retry' if workload.retries else 'give up'}"
        )
        cells = (
            f"{self.instances} {self.kind}",
            f"{self.load:g}x: {users}",
            f"{self.seen.throughput:.1f}, {self.predicted.throughput:.1f} ({off['throughput']:+.0%})",
            f"{self.seen.p99_s() * 1e3:.0f}, {self.predicted.p99_s() * 1e3:.0f} ({off['P99']:+.0%})",
            f"{self.seen.wait_p99_s():.2f}, {self.predicted.wait_p99_s():.2f}",
            f"{self.seen.refusal_rate:.1%}, {self.predicted.refusal_rate:.1%}",
        )
        return f"| {' | '.join(cells)} |" + ("" if self.good else "   <-- off") + self._disturbed()

    def _disturbed(self) -> str:
        return f"   ({self.others:.0%} of the machine was used by other programs)" if self.others > QUIET_ENOUGH else ""


HEAD = """Each figure as measured, as predicted.
| instances | load | answers/s | P99 of an answer, ms | P99 including retries, s | refused |
|---|---|---|---|---|---|"""


def workloads(
    rate: float, loads: Sequence[float], users: Sequence[float], seconds: float
) -> Iterator[tuple[float, Workload]]:
    """Open-loop loads, then closed-loop ones that give up and that retry, for instances with the capacity `rate`
    together.
    """
    base = Workload(think_s=THINK_S, seconds=seconds, warm_up_s=min(3.0, seconds / 2))
    for load in loads:
        yield load, replace(base, rate=load * rate)
    for load in users:
        for retries in (False, True):
            yield load, replace(base, users=round(load * rate * sum(THINK_S) / 2), retries=retries)


@contextmanager
def started(kind: Kind, instances: int, core: int) -> Iterator[list[Server]]:
    """Start the instances, pinned to that core."""
    settings = kind.settings.format(workers=kind.size.workers, limit=kind.size.limit)
    with ExitStack() as stack:
        servers = []
        for _ in range(instances):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            log = stack.enter_context((folder / "log").open("w"))
            servers.append(start_server(folder, settings, QUIET, {core}, log))
            stack.callback(servers[-1].kill)
        yield servers


def learn(kind: Kind, options: MeasureOptions) -> Model:
    """Fit the model to one such instance."""
    with server_core() as core, started(kind, 1, core) as (server,):
        work = partial(observe, server, kind.path, kind.size, picture_mix.portrait(), options.seconds / 2)
        observed, _ = options.measure(work)
    return fit(observed)


def compare(
    model: Model, kind: Kind, instances: int, loads: Sequence[float], users: Sequence[float], options: MeasureOptions
) -> Iterator[Row]:
    """Compare each load. One real instance gets requests directly, several through nginx."""
    (_, body), site = picture_mix.portrait()[0], Site(instances, kind.size)
    rate = instances * kind.size.workers / (model.mean_s + model.accept_s * kind.size.workers / kind.size.cores)
    with server_core() as core, started(kind, instances, core) as servers, ExitStack() as stack:
        proxy = servers[0]
        if instances > 1:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            proxy = stack.enter_context(balanced([server.url for server in servers], site.rule, folder, set()))
        for load, workload in workloads(rate, loads, users, options.seconds):
            visit = partial(run_users, proxy.url + kind.path, [body], [1.0], workload, SEED)
            seen, others = options.measure(visit)
            yield Row(instances, kind.name, load, workload, seen, simulate(model, site, workload), others)


def verdict(rows: Sequence[Row]) -> int:
    """The exit status."""
    bad = [row for row in rows if not row.good]
    if any(row.others <= QUIET_ENOUGH for row in bad):
        return FAILED
    return INCONCLUSIVE if bad else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.validate")
    parser.add_argument("--seconds", type=float, default=8.0, help="duration of each measurement, after its warm-up")
    parser.add_argument(
        "--tries", type=int, default=3, help="tries of each measurement while other programs disturb it"
    )
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to wait for other programs each time")
    chosen = parser.parse_args(arguments)
    options = MeasureOptions(chosen.seconds, chosen.tries, chosen.patience)
    models = {kind.name: learn(kind, options) for kind in (REAL, SLEEPING)}
    print(HEAD)
    rows = []
    for instances, kind in CASES:
        for row in compare(models[kind.name], kind, instances, OPEN, CLOSED, options):
            rows.append(row)
            print(row.line(), flush=True)
    print(f"{sum(row.good for row in rows)} of {len(rows)} predictions are within the permitted error")
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
