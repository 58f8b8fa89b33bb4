"""How many users there are, and when: levels of load one after the other. Knows no users, and no clock."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

SPECIFIED = (1, 5, 10, 20, 30, 40, 50, 60, 80, 100)
RAMP_PARTS = 10


@dataclass(frozen=True)
class Level:
    """So many users for so many seconds, of which the first `settle_s` do not count: users still arrive. With a `rate`
    they begin so many requests a second together, whether or not answers are quick.
    """

    users: int
    seconds: float
    settle_s: float = 0.0
    rate: float | None = None

    @property
    def pace_s(self) -> float | None:
        """Seconds from one user's request to the same user's next, if they are paced."""
        return self.users / self.rate if self.rate else None


def steps(numbers: Sequence[float], seconds: float, settle_s: float, _: float) -> list[Level]:
    """From level to level."""
    return [Level(round(users), seconds, settle_s) for users in numbers]


def spike(numbers: Sequence[float], seconds: float, settle_s: float, _: float) -> list[Level]:
    """From the first number to the last, suddenly, and back."""
    low, high = round(numbers[0]), round(numbers[-1])
    return [Level(users, seconds, settle_s) for users in (low, high, low)]


def ramp(numbers: Sequence[float], seconds: float, _: float, __: float) -> list[Level]:
    """Evenly from the first number to the last, `seconds` for each of ten parts."""
    low, high = numbers[0], numbers[-1]
    shares = [part / (RAMP_PARTS - 1) for part in range(RAMP_PARTS)]
    return [Level(max(1, round(low + (high - low) * share)), seconds) for share in shares]


def rate(numbers: Sequence[float], seconds: float, settle_s: float, patience_s: float) -> list[Level]:
    """So many requests a second, from as many users as it takes if each waits for all of its patience."""
    return [Level(max(1, math.ceil(number * patience_s)), seconds, settle_s, number) for number in numbers]


SHAPES: dict[str, Callable[[Sequence[float], float, float, float], list[Level]]] = {
    "steps": steps,
    "spike": spike,
    "ramp": ramp,
    "rate": rate,
}


class Course:
    """Levels with their times, from the beginning of the load."""

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = list(levels)
        self._ends = list(accumulate(level.seconds for level in levels))

    @property
    def seconds(self) -> float:
        """Of all of it."""
        return self._ends[-1] if self._ends else 0.0

    def begin(self, index: int) -> float:
        """When that level starts to count."""
        return self._ends[index] - self.levels[index].seconds + self.levels[index].settle_s

    def index(self, seconds: float) -> int | None:
        """The level after so many seconds; none at the end."""
        return next((index for index, end in enumerate(self._ends) if seconds < end), None)

    def counting(self, seconds: float) -> int | None:
        """The level that an answer of this moment counts for; none while users still arrive, and at the end."""
        index = self.index(seconds)
        return index if index is not None and seconds >= self.begin(index) else None
