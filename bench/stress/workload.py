"""The load that users make, in simulation and against a real server, and the results that they record."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Workload:
    """Closed loop: `users` users, each of which thinks for a uniformly distributed time within `think_s` before each
    request. Open loop: with `rate`, that many requests a second at random moments. A refused user retries after
    `Retry-After` if `retries`, else gives up. Results of the first `warm_up_s` do not count.
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
        """The start times of open-loop requests; the same for the same seed."""
        chance, moments, at = random.Random(seed), [], 0.0
        while self.rate and (at := at + chance.expovariate(self.rate)) < self.end_s:
            moments.append(at)
        return moments

    def user(self, number: int, seed: int) -> Iterator[float]:
        """The pauses of one user, without end; the same for the same seed and number. The first is shorter, so that
        users do not start together.
        """
        chance = random.Random(seed + number)
        yield chance.uniform(0, self.think_s[1])
        while True:
            yield chance.uniform(*self.think_s)


@dataclass
class Result:
    """Results after the warm-up: seconds of each answered request, of its last attempt (`answers`) and including all
    earlier attempts (`waits`); and the numbers of refused and of failed attempts.
    """

    workload: Workload
    answers: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0

    def counts(self, now: float) -> bool:
        """Return whether an event at `now` is after the warm-up and before the end."""
        return self.workload.warm_up_s <= now < self.workload.end_s

    def answer(self, now: float, began: float, first: float) -> None:
        if self.counts(now):
            self.answers.append(now - began)
            self.waits.append(now - first)

    def refuse(self, now: float) -> None:
        self.refused += self.counts(now)

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.answers) / self.workload.seconds

    @property
    def refusal_rate(self) -> float:
        """Share of refused attempts, 0 to 1."""
        return self.refused / max(1, self.refused + len(self.answers))

    def p99_s(self) -> float:
        return percentile(self.answers, 99)

    def wait_p99_s(self) -> float:
        return percentile(self.waits, 99)


def percentile(seconds: Sequence[float], percent: float) -> float:
    """The percentile; 0 without values."""
    return float(np.percentile(seconds, percent)) if seconds else 0.0
