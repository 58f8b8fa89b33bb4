import pytest

from faceattr_aio.config.schema import StatsConfig
from faceattr_aio.telemetry.record import RequestRecord
from faceattr_aio.telemetry.stats import RollingStats


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stats(clock: Clock) -> RollingStats:
    return RollingStats(StatsConfig(window=4), clock)


def request(status: int = 200, seconds: float = 0.5, identity: str = "id", pipeline: str = "faces") -> RequestRecord:
    return RequestRecord(identity, "POST", pipeline=pipeline, status=status, since=100.0 - seconds, seconds=seconds)


def test_everything_is_zero_before_the_first_request(stats: RollingStats) -> None:
    assert stats.document() == {
        "totals": {"answered": 0, "client_errors": 0, "refused": 0, "failed": 0},
        "window": {"requests": 0, "mean_s": 0.0, "mean_waiting": 0.0, "error_rate": 0.0},
        "requests_per_s": 0.0,
        "refused_per_s": 0.0,
        "alerts": [],
    }


def test_refusals_count_as_neither_errors_nor_in_the_mean(stats: RollingStats) -> None:
    for record in (request(200, 0.2), request(503, 0.001), request(429, 0.001), request(500, 0.4)):
        stats.add(record)
    assert stats.document()["window"] == {"requests": 4, "mean_s": 0.3, "mean_waiting": 0.0, "error_rate": 0.5}
    assert stats.document()["totals"] == {"answered": 1, "client_errors": 0, "refused": 2, "failed": 1}


def test_the_window_is_bounded_and_the_totals_are_not(stats: RollingStats) -> None:
    for number in range(10):
        stats.add(request(422, float(number)))
    document = stats.document()
    assert document["window"] == {"requests": 4, "mean_s": 7.5, "mean_waiting": 0.0, "error_rate": 0.0}
    assert document["totals"] == {"answered": 0, "client_errors": 10, "refused": 0, "failed": 0}


def test_requests_without_a_pipeline_are_not_counted(stats: RollingStats) -> None:
    stats.add(request(pipeline=""))
    assert stats.document()["window"] == {"requests": 0, "mean_s": 0.0, "mean_waiting": 0.0, "error_rate": 0.0}


def test_rates_cover_the_last_ten_seconds(stats: RollingStats, clock: Clock) -> None:
    stats.add(request())
    clock.now += 11
    for record in (request(), request(503)):
        record.since = clock.now - 1
        stats.add(record)
    document = stats.document()
    assert (document["requests_per_s"], document["refused_per_s"]) == (0.2, 0.1)


@pytest.mark.parametrize(
    ("seconds", "waits", "status", "alerts"),
    [
        (1.0, 20, 200, []),
        (1.5, 0, 200, [{"name": "mean_s", "value": 1.5, "bound": 1.0}]),
        (0.1, 21, 200, [{"name": "mean_waiting", "value": 21, "bound": 20.0}]),
        (0.1, 0, 500, [{"name": "error_rate", "value": 1.0, "bound": 0.05}]),
    ],
)
def test_an_alert_is_raised_above_its_bound(
    seconds: float, waits: int, status: int, alerts: list[object], stats: RollingStats
) -> None:
    record = request(status, seconds)
    record.waiting = waits
    stats.add(record)
    assert stats.document()["alerts"] == alerts


def test_finds_a_request_in_the_window_by_its_id(stats: RollingStats) -> None:
    stats.add(request(identity="first"))
    last = request(identity="last")
    stats.add(last)
    assert stats.find("last") is last
    for _ in range(4):
        stats.add(request())
    assert stats.find("last") is None
