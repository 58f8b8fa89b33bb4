"""One simulated instance: an event loop, workers behind it, and a limit of requests in flight, running and waiting
together, past which it refuses at once. Knows no users and no balancer.
"""

import math
import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from simpy import Environment, Event, Resource

from bench.stress.model import Model

Steps = Generator[Event, Any, None]


@dataclass(frozen=True)
class Size:
    """`cores` are what event loop and workers share; infinite when the work takes no CPU, only time."""

    workers: int
    limit: int
    cores: float


@dataclass
class Answer:
    """What came of one request; `retry_after_s` tells that it was refused."""

    retry_after_s: int = 0


class Instance:
    """`active` is what a balancer has sent and not got back; `busy_s` the seconds that workers have worked."""

    def __init__(self, environment: Environment, model: Model, size: Size, chance: random.Random) -> None:
        self.active = 0
        self.turn = 0
        self.busy_s = 0.0
        self._environment, self._model, self._size, self._chance = environment, model, size, chance
        self._workers = Resource(environment, size.workers)
        self._slowness = 1 / model.cores.efficiency(min(size.workers, size.cores))
        self._shares = [one.share for one in model.pictures]
        self._means = [model.service.mean_s(one) for one in model.pictures]
        self._in_flight = 0
        self._loop_free = 0.0
        self._stolen = 0.0
        self._observed_s = model.mean_s

    def handle(self, answer: Answer) -> Steps:
        """A request from its first byte to its answer."""
        full = self._in_flight >= self._size.limit
        yield self._turn_of_the_loop(self._model.refuse_s if full else self._model.accept_s)
        if full or self._in_flight >= self._size.limit:
            answer.retry_after_s = self._retry_after()
            return
        self._in_flight += 1
        with self._workers.request() as worker:
            yield worker
            yield from self._work()
        self._in_flight -= 1

    def _turn_of_the_loop(self, cpu_s: float) -> Event:
        """The loop does one thing after another, and before any worker on its core."""
        now = self._environment.now
        self._loop_free = max(now, self._loop_free) + cpu_s
        self._stolen += cpu_s / self._size.cores
        return self._environment.timeout(self._loop_free - now)

    def _work(self) -> Steps:
        """As long as the picture takes, and as much longer as the loop takes of the core meanwhile."""
        began, stolen = self._environment.now, self._stolen
        left = self._draw_s()
        while left > 0:
            yield self._environment.timeout(left)
            left, stolen = self._stolen - stolen, self._stolen
        self.busy_s += self._environment.now - began
        self._observed_s += 0.1 * (self._environment.now - began - self._observed_s)

    def _draw_s(self) -> float:
        (mean,) = self._chance.choices(self._means, self._shares)
        return mean * self._chance.choice(self._model.service.ratios) * self._slowness

    def _retry_after(self) -> int:
        """As the server computes it: whole seconds until what is in flight has drained."""
        return max(1, math.ceil(self._in_flight / self._size.workers * self._observed_s))
