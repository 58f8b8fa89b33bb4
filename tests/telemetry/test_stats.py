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
def window(clock: Clock) -> RollingStats:
    return RollingStats(StatsConfig(window=4), clock)


def story(status: int = 200, seconds: float = 0.5, identity: str = "id", pipeline: str = "faces") -> RequestRecord:
    return RequestRecord(identity, "POST", pipeline=pipeline, status=status, since=100.0 - seconds, seconds=seconds)


def test_before_the_first_request_everything_is_nothing(window: RollingStats) -> None:
    assert window.document() == {
        "totals": {"answered": 0, "client_errors": 0, "refused": 0, "failed": 0},
        "window": {"requests": 0, "mean_s": 0.0, "mean_waiting": 0.0, "error_rate": 0.0},
        "requests_per_s": 0.0,
        "refused_per_s": 0.0,
        "alerts": [],
    }


def test_a_refusal_is_no_error_and_its_speed_does_not_flatter_the_mean(window: RollingStats) -> None:
    for told in (story(200, 0.2), story(503, 0.001), story(429, 0.001), story(500, 0.4)):
        window.tell(told)
    assert window.document()["window"] == {"requests": 4, "mean_s": 0.3, "mean_waiting": 0.0, "error_rate": 0.5}
    assert window.document()["totals"] == {"answered": 1, "client_errors": 0, "refused": 2, "failed": 1}


def test_the_window_forgets_and_the_totals_do_not(window: RollingStats) -> None:
    for number in range(10):
        window.tell(story(422, float(number)))
    document = window.document()
    assert document["window"] == {"requests": 4, "mean_s": 7.5, "mean_waiting": 0.0, "error_rate": 0.0}
    assert document["totals"] == {"answered": 0, "client_errors": 10, "refused": 0, "failed": 0}


def test_what_is_not_for_a_pipeline_is_not_counted(window: RollingStats) -> None:
    window.tell(story(pipeline=""))
    assert window.document()["window"] == {"requests": 0, "mean_s": 0.0, "mean_waiting": 0.0, "error_rate": 0.0}


def test_rates_are_those_of_the_last_ten_seconds(window: RollingStats, clock: Clock) -> None:
    window.tell(story())
    clock.now += 11
    for told in (story(), story(503)):
        told.since = clock.now - 1
        window.tell(told)
    document = window.document()
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
def test_each_bound_has_its_alert_and_only_above_it(
    seconds: float, waits: int, status: int, alerts: list[object], window: RollingStats
) -> None:
    told = story(status, seconds)
    told.waiting = waits
    window.tell(told)
    assert window.document()["alerts"] == alerts


def test_a_request_is_found_by_its_id_while_it_is_in_the_window(window: RollingStats) -> None:
    window.tell(story(identity="first"))
    last = story(identity="last")
    window.tell(last)
    assert window.find("last") is last
    for _ in range(4):
        window.tell(story())
    assert window.find("last") is None
