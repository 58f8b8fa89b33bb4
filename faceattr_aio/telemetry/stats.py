"""The last requests and what they say of the server: means, rates, and the alerts that they give reason for. For who
has no Prometheus. Knows no HTTP.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from statistics import fmean

from faceattr_aio.config.schema import StatsConfig
from faceattr_aio.telemetry.record import RequestRecord

_RECENT_S = 10.0


class RollingStats:
    """The stories of the last `settings.window` requests for a pipeline."""

    def __init__(self, settings: StatsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._stories: deque[RequestRecord] = deque(maxlen=settings.window)
        self._totals: Counter[str] = Counter()

    def tell(self, story: RequestRecord) -> None:
        """Takes in one request."""
        if story.pipeline:
            self._stories.append(story)
            self._totals[_end(story)] += 1

    def find(self, identity: str) -> RequestRecord | None:
        """The latest request with this id, while it is in the window."""
        return next((story for story in reversed(self._stories) if story.id == identity), None)

    def document(self) -> dict[str, object]:
        """Totals since the start; of the window, seconds on average of what was not refused, requests waiting on
        average, the share that failed through a fault of ours; and the alerts.
        """
        worked = [story for story in self._stories if not story.refused]
        measured = {
            "mean_s": fmean([story.seconds for story in worked] or [0.0]),
            "mean_waiting": fmean([story.waiting for story in self._stories] or [0]),
            "error_rate": fmean([story.failed for story in worked] or [0.0]),
        }
        return {
            "totals": {end: self._totals[end] for end in ("answered", "client_errors", "refused", "failed")},
            "window": {"requests": len(self._stories), **{name: round(value, 6) for name, value in measured.items()}},
            "requests_per_s": self._rate(lambda _: True),
            "refused_per_s": self._rate(lambda story: story.refused),
            "alerts": list(self._alerts(measured)),
        }

    def _rate(self, counts: Callable[[RequestRecord], bool]) -> float:
        """In the last ten seconds."""
        since = self._clock() - _RECENT_S
        return sum(counts(story) for story in self._stories if story.ended >= since) / _RECENT_S

    def _alerts(self, measured: dict[str, float]) -> Iterator[dict[str, object]]:
        bounds = {
            "mean_s": self.settings.alert_s,
            "mean_waiting": self.settings.alert_waiting,
            "error_rate": self.settings.alert_error_rate,
        }
        for name, bound in bounds.items():
            if measured[name] > bound:
                yield {"name": name, "value": round(measured[name], 6), "bound": bound}


def _end(story: RequestRecord) -> str:
    if story.refused:
        return "refused"
    if story.failed:
        return "failed"
    return "answered" if story.status < 400 else "client_errors"  # noqa: PLR2004  # the first status of a failure
