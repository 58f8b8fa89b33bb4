"""Finds the smallest number of instances that meets the targets for a number of users, by simulation."""

import math
from dataclasses import dataclass, replace
from itertools import groupby

from bench.stress.instance import Size
from bench.stress.model import Model
from bench.stress.simulation import Autoscaler, Rule, Simulation, Site, simulate
from bench.stress.workload import Result, Workload

SHARE = 16
"""Most instances that are simulated, with their share of the users."""
_REQUESTS = 12_000
_LONGEST_S, _SHORTEST_S = 120.0, 6.0
_PRECISION = 0.01
_FOLLOWED_S = 180.0


@dataclass(frozen=True)
class Demand:
    """Users, each of which thinks within `think_s` seconds between two requests, and their targets: 99 of 100 answers
    within `p99_s`, and at most the share `refused` refused.
    """

    users: int
    think_s: tuple[float, float] = (1.0, 3.0)
    p99_s: float = 0.5
    refused: float = 0.001
    retries: bool = True


class UnreachableError(ValueError):
    """No number of instances meets the targets; the message has the reason."""


@dataclass(frozen=True)
class Plan:
    """A number of instances with the result of `simulated` of them."""

    demand: Demand
    size: Size
    instances: int
    simulated: int
    result: Result

    @property
    def rate(self) -> float:
        """Pictures a second of all instances together."""
        return self.result.throughput * self.instances / self.simulated

    @property
    def cores(self) -> int:
        return math.ceil(self.instances * self.size.cores)

    @property
    def kept(self) -> bool:
        return self.result.p99_s() <= self.demand.p99_s and self.result.refusal_rate <= self.demand.refused

    def cost_per_million(self, core_hour: float) -> float:
        """Cost of a million pictures, in the currency of the price."""
        return self.cores * core_hour / 3600 / self.rate * 1e6


def attempt(model: Model, demand: Demand, size: Size, rule: Rule, instances: int, share: int = SHARE) -> Plan:
    """Simulate a share of that many instances."""
    simulated = min(instances, share)
    users = max(1, round(demand.users * simulated / instances))
    pause = sum(demand.think_s) / 2
    seconds = min(_LONGEST_S, max(_SHORTEST_S, _REQUESTS * (pause + model.mean_s) / users))
    workload = Workload(users, demand.think_s, retries=demand.retries, seconds=seconds, warm_up_s=2 * demand.think_s[1])
    return Plan(demand, size, instances, simulated, simulate(model, Site(simulated, size, rule), workload))


def plan(model: Model, demand: Demand, size: Size, rule: Rule = "least_conn") -> Plan:
    """Search the number of instances, to a precision of 1 %. Raises UnreachableError."""
    _check(model, demand, size, rule)
    pause = sum(demand.think_s) / 2
    least, most = 0, max(1, int(0.8 * demand.users / (pause + model.mean_s) / model.rate(size.workers)))
    while not (best := attempt(model, demand, size, rule, most)).kept:
        if most > demand.users:
            raise UnreachableError("One instance for each user is not enough: relax the targets, or raise the limit.")
        least, most = most, max(most + 1, math.ceil(most * 1.2))
    while most - least > max(1, _PRECISION * most):
        between = attempt(model, demand, size, rule, middle := (least + most) // 2)
        least, most, best = (least, middle, between) if between.kept else (middle, most, best)
    return best


def _check(model: Model, demand: Demand, size: Size, rule: Rule) -> None:
    """Check that one user alone on one instance meets the targets. Raises UnreachableError."""
    alone = attempt(model, replace(demand, users=1), size, rule, 1)
    if not alone.kept:
        raise UnreachableError(
            f"A user alone on an instance has a P99 of {alone.result.p99_s() * 1e3:.0f} ms: no number of instances "
            f"makes it {demand.p99_s * 1e3:.0f} ms. Relax the target, or send smaller pictures."
        )


@dataclass(frozen=True)
class Growth:
    """Growth of the number of instances after users arrived at one moment: its changes with the time, up to `most`, and
    the share of refused requests in `seconds`.
    """

    history: list[tuple[float, int]]
    most: int
    refused: float
    seconds: float = _FOLLOWED_S


def follow(model: Model, planned: Plan, rule: Rule, start_s: float) -> Growth:
    """Simulate the users of a plan with half of its simulated instances; an autoscaler may start up to twice as many as
    planned, each of which answers `start_s` after it was requested.
    """
    demand, most = planned.demand, 2 * planned.simulated
    users = max(1, round(demand.users * planned.simulated / planned.instances))
    workload = Workload(users, demand.think_s, retries=demand.retries, seconds=_FOLLOWED_S, warm_up_s=0.0)
    site = Site(max(1, planned.simulated // 2), planned.size, rule, Autoscaler(most, start_s=start_s))
    simulation = Simulation(model, site, workload)
    result = simulation.run()
    changes = [next(group) for _, group in groupby(simulation.history, key=lambda entry: entry[1])]
    return Growth(changes, most, result.refusal_rate)


def share_matters(model: Model, planned: Plan, rule: Rule) -> float:
    """The largest relative change of throughput or P99 if half or twice as many instances are simulated."""
    found = [
        attempt(model, planned.demand, planned.size, rule, planned.instances, planned.simulated * times // 2)
        for times in (1, 4)
    ]
    return max(
        abs(one / ours - 1)
        for other in found
        for one, ours in ((other.rate, planned.rate), (other.result.p99_s(), planned.result.p99_s()))
    )
