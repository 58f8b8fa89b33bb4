"""What users do, in simulation and against a real server: how many, how long they think, what they do when refused; and
what came of it. Knows neither.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Crowd:
    """Closed loop: so many users, each of which thinks between `think_s` seconds, evenly, before it asks again. Open:
    with `rate`, so many requests a second instead, at moments of chance. Who is refused asks again after `Retry-After`
    if `retries`, else gives up. What happens in the first `warm_up_s` does not count.
    """

    users: int = 0
    think_s: tuple[float, float] = (1.0, 3.0)
    rate: float = 0.0
    retries: bool = False
    seconds: float = 30.0
    warm_up_s: float = 5.0

    @property
    def end_s(self) -> float:
        return self.warm_up_s + self.seconds

    def arrivals(self, seed: int) -> list[float]:
        """The moments at which open requests begin; a seed gives the same ones again."""
        chance, moments, at = random.Random(seed), [], 0.0
        while self.rate and (at := at + chance.expovariate(self.rate)) < self.end_s:
            moments.append(at)
        return moments

    def user(self, number: int, seed: int) -> Iterator[float]:
        """The pauses of one user, without end: the same ones in every world. The first is a part of one, so that not
        all begin together.
        """
        chance = random.Random(seed + number)
        yield chance.uniform(0, self.think_s[1])
        while True:
            yield chance.uniform(*self.think_s)


@dataclass
class Told:
    """What users saw after the warm-up: seconds of each answered request, of the last attempt (`answers`) and with all
    that was waited before it (`waits`); and how many attempts were refused, given up, or failed.
    """

    crowd: Crowd
    answers: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0

    def counts(self, now: float) -> bool:
        """Whether what ends now is within the time that counts."""
        return self.crowd.warm_up_s <= now < self.crowd.end_s

    def answer(self, now: float, began: float, first: float) -> None:
        if self.counts(now):
            self.answers.append(now - began)
            self.waits.append(now - first)

    def refuse(self, now: float) -> None:
        self.refused += self.counts(now)

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.answers) / self.crowd.seconds

    @property
    def refusal_rate(self) -> float:
        """Of all attempts, 0 to 1."""
        return self.refused / max(1, self.refused + len(self.answers))

    def p99_s(self) -> float:
        return percentile(self.answers, 99)

    def wait_p99_s(self) -> float:
        return percentile(self.waits, 99)


def percentile(seconds: Sequence[float], percent: float) -> float:
    """0 when there is nothing."""
    return float(np.percentile(seconds, percent)) if seconds else 0.0
