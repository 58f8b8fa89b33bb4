import pytest

from faceattr_aio.errors import Draining, Overloaded, RateLimited, StorageUnavailable
from faceattr_aio.jobs.capacity import JobCapacity


def test_capacity_is_limited_and_released() -> None:
    capacity = JobCapacity(2, 1000)
    releases = [capacity.acquire("a", 10) for _ in range(2)]
    for attempt in (lambda: capacity.check("a"), lambda: capacity.acquire("a", 1)):
        with pytest.raises(Overloaded, match="2 jobs are in flight"):
            attempt()
    releases.pop()()
    capacity.check("a")
    releases.append(capacity.acquire("b", 10))
    for release in releases:
        release()
    assert capacity.limiter.in_flight == 0


def test_a_job_that_exceeds_the_bytes_acquires_nothing() -> None:
    capacity = JobCapacity(9, 100)
    release = capacity.acquire("a", 60)
    with pytest.raises(StorageUnavailable, match="all the space"):
        capacity.acquire("a", 60)
    assert capacity.limiter.in_flight == 1
    capacity.acquire("a", 40)()
    another = capacity.acquire("a", 40)
    with pytest.raises(StorageUnavailable):
        capacity.check("a")  # before the next body is read
    release()
    another()
    capacity.acquire("a", 500)()  # any size when there is no other job


def test_one_client_is_limited_to_its_share_and_draining_refuses_all() -> None:
    capacity = JobCapacity(4, 1000, 0.5)
    for _ in range(2):
        capacity.acquire("a", 1)
    with pytest.raises(RateLimited, match="2 of your jobs"):
        capacity.check("a")
    capacity.check("b")
    capacity.limiter.drain()
    with pytest.raises(Draining):
        capacity.check("b")


def test_a_changed_share_applies_to_the_next_job() -> None:
    capacity = JobCapacity(4, 1000, 0.5)
    releases = [capacity.acquire("a", 1) for _ in range(2)]
    capacity.change_share(1.0)
    releases.append(capacity.acquire("a", 1))
    for release in releases:
        release()


def test_a_refusal_gives_the_time_until_all_jobs_will_have_ended() -> None:
    capacity = JobCapacity(3, 1000)
    for _ in range(3):
        capacity.acquire("a", 1)
    capacity.limiter.observe(7.0)
    with pytest.raises(Overloaded) as refused:
        capacity.check("a")
    assert refused.value.retry_after_s == pytest.approx(21)
