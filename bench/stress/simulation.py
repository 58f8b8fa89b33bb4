"""Simulates users, a balancer and many instances, event by event."""

import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from simpy import Environment, Event

from bench.stress.instance import Answer, SimulatedInstance, Size, Steps
from bench.stress.model import Model
from bench.stress.workload import Result, Workload

Rule = Literal["least_conn", "two_choices"]
SEED = 1


@dataclass(frozen=True)
class Autoscaler:
    """Every `period_s`, sets the number of instances that brings workers to `target` of their time, at least one and at
    most `most`, as Kubernetes' HorizontalPodAutoscaler does. A new instance takes its first request `start_s` later.
    """

    most: int
    target: float = 0.7
    period_s: float = 15.0
    start_s: float = 10.0

    def desired(self, instances: int, used: float) -> int:
        """The number of instances for `used`, the share of their time that workers were busy, 0 to 1."""
        return min(self.most, max(1, -int(-instances * used // self.target)))


@dataclass(frozen=True)
class Site:
    """The instances, and the rule by which a balancer chooses among them."""

    instances: int
    size: Size
    rule: Rule = "least_conn"
    autoscaler: Autoscaler | None = None


class Simulation:
    """One run. `instances` are those that take requests now; `history` has their number at each change."""

    def __init__(self, model: Model, site: Site, workload: Workload, seed: int = SEED) -> None:
        self.result = Result(workload)
        self.instances: list[SimulatedInstance] = []
        self.history: list[tuple[float, int]] = []
        self._environment, self._chance, self._turns = Environment(), random.Random(seed), 0
        self._model, self._site, self._crowd, self._seed = model, site, workload, seed
        self._resize(site.instances)

    def run(self) -> Result:
        for at in self._crowd.arrivals(self._seed):
            self._environment.process(self._ask(at))
        for user in range(self._crowd.users):
            self._environment.process(self._live(self._crowd.user(user, self._seed)))
        if self._site.autoscaler:
            self._environment.process(self._scale(self._site.autoscaler))
        self._environment.run(self._crowd.end_s)
        return self.result

    def _live(self, pauses: Iterator[float]) -> Steps:
        for pause in pauses:
            yield from self._ask(pause)

    def _ask(self, after_s: float) -> Steps:
        """One request with its retries."""
        yield self._environment.timeout(after_s)
        first = self._environment.now
        while pause := (yield from self._attempt(first)):
            if not self._crowd.retries:
                return
            yield self._environment.timeout(pause)

    def _attempt(self, first: float) -> Generator[Event, Any, int]:
        """Return the seconds until the next attempt, or 0 if there was an answer."""
        environment, answer = self._environment, Answer()
        began = environment.now
        yield environment.timeout(self._model.round_trip_s)
        instance = self._choose()
        instance.active += 1
        yield from instance.handle(answer)
        instance.active -= 1
        if answer.retry_after_s:
            self.result.refuse(environment.now)
        else:
            self.result.answer(environment.now, began, first)
        return answer.retry_after_s

    def _choose(self) -> SimulatedInstance:
        """The instance with the fewest requests, of all or of two random ones; among equals, the one that waited
        longest.
        """
        two = self._site.rule == "two_choices" and len(self.instances) > 1
        chosen = min(
            self._chance.sample(self.instances, 2) if two else self.instances, key=lambda one: (one.active, one.turn)
        )
        self._turns += 1
        chosen.turn = self._turns
        return chosen

    def _resize(self, instances: int) -> None:
        """Change the number of instances. A removed instance finishes its requests."""
        del self.instances[instances:]
        while len(self.instances) < instances:
            self.instances.append(SimulatedInstance(self._environment, self._model, self._site.size, self._chance))
        self.history.append((self._environment.now, instances))

    def _scale(self, scaler: Autoscaler) -> Steps:
        while True:
            before = sum(one.busy_s for one in self.instances)
            yield self._environment.timeout(scaler.period_s)
            worked = sum(one.busy_s for one in self.instances) - before
            used = worked / (scaler.period_s * self._site.size.workers * len(self.instances))
            desired = scaler.desired(len(self.instances), used)
            if desired > len(self.instances):
                yield self._environment.timeout(scaler.start_s)
            self._resize(desired)


def simulate(model: Model, site: Site, workload: Workload, seed: int = SEED) -> Result:
    """Run a simulation and return its results."""
    return Simulation(model, site, workload, seed).run()
