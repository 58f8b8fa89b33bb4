"""The Universal Scalability Law: throughput of n at work, with what they wait for each other (contention) and what they
tell each other (coherence). Knows nothing of what is counted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.optimize import least_squares

Point = tuple[float, float]
"""How many, and their throughput together."""


@dataclass(frozen=True)
class Usl:
    """`rate` is the throughput of one."""

    rate: float
    contention: float = 0.0
    coherence: float = 0.0

    def at(self, n: float) -> float:
        """Throughput of `n`."""
        return self.rate * n * self.efficiency(n)

    def efficiency(self, n: float) -> float:
        """Of what `n` would do if each did as much as one alone, 0 to 1."""
        return 1 / (1 + self.contention * (n - 1) + self.coherence * n * (n - 1))

    @property
    def peak(self) -> float:
        """The number beyond which throughput falls; infinite when it never does."""
        return math.sqrt(max(0.0, 1 - self.contention) / self.coherence) if self.coherence > 0 else math.inf


def fit_usl(points: Sequence[Point]) -> Usl:
    """The curve with the least relative error. Points at fewer than three numbers tell nothing of coherence, and those
    at one nothing of contention: these stay 0. Raises ValueError without points.
    """
    if not points:
        raise ValueError("There is nothing to fit: give at least one point.")
    free = min(3, len({n for n, _ in points}))
    start = [max(rate / n for n, rate in points), 0.01, 0.001][:free]

    def error(parameters: Sequence[float]) -> list[float]:
        usl = Usl(*map(float, parameters))
        return [usl.at(one) / rate - 1 for one, rate in points]

    found = least_squares(error, start, bounds=(0, math.inf), x_scale="jac")
    return Usl(*found.x.tolist())
