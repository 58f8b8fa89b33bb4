"""Whether the simulation is right: the same crowds meet real instances, on one core, from another: one with the real
pipeline, two and three that sleep behind a real nginx.

    python -m bench.stress.validate --seconds 8

Exit status 1: a prediction is further off than promised; 3: only some that other programs on the machine disturbed.
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

from bench.stress import album
from bench.stress.balancer import balanced
from bench.stress.crowd import Crowd, Told
from bench.stress.instance import Size
from bench.stress.interference import QUIET_ENOUGH, undisturbed
from bench.stress.model import Model, fit
from bench.stress.observe import observe
from bench.stress.simulation import SEED, Site, simulate
from bench.stress.users import meet
from bench.support.served import QUIET, UNCACHED, Server, server_core, start_server
from bench.support.sleeper import SLEEP

MOST_OFF = {"throughput": 0.15, "P99": 0.25}
OPEN, CLOSED = (0.7, 1.0, 1.5), (0.7, 1.5)
"""Of what the instances can do together."""
THINK_S = (0.5, 1.5)
FAILED, INCONCLUSIVE = 1, 3
_SETTINGS = UNCACHED + "[inference]\nworkers = {workers}\nlimit = {limit}\n"
_SLEEP_S = 0.05
T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """An instance: its settings, where it is asked, and how large it is in the simulation."""

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
class Care:
    """How long each measurement takes, after its warm-up; how often it is made while others disturb it, and how long
    they are waited for each time.
    """

    seconds: float = 8.0
    tries: int = 1
    patience_s: float = 0.0

    def measure(self, look: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
        """What was found, and the share of the machine that others took."""
        return undisturbed(lambda: uvloop.run(look()), self.tries, self.patience_s)


@dataclass(frozen=True)
class Row:
    """One crowd, as it was and as it was foretold."""

    instances: int
    kind: str
    load: float
    crowd: Crowd
    seen: Told
    foretold: Told
    others: float
    """The share of the machine that other programs took meanwhile: a disturbed row tells nothing when it is off."""

    @property
    def off(self) -> dict[str, float]:
        """How far off each figure is, as a share of what was seen."""
        return {
            "throughput": self.foretold.throughput / self.seen.throughput - 1,
            "P99": self.foretold.p99_s() / self.seen.p99_s() - 1,
        }

    @property
    def good(self) -> bool:
        return not self.seen.failed and all(abs(self.off[figure]) <= most for figure, most in MOST_OFF.items())

    def line(self) -> str:
        crowd, off = self.crowd, self.off
        who = f"{crowd.rate:.0f}/s" if crowd.rate else f"{crowd.users} {'retry' if crowd.retries else 'give up'}"
        cells = (
            f"{self.instances} {self.kind}",
            f"{self.load:g}x: {who}",
            f"{self.seen.throughput:.1f}, {self.foretold.throughput:.1f} ({off['throughput']:+.0%})",
            f"{self.seen.p99_s() * 1e3:.0f}, {self.foretold.p99_s() * 1e3:.0f} ({off['P99']:+.0%})",
            f"{self.seen.wait_p99_s():.2f}, {self.foretold.wait_p99_s():.2f}",
            f"{self.seen.refusal_rate:.1%}, {self.foretold.refusal_rate:.1%}",
        )
        return f"| {' | '.join(cells)} |" + ("" if self.good else "   <-- off") + self._disturbed()

    def _disturbed(self) -> str:
        return f"   ({self.others:.0%} of the machine went to others)" if self.others > QUIET_ENOUGH else ""


HEAD = """Each figure as it was seen, as it was foretold.
| instances | load | answers/s | P99 of an answer, ms | P99 with all retries, s | refused |
|---|---|---|---|---|---|"""


def crowds(
    rate: float, loads: Sequence[float], users: Sequence[float], seconds: float
) -> Iterator[tuple[float, Crowd]]:
    """Open ones, then closed ones that give up and that retry, for instances that do `rate` together."""
    still = Crowd(think_s=THINK_S, seconds=seconds, warm_up_s=min(3.0, seconds / 2))
    for load in loads:
        yield load, replace(still, rate=load * rate)
    for load in users:
        for retries in (False, True):
            yield load, replace(still, users=round(load * rate * sum(THINK_S) / 2), retries=retries)


@contextmanager
def started(kind: Kind, instances: int, core: int) -> Iterator[list[Server]]:
    """On that core alone."""
    settings = kind.settings.format(workers=kind.size.workers, limit=kind.size.limit)
    with ExitStack() as stack:
        servers = []
        for _ in range(instances):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            log = stack.enter_context((folder / "log").open("w"))
            servers.append(start_server(folder, settings, QUIET, {core}, log))
            stack.callback(servers[-1].kill)
        yield servers


def learn(kind: Kind, care: Care) -> Model:
    """The model of one such instance."""
    with server_core() as core, started(kind, 1, core) as (server,):
        look = partial(observe, server, kind.path, kind.size, album.portrait(), care.seconds / 2)
        observed, _ = care.measure(look)
    return fit(observed)


def compare(
    model: Model, kind: Kind, instances: int, loads: Sequence[float], users: Sequence[float], care: Care
) -> Iterator[Row]:
    """One real instance is asked directly, several through nginx."""
    (_, body), site = album.portrait()[0], Site(instances, kind.size)
    rate = instances * kind.size.workers / (model.mean_s + model.accept_s * kind.size.workers / kind.size.cores)
    with server_core() as core, started(kind, instances, core) as servers, ExitStack() as stack:
        front = servers[0]
        if instances > 1:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            front = stack.enter_context(balanced([server.url for server in servers], site.rule, folder, set()))
        for load, crowd in crowds(rate, loads, users, care.seconds):
            visit = partial(meet, front.url + kind.path, [body], [1.0], crowd, SEED)
            seen, others = care.measure(visit)
            yield Row(instances, kind.name, load, crowd, seen, simulate(model, site, crowd), others)


def verdict(rows: Sequence[Row]) -> int:
    """The exit status."""
    bad = [row for row in rows if not row.good]
    if any(row.others <= QUIET_ENOUGH for row in bad):
        return FAILED
    return INCONCLUSIVE if bad else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.validate")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement, after its warm-up")
    parser.add_argument("--tries", type=int, default=3, help="of each measurement, while other programs disturb it")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to wait for these each time")
    chosen = parser.parse_args(arguments)
    care = Care(chosen.seconds, chosen.tries, chosen.patience)
    models = {kind.name: learn(kind, care) for kind in (REAL, SLEEPING)}
    print(HEAD)
    rows = []
    for instances, kind in CASES:
        for row in compare(models[kind.name], kind, instances, OPEN, CLOSED, care):
            rows.append(row)
            print(row.line(), flush=True)
    print(f"{sum(row.good for row in rows)} of {len(rows)} predictions are as good as promised")
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
