"""Statistics of the last requests (means, rates, alerts) for servers without Prometheus."""

import time
from collections import Counter, deque
from collections.abc import Callable
from statistics import fmean

from faceattr_aio.config.schema import StatsConfig
from faceattr_aio.telemetry.record import RequestRecord

_RECENT_S = 10.0


class RollingStats:
    """The records of the last `settings.window` requests for a pipeline, and totals since the start."""

    def __init__(self, settings: StatsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._records: deque[RequestRecord] = deque(maxlen=settings.window)
        self._totals: Counter[str] = Counter()

    def add(self, record: RequestRecord) -> None:
        """Add a request, unless it was not for a pipeline."""
        if record.pipeline:
            self._records.append(record)
            self._totals[_outcome(record)] += 1

    def find(self, identity: str) -> RequestRecord | None:
        """The latest request with this id in the window."""
        return next((record for record in reversed(self._records) if record.id == identity), None)

    def document(self) -> dict[str, object]:
        """The statistics as plain data.

        `totals` are counted since the start. `window` has the mean seconds and the share of server errors of the
        requests that were not refused, and the mean number of waiting requests. Rates are those of the last 10 s.
        """
        worked = [record for record in self._records if not record.refused]
        measured = {
            "mean_s": fmean([record.seconds for record in worked] or [0.0]),
            "mean_waiting": fmean([record.waiting for record in self._records] or [0]),
            "error_rate": fmean([record.failed for record in worked] or [0.0]),
        }
        bounds = self.settings.alert_s, self.settings.alert_waiting, self.settings.alert_error_rate
        since = self._clock() - _RECENT_S
        recent = [record for record in self._records if record.ended >= since]
        return {
            "totals": {name: self._totals[name] for name in ("answered", "client_errors", "refused", "failed")},
            "window": {"requests": len(self._records), **{name: round(value, 6) for name, value in measured.items()}},
            "requests_per_s": len(recent) / _RECENT_S,
            "refused_per_s": sum(record.refused for record in recent) / _RECENT_S,
            "alerts": [
                {"name": name, "value": round(value, 6), "bound": bound}
                for (name, value), bound in zip(measured.items(), bounds, strict=True)
                if value > bound
            ],
        }


def _outcome(record: RequestRecord) -> str:
    if record.refused:
        return "refused"
    if record.failed:
        return "failed"
    return "answered" if record.status < 400 else "client_errors"  # noqa: PLR2004  # the first status of an error
