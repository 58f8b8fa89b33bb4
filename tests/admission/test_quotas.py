import pytest

from faceattr_aio.admission.limiter import Limiter, Quota
from faceattr_aio.errors import DeadlineOutOfReach, Draining, Overloaded


def make_quota(share: float = 0.5, limit: int = 8, workers: int = 2) -> tuple[Limiter, Quota]:
    parent = Limiter(limit, workers)
    return parent, Quota(parent, share, "requests for slow")


@pytest.mark.parametrize(
    ("share", "limit", "workers", "slots", "most"),
    [(0.5, 8, 2, 4, 1), (0.5, 7, 3, 4, 1), (0.01, 8, 2, 1, 1), (0.7, 10, 10, 7, 7), (0.29, 100, 100, 29, 29)],
)
def test_slots_are_rounded_up_and_workers_down_and_there_is_one_of_each(
    share: float, limit: int, workers: int, slots: int, most: int
) -> None:
    _, quota = make_quota(share, limit, workers)
    assert (quota.limit, quota.workers) == (slots, most)


def test_no_more_than_the_share_is_admitted_and_all_count_in_the_parent() -> None:
    parent, quota = make_quota()
    releases = [quota.acquire() for _ in range(4)]
    for attempt in (quota.check, quota.acquire):
        with pytest.raises(Overloaded, match="4 requests for slow are in flight and 4 is the limit") as refused:
            attempt()
        assert (refused.value.members["limit"], refused.value.members["in_flight"]) == (4, 4)
    assert (parent.in_flight, quota.in_flight) == (4, 4)
    parent.check()
    for release in releases:
        release()
    assert (parent.in_flight, quota.in_flight) == (0, 0)


def test_when_the_parent_is_full_a_quota_admits_nothing() -> None:
    parent, quota = make_quota()
    for _ in range(8):
        parent.acquire()
    for attempt in (quota.check, quota.acquire):
        with pytest.raises(Overloaded, match="8 requests are in flight and 8 is the limit"):
            attempt()
    assert quota.in_flight == 0


def test_the_estimates_count_only_the_work_of_the_same_queue() -> None:
    parent, quota = make_quota()
    parent.observe(0.1)
    quota.observe(10.0)
    for _ in range(3):
        quota.acquire()
    assert (quota.queue_s, quota.wait_s) == (30.0, 30.0)
    assert (parent.queue_s, parent.wait_s) == (0.0, 0.0)
    parent.check(within_s=0.2)
    parent.acquire(within_s=0.2)
    assert parent.queue_s == pytest.approx(0.1)  # the quota uses one of the two workers
    with pytest.raises(DeadlineOutOfReach):
        quota.check(within_s=30)


def test_when_quotas_hold_all_slots_the_time_to_retry_is_not_zero() -> None:
    parent, quota = make_quota()
    other = Quota(parent, 0.5, "requests for another")
    for one in (quota, other):
        for _ in range(4):
            one.acquire()
    with pytest.raises(Overloaded, match="8 is the limit") as refused:
        parent.check()
    assert refused.value.retry_after_s > 0


def test_busy_and_waiting_of_the_parent_include_the_quota() -> None:
    parent, quota = make_quota()
    assert (parent.busy, parent.waiting) == (0, 0)
    for _ in range(4):
        quota.acquire()
    assert (parent.busy, parent.waiting) == (1, 3)
    parent.acquire()
    assert (parent.busy, parent.waiting) == (2, 3)
    quota.observe(7.0)
    assert quota.queue_s == 28.0  # four times seven seconds with one worker


def test_draining_the_parent_drains_its_quotas() -> None:
    parent, quota = make_quota()
    releases = [quota.acquire() for _ in range(3)]
    parent.drain()
    with pytest.raises(Draining):
        quota.check()
    releases.append(quota.acquire())  # for work that was admitted before
    with pytest.raises(Draining):
        quota.check()


def test_a_quota_grows_and_shrinks_with_the_parent() -> None:
    parent, quota = make_quota()
    parent.resize(limit=16, workers=4)
    assert (quota.limit, quota.workers) == (8, 2)
    parent.resize(limit=4, workers=1)
    assert (quota.limit, quota.workers) == (2, 1)


def test_a_release_of_either_wakes_those_who_wait_for_the_quota() -> None:
    parent, quota = make_quota()
    released = list[str]()
    parent.on_release(lambda: released.append("parent"))
    quota.on_release(lambda: released.append("quota"))
    parent.acquire()()
    assert sorted(released) == ["parent", "quota"]
    quota.acquire()()
    assert released.count("parent") == 2
    assert released.count("quota") >= 2


def test_a_quota_is_idle_when_it_and_the_parent_have_a_free_worker() -> None:
    parent, quota = make_quota()
    assert quota.is_idle
    release = quota.acquire()
    assert (quota.is_idle, parent.is_idle) == (False, True)
    release()
    for _ in range(2):
        parent.acquire()
    assert not quota.is_idle
