"""The Universal Scalability Law: the throughput of n cores or users, reduced by contention and by coherence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.optimize import least_squares

Point = tuple[float, float]
"""A number, and the throughput at that number."""


@dataclass(frozen=True)
class Usl:
    """`rate` is the throughput of one."""

    rate: float
    contention: float = 0.0
    coherence: float = 0.0

    def at(self, n: float) -> float:
        """Throughput at `n`."""
        return self.rate * n * self.efficiency(n)

    def efficiency(self, n: float) -> float:
        """Throughput at `n` as a share of `n` times that of one, 0 to 1."""
        return 1 / (1 + self.contention * (n - 1) + self.coherence * n * (n - 1))

    @property
    def peak(self) -> float:
        """The number beyond which throughput falls; infinite if there is none."""
        return math.sqrt(max(0.0, 1 - self.contention) / self.coherence) if self.coherence > 0 else math.inf


def fit_usl(points: Sequence[Point]) -> Usl:
    """Fit the curve with the least relative error. Points at fewer than three numbers do not determine coherence, and
    points at one number not contention: these stay 0. Raises ValueError without points.
    """
    if not points:
        raise ValueError("There is nothing to fit: at least one point is needed.")
    free = min(3, len({n for n, _ in points}))
    start = [max(rate / n for n, rate in points), 0.01, 0.001][:free]

    def error(parameters: Sequence[float]) -> list[float]:
        usl = Usl(*map(float, parameters))
        return [usl.at(one) / rate - 1 for one, rate in points]

    found = least_squares(error, start, bounds=(0, math.inf), x_scale="jac")
    return Usl(*found.x.tolist())
