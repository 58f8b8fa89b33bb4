"""The number of users over time, as levels of load one after the other."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

SPECIFIED = (1, 5, 10, 20, 30, 40, 50, 60, 80, 100)
RAMP_PARTS = 10


@dataclass(frozen=True)
class Level:
    """`users` users for `seconds`, of which the first `settle_s` do not count because users still start. With a `rate`,
    they start that many requests a second together, however late the answers.
    """

    users: int
    seconds: float
    settle_s: float = 0.0
    rate: float | None = None

    @property
    def pace_s(self) -> float | None:
        """Seconds from one request of a user to the next of the same user; None if users are not paced."""
        return self.users / self.rate if self.rate else None


def steps(numbers: Sequence[float], seconds: float, settle_s: float, _: float) -> list[Level]:
    """One level after the other."""
    return [Level(round(users), seconds, settle_s) for users in numbers]


def spike(numbers: Sequence[float], seconds: float, settle_s: float, _: float) -> list[Level]:
    """From the first number to the last at once, and back."""
    low, high = round(numbers[0]), round(numbers[-1])
    return [Level(users, seconds, settle_s) for users in (low, high, low)]


def ramp(numbers: Sequence[float], seconds: float, _: float, __: float) -> list[Level]:
    """Evenly from the first number to the last in ten parts, `seconds` each."""
    low, high = numbers[0], numbers[-1]
    shares = [part / (RAMP_PARTS - 1) for part in range(RAMP_PARTS)]
    return [Level(max(1, round(low + (high - low) * share)), seconds) for share in shares]


def rate(numbers: Sequence[float], seconds: float, settle_s: float, patience_s: float) -> list[Level]:
    """A fixed rate, with as many users as are needed if each request takes all of its patience."""
    return [Level(max(1, math.ceil(number * patience_s)), seconds, settle_s, number) for number in numbers]


SHAPES: dict[str, Callable[[Sequence[float], float, float, float], list[Level]]] = {
    "steps": steps,
    "spike": spike,
    "ramp": ramp,
    "rate": rate,
}


class Course:
    """The levels with their times from the start of the load."""

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = list(levels)
        self._ends = list(accumulate(level.seconds for level in levels))

    @property
    def seconds(self) -> float:
        """The duration of all levels."""
        return self._ends[-1] if self._ends else 0.0

    def begin(self, index: int) -> float:
        """The time from which the level counts."""
        return self._ends[index] - self.levels[index].seconds + self.levels[index].settle_s

    def index(self, seconds: float) -> int | None:
        """The level at that time; None after the end."""
        return next((index for index, end in enumerate(self._ends) if seconds < end), None)

    def counting(self, seconds: float) -> int | None:
        """The level that an answer at that time counts for; None while users still start, and after the end."""
        index = self.index(seconds)
        return index if index is not None and seconds >= self.begin(index) else None
