import threading

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.admission.quotas import Quota
from faceattr_aio.errors import DeadlineExceeded, DeadlineOutOfReach, Draining, Overloaded
from tests.support.gate import PATIENCE_S


def portion(share: float = 0.5, limit: int = 8, workers: int = 2) -> tuple[Limiter, Quota]:
    whole = Limiter(limit, workers)
    return whole, Quota(whole, share, "requests for slow")


@pytest.mark.parametrize(
    ("share", "limit", "workers", "slots", "most"),
    [(0.5, 8, 2, 4, 1), (0.5, 7, 3, 4, 1), (0.01, 8, 2, 1, 1), (0.7, 10, 10, 7, 7), (0.29, 100, 100, 29, 29)],
)
def test_slots_are_rounded_up_and_workers_down_and_there_is_one_of_each(
    share: float, limit: int, workers: int, slots: int, most: int
) -> None:
    _, part = portion(share, limit, workers)
    assert (part.limit, part.workers) == (slots, most)


def test_no_more_come_in_than_the_share_and_all_count_in_the_whole() -> None:
    whole, part = portion()
    releases = [part.acquire() for _ in range(4)]
    for attempt in (part.check, part.acquire):
        with pytest.raises(Overloaded, match="4 requests for slow are in flight and 4 is the limit") as refused:
            attempt()
        assert (refused.value.members["limit"], refused.value.members["in_flight"]) == (4, 4)
    assert (whole.in_flight, part.in_flight) == (4, 4)
    whole.check()
    for release in releases:
        release()
    assert (whole.in_flight, part.in_flight) == (0, 0)


def test_where_the_whole_is_full_a_portion_takes_nothing() -> None:
    whole, part = portion()
    for _ in range(8):
        whole.acquire()
    for attempt in (part.check, part.acquire):
        with pytest.raises(Overloaded, match="8 requests are in flight and 8 is the limit"):
            attempt()
    assert part.in_flight == 0


def test_each_waits_for_its_own_kind_of_work_only() -> None:
    whole, part = portion()
    whole.observe(0.1)
    part.observe(10.0)
    for _ in range(3):
        part.acquire()
    assert (part.queue_s, part.wait_s) == (30.0, 30.0)
    assert (whole.queue_s, whole.wait_s) == (0.0, 0.0)
    whole.check(within_s=0.2)
    whole.acquire(within_s=0.2)
    assert whole.queue_s == pytest.approx(0.1)  # one of the two workers is with the portion
    with pytest.raises(DeadlineOutOfReach):
        part.check(within_s=30)


def test_where_portions_have_all_slots_nobody_is_invited_at_once() -> None:
    whole, part = portion()
    other = Quota(whole, 0.5, "requests for another")
    for one in (part, other):
        for _ in range(4):
            one.acquire()
    with pytest.raises(Overloaded, match="8 is the limit") as refused:
        whole.check()
    assert refused.value.retry_after_s > 0


def test_busy_and_waiting_are_those_of_both() -> None:
    whole, part = portion()
    assert (whole.busy, whole.waiting) == (0, 0)
    for _ in range(4):
        part.acquire()
    assert (whole.busy, whole.waiting) == (1, 3)
    whole.acquire()
    assert (whole.busy, whole.waiting) == (2, 3)
    part.observe(7.0)
    assert whole.longest_queue == 4.0  # four times seven seconds with one worker


def test_a_whole_that_drains_drains_its_portions() -> None:
    whole, part = portion()
    releases = [part.acquire() for _ in range(3)]
    whole.drain()
    with pytest.raises(Draining):
        part.check()
    releases.append(part.acquire())  # who was let in before
    with pytest.raises(Draining):
        part.check()


def test_a_portion_grows_and_shrinks_with_the_whole() -> None:
    whole, part = portion()
    whole.limit, whole.workers = 16, 4
    part.fit()
    assert (part.limit, part.workers) == (8, 2)
    whole.limit, whole.workers = 4, 1
    part.fit()
    assert (part.limit, part.workers) == (2, 1)


def test_as_many_have_their_turn_at_a_time_as_there_are_workers_for_it() -> None:
    _, part = portion()
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with part.turn(PATIENCE_S):
            entered.set()
            leave.wait(PATIENCE_S)

    first = threading.Thread(target=work)
    first.start()
    assert entered.wait(PATIENCE_S)
    with pytest.raises(DeadlineExceeded), part.turn(0.01):
        pass
    entered.clear()
    second = threading.Thread(target=work)
    second.start()
    leave.set()
    assert entered.wait(PATIENCE_S)
    for thread in (first, second):
        thread.join(PATIENCE_S)
    with part.turn(0):
        pass
