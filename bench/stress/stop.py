"""Decides whether a run ends early because most requests fail, and why."""

from collections import Counter, deque

from bench.stress.answers import Answer

WINDOW_S = 10.0
LEAST_REQUESTS = 20
LEAST_SUCCESS = 0.5
"""Least share of requests that did not fail in the window. A refusal is not a failure: it is an answer in time."""


class Collapse:
    """Observes the requests of the last seconds."""

    def __init__(self, window_s: float = WINDOW_S, least_success: float = LEAST_SUCCESS) -> None:
        self._window_s = window_s
        self._least = least_success
        self._seen: deque[tuple[float, str | None]] = deque()
        self._faults: Counter[str] = Counter()
        self._began: float | None = None

    def add(self, now: float, answer: Answer) -> None:
        """Record an answer at `now`."""
        self._began = now if self._began is None else self._began
        fault = answer.outcome if answer.kind == "failed" else None
        self._seen.append((now, fault))
        if fault:
            self._faults[fault] += 1
        self._forget(now - self._window_s)

    def reason(self, now: float) -> str | None:
        """The reason to stop; None if there is none, or if there are too few requests to decide."""
        self._forget(now - self._window_s)
        failed, seen = self._faults.total(), len(self._seen)
        if self._began is None or now - self._began < self._window_s or seen < LEAST_REQUESTS:
            return None
        if 1 - failed / seen >= self._least:
            return None
        worst, count = self._faults.most_common(1)[0]
        return f"{failed} of the last {seen} requests failed within {self._window_s:g} s, {count} of them: {worst}"

    def _forget(self, before: float) -> None:
        while self._seen and self._seen[0][0] < before:
            _, fault = self._seen.popleft()
            if fault:
                self._faults[fault] -= 1
