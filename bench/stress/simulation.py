"""Many instances behind a balancer, and the users in front of it, simulated event by event. Knows no real server."""

import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from simpy import Environment, Event

from bench.stress.crowd import Crowd, Told
from bench.stress.instance import Answer, Instance, Size, Steps
from bench.stress.model import Model

Rule = Literal["least_conn", "two_choices"]
SEED = 1


@dataclass(frozen=True)
class Autoscaler:
    """Every `period_s`: as many instances as bring workers to `target` of their time, at least one, at most `most`; a
    new one takes its first request `start_s` later. As Kubernetes' HorizontalPodAutoscaler reckons.
    """

    most: int
    target: float = 0.7
    period_s: float = 15.0
    start_s: float = 10.0

    def wanted(self, instances: int, used: float) -> int:
        """`used`: share of their time that workers were at work, 0 to 1."""
        return min(self.most, max(1, -int(-instances * used // self.target)))


@dataclass(frozen=True)
class Site:
    """What serves: so many instances of one size, and how a balancer chooses among them."""

    instances: int
    size: Size
    rule: Rule = "least_conn"
    autoscaler: Autoscaler | None = None


class Simulation:
    """One run. `instances` are those that take requests now; `history` tells how many there were since when."""

    def __init__(self, model: Model, site: Site, crowd: Crowd, seed: int = SEED) -> None:
        self.told = Told(crowd)
        self.instances: list[Instance] = []
        self.history: list[tuple[float, int]] = []
        self._environment, self._chance, self._turns = Environment(), random.Random(seed), 0
        self._model, self._site, self._crowd, self._seed = model, site, crowd, seed
        self._resize(site.instances)

    def run(self) -> Told:
        for at in self._crowd.arrivals(self._seed):
            self._environment.process(self._ask(at))
        for user in range(self._crowd.users):
            self._environment.process(self._live(self._crowd.user(user, self._seed)))
        if self._site.autoscaler:
            self._environment.process(self._scale(self._site.autoscaler))
        self._environment.run(self._crowd.end_s)
        return self.told

    def _live(self, pauses: Iterator[float]) -> Steps:
        for pause in pauses:
            yield from self._ask(pause)

    def _ask(self, after_s: float) -> Steps:
        """One request, and those that follow from it."""
        yield self._environment.timeout(after_s)
        first = self._environment.now
        while pause := (yield from self._attempt(first)):
            if not self._crowd.retries:
                return
            yield self._environment.timeout(pause)

    def _attempt(self, first: float) -> Generator[Event, Any, int]:
        """Gives the seconds after which to ask again, 0 when there was an answer."""
        environment, answer = self._environment, Answer()
        began = environment.now
        yield environment.timeout(self._model.round_trip_s)
        instance = self._choose()
        instance.active += 1
        yield from instance.handle(answer)
        instance.active -= 1
        if answer.retry_after_s:
            self.told.refuse(environment.now)
        else:
            self.told.answer(environment.now, began, first)
        return answer.retry_after_s

    def _choose(self) -> Instance:
        """The one with the fewest requests, of all or of two by chance; among equals the one that waited longest."""
        two = self._site.rule == "two_choices" and len(self.instances) > 1
        chosen = min(
            self._chance.sample(self.instances, 2) if two else self.instances, key=lambda one: (one.active, one.turn)
        )
        self._turns += 1
        chosen.turn = self._turns
        return chosen

    def _resize(self, instances: int) -> None:
        """An instance that is let go finishes what it has."""
        del self.instances[instances:]
        while len(self.instances) < instances:
            self.instances.append(Instance(self._environment, self._model, self._site.size, self._chance))
        self.history.append((self._environment.now, instances))

    def _scale(self, scaler: Autoscaler) -> Steps:
        while True:
            before = sum(one.busy_s for one in self.instances)
            yield self._environment.timeout(scaler.period_s)
            worked = sum(one.busy_s for one in self.instances) - before
            used = worked / (scaler.period_s * self._site.size.workers * len(self.instances))
            wanted = scaler.wanted(len(self.instances), used)
            if wanted > len(self.instances):
                yield self._environment.timeout(scaler.start_s)
            self._resize(wanted)


def simulate(model: Model, site: Site, crowd: Crowd, seed: int = SEED) -> Told:
    """What the users would see."""
    return Simulation(model, site, crowd, seed).run()
