"""One simulated instance: an event loop, its workers, and a limit of requests in flight, running and waiting together.
Requests beyond the limit are refused at once.
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
    """`cores` are shared by event loop and workers; infinite if the work takes time but no CPU."""

    workers: int
    limit: int
    cores: float


@dataclass
class Answer:
    """The outcome of one request; refused if `retry_after_s` is not 0."""

    retry_after_s: int = 0


class SimulatedInstance:
    """`active` is the number of requests that a balancer has sent and not got back; `busy_s` the seconds that its
    workers have worked.
    """

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
        """Simulate a request from its first byte to its answer."""
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
        """The event loop does one thing after another, and takes precedence over a worker on its core."""
        now = self._environment.now
        self._loop_free = max(now, self._loop_free) + cpu_s
        self._stolen += cpu_s / self._size.cores
        return self._environment.timeout(self._loop_free - now)

    def _work(self) -> Steps:
        """Work for the time of the picture, plus the CPU time that the event loop takes from the core meanwhile."""
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
        """The Retry-After of the server: whole seconds until the requests in flight have been processed."""
        return max(1, math.ceil(self._in_flight / self._size.workers * self._observed_s))
