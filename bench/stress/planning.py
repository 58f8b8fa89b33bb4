"""The smallest number of instances that keeps a promise to so many users, found by simulating. Knows no real server."""

import math
from dataclasses import dataclass, replace
from itertools import groupby

from bench.stress.crowd import Crowd, Told
from bench.stress.instance import Size
from bench.stress.model import Model
from bench.stress.simulation import Autoscaler, Rule, Simulation, Site, simulate

SHARE = 16
"""Instances that are simulated at most, with their share of the users."""
_REQUESTS = 12_000
_LONGEST_S, _SHORTEST_S = 120.0, 6.0
_PRECISION = 0.01
_FOLLOWED_S = 180.0


@dataclass(frozen=True)
class Wish:
    """So many users, of whom each thinks between `think_s` seconds between two requests, and what is promised to them:
    99 of 100 answers within `p99_s`, and at most the share `refused` refused.
    """

    users: int
    think_s: tuple[float, float] = (1.0, 3.0)
    p99_s: float = 0.5
    refused: float = 0.001
    retries: bool = True


class UnreachableError(ValueError):
    """No number of instances keeps the promise; says why."""


@dataclass(frozen=True)
class Plan:
    """`told` is of `simulated` instances of all."""

    wish: Wish
    size: Size
    instances: int
    simulated: int
    told: Told

    @property
    def rate(self) -> float:
        """Pictures a second of all together."""
        return self.told.throughput * self.instances / self.simulated

    @property
    def cores(self) -> int:
        return math.ceil(self.instances * self.size.cores)

    @property
    def kept(self) -> bool:
        return self.told.p99_s() <= self.wish.p99_s and self.told.refusal_rate <= self.wish.refused

    def cost_per_million(self, core_hour: float) -> float:
        """In the currency of the price."""
        return self.cores * core_hour / 3600 / self.rate * 1e6


def attempt(model: Model, wish: Wish, size: Size, rule: Rule, instances: int, share: int = SHARE) -> Plan:
    """What so many instances would do, seen at a share of them."""
    simulated = min(instances, share)
    users = max(1, round(wish.users * simulated / instances))
    pause = sum(wish.think_s) / 2
    seconds = min(_LONGEST_S, max(_SHORTEST_S, _REQUESTS * (pause + model.mean_s) / users))
    crowd = Crowd(users, wish.think_s, retries=wish.retries, seconds=seconds, warm_up_s=2 * wish.think_s[1])
    return Plan(wish, size, instances, simulated, simulate(model, Site(simulated, size, rule), crowd))


def plan(model: Model, wish: Wish, size: Size, rule: Rule = "least_conn") -> Plan:
    """To a hundredth of the instances. Raises UnreachableError."""
    _check(model, wish, size, rule)
    pause = sum(wish.think_s) / 2
    least, most = 0, max(1, int(0.8 * wish.users / (pause + model.mean_s) / model.rate(size.workers)))
    while not (best := attempt(model, wish, size, rule, most)).kept:
        if most > wish.users:
            raise UnreachableError("An instance for each user is not enough: ask for less, or for a larger limit.")
        least, most = most, max(most + 1, math.ceil(most * 1.2))
    while most - least > max(1, _PRECISION * most):
        between = attempt(model, wish, size, rule, middle := (least + most) // 2)
        least, most, best = (least, middle, between) if between.kept else (middle, most, best)
    return best


def _check(model: Model, wish: Wish, size: Size, rule: Rule) -> None:
    """Whether one user alone on one instance gets what is promised."""
    alone = attempt(model, replace(wish, users=1), size, rule, 1)
    if not alone.kept:
        raise UnreachableError(
            f"One user alone waits {alone.told.p99_s() * 1e3:.0f} ms for 99 of 100 answers: no number of instances "
            f"makes it {wish.p99_s * 1e3:.0f} ms. Ask for more, or send smaller pictures."
        )


@dataclass(frozen=True)
class Growth:
    """How instances followed users who came in one moment: how many there were from which second on, up to `most`, and
    the share of requests that was refused in `seconds`.
    """

    history: list[tuple[float, int]]
    most: int
    refused: float
    seconds: float = _FOLLOWED_S


def follow(model: Model, planned: Plan, rule: Rule, start_s: float) -> Growth:
    """The users of a plan meet half of the instances that were simulated for it; an autoscaler may bring twice as many
    as were planned, each of which answers `start_s` after it was asked for.
    """
    wish, most = planned.wish, 2 * planned.simulated
    users = max(1, round(wish.users * planned.simulated / planned.instances))
    crowd = Crowd(users, wish.think_s, retries=wish.retries, seconds=_FOLLOWED_S, warm_up_s=0.0)
    site = Site(max(1, planned.simulated // 2), planned.size, rule, Autoscaler(most, start_s=start_s))
    simulation = Simulation(model, site, crowd)
    told = simulation.run()
    changes = [next(group) for _, group in groupby(simulation.history, key=lambda entry: entry[1])]
    return Growth(changes, most, told.refusal_rate)


def share_matters(model: Model, planned: Plan, rule: Rule) -> float:
    """By how much throughput or P99 change when half as many and twice as many instances are simulated: the largest,
    as a share of what was found.
    """
    found = [
        attempt(model, planned.wish, planned.size, rule, planned.instances, planned.simulated * times // 2)
        for times in (1, 4)
    ]
    return max(
        abs(one / ours - 1)
        for other in found
        for one, ours in ((other.rate, planned.rate), (other.told.p99_s(), planned.told.p99_s()))
    )
