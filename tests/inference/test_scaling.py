from faceattr_aio.inference.scaling import Mean, Scaling

STEP_S = 0.25


class Load:
    """A scaling between 1 and 4 workers, looked at every quarter of a second."""

    def __init__(self, workers: int) -> None:
        self.now = 0.0
        self.workers = workers
        self.scaling = Scaling(1, 4, up_s=2.0, down_s=30.0, clock=lambda: self.now)

    def last(self, seconds: float, busy: float, wait: float) -> list[tuple[float, int]]:
        """With so many workers busy: when the number changed, and to what."""
        changes = []
        for _ in range(round(seconds / STEP_S)):
            self.now += STEP_S
            change = self.scaling.look(self.workers, busy, wait)  # type: ignore[arg-type]  # on average
            self.workers += change
            if change:
                changes.append((self.now, self.workers))
        return changes


def test_a_mean_is_known_once_it_was_looked_long_enough() -> None:
    mean = Mean(2.0)
    assert [mean.add(float(now), float(now)) for now in range(5)] == [None, None, 1.0, 2.0, 3.0]
    mean.forget()
    assert mean.add(5.0, 5.0) is None


def test_while_requests_wait_longer_than_they_take_a_worker_is_added_every_two_seconds_up_to_the_most() -> None:
    assert Load(1).last(20, busy=1, wait=1.5) == [(2.25, 2), (4.5, 3), (6.75, 4)]


def test_a_burst_that_is_over_soon_adds_none() -> None:
    load = Load(1)
    assert load.last(0.5, busy=1, wait=3) == []
    assert load.last(20, busy=1, wait=0.3) == []


def test_with_little_to_do_a_worker_is_taken_away_every_thirty_seconds_down_to_the_fewest() -> None:
    assert Load(4).last(150, busy=0, wait=0) == [(30.25, 3), (60.5, 2), (90.75, 1)]


def test_a_pause_in_the_work_takes_none_away() -> None:
    load = Load(4)
    assert load.last(25, busy=4, wait=0.5) == []
    assert load.last(10, busy=0, wait=0) == []
    assert load.last(10, busy=4, wait=0.5) == []


def test_a_steady_load_does_not_go_up_and_down() -> None:
    """With as much to do as makes it grow, what was added has enough to do to stay."""
    load = Load(1)
    assert [workers for _, workers in load.last(10, busy=1, wait=1.2)] == [2, 3, 4]
    load = Load(2)
    assert load.last(300, busy=0.6, wait=0.2) == []


def test_a_fixed_number_never_changes() -> None:
    now = iter(range(1000))
    scaling = Scaling(2, 2, clock=lambda: float(next(now)))
    assert {scaling.look(2, 2, 9.0) for _ in range(100)} == {0}
    assert {scaling.look(2, 0, 0.0) for _ in range(100)} == {0}
