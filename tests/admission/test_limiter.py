import threading

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import DeadlineOutOfReach, Draining, Overloaded


def test_as_many_slots_can_be_acquired_as_the_limit() -> None:
    limiter = Limiter(limit=3, workers=1)
    for _ in range(3):
        limiter.acquire()
    with pytest.raises(Overloaded):
        limiter.acquire()
    assert limiter.in_flight == 3


def test_a_released_slot_is_free_again() -> None:
    limiter = Limiter(limit=1, workers=1)
    for _ in range(3):
        limiter.acquire()()
    assert limiter.in_flight == 0


def test_a_slot_that_is_released_twice_raises_an_error() -> None:
    limiter = Limiter(limit=2, workers=1)
    limiter.acquire()
    release = limiter.acquire()
    release()
    with pytest.raises(KeyError):
        release()
    assert limiter.in_flight == 1


def test_checking_takes_no_slot() -> None:
    limiter = Limiter(limit=1, workers=1)
    for _ in range(5):
        limiter.check()
    limiter.acquire()
    with pytest.raises(Overloaded):
        limiter.check()


def test_a_refusal_has_the_limit_the_work_in_flight_and_the_time_to_retry() -> None:
    limiter = Limiter(limit=8, workers=2, what="requests")
    for _ in range(50):
        limiter.observe(1.5)
    for _ in range(8):
        limiter.acquire()
    with pytest.raises(Overloaded) as refused:
        limiter.acquire()
    assert refused.value.retry_after_s == pytest.approx(8 / 2 * 1.5)
    assert refused.value.members["limit"] == 8
    assert refused.value.members["in_flight"] == 8
    retry_after_ms = refused.value.members["retry_after_ms"]
    assert isinstance(retry_after_ms, int)
    assert 0.8 * 6000 <= retry_after_ms <= 1.2 * 6000


def test_the_service_time_follows_what_is_observed() -> None:
    limiter = Limiter(limit=1, workers=1)
    limiter.acquire()
    limiter.observe(1.0)
    assert limiter.wait_s == pytest.approx(1.0)
    for _ in range(100):
        limiter.observe(3.0)
    assert limiter.wait_s == pytest.approx(3.0, rel=0.01)


def test_a_draining_limiter_refuses_newcomers_but_not_admitted_work() -> None:
    limiter = Limiter(limit=2, workers=1)
    release = limiter.acquire()
    limiter.drain()
    with pytest.raises(Draining) as refused:
        limiter.check()
    assert refused.value.members["in_flight"] == 1
    limiter.acquire()()
    release()
    assert limiter.in_flight == 0


def test_before_the_first_observation_the_wait_is_not_zero() -> None:
    limiter = Limiter(limit=8, workers=2)
    for _ in range(8):
        limiter.acquire()
    assert limiter.wait_s == pytest.approx(0.4)


def test_a_burst_from_many_threads_never_exceeds_the_limit() -> None:
    limiter, most, started = Limiter(limit=5, workers=1), [], threading.Barrier(16)

    def rush() -> None:
        started.wait()
        for _ in range(300):
            try:
                release = limiter.acquire()
            except Overloaded:
                continue
            most.append(limiter.in_flight)
            release()

    threads = [threading.Thread(target=rush) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 5
    assert limiter.in_flight == 0
    assert [limiter.acquire() for _ in range(5)]


def test_an_answer_takes_the_work_ahead_and_its_own() -> None:
    limiter = Limiter(limit=8, workers=2)
    for _ in range(100):
        limiter.observe(3.0)
    expected = [3.0, 3.0, 4.5, 6.0, 7.5]
    for seconds in expected:
        assert limiter.answer_s == pytest.approx(seconds)
        limiter.acquire()


def test_a_deadline_that_cannot_be_met_is_refused_at_once_and_takes_no_slot() -> None:
    limiter = Limiter(limit=8, workers=1)
    for _ in range(100):
        limiter.observe(2.0)
    limiter.check(within_s=2.1)
    limiter.acquire(within_s=2.1)
    for attempt in (limiter.check, limiter.acquire):
        with pytest.raises(DeadlineOutOfReach, match=r"would take about 4 s, and the deadline is in 2\.1 s") as refused:
            attempt(2.1)
        assert refused.value.retry_after_s == pytest.approx(2.0)
    assert limiter.in_flight == 1


def test_a_higher_limit_admits_more_at_once() -> None:
    limiter = Limiter(limit=1, workers=1)
    limiter.acquire()
    with pytest.raises(Overloaded):
        limiter.acquire()
    limiter.resize(limit=2, workers=1)
    limiter.check()
    limiter.acquire()
    with pytest.raises(Overloaded, match="2 is the limit"):
        limiter.acquire()


def test_a_lower_limit_keeps_slots_that_are_held_and_admits_no_more_until_some_are_free() -> None:
    limiter = Limiter(limit=3, workers=1)
    releases = [limiter.acquire() for _ in range(3)]
    limiter.resize(limit=1, workers=1)
    for release in releases[:2]:
        release()
        for attempt in (limiter.check, limiter.acquire):
            with pytest.raises(Overloaded):
                attempt()
    releases[2]()
    limiter.acquire()
    assert limiter.in_flight == 1


def test_with_more_workers_the_estimates_are_shorter() -> None:
    limiter = Limiter(limit=8, workers=1)
    limiter.observe(1.0)
    for _ in range(8):
        limiter.acquire()
    assert (limiter.wait_s, limiter.queue_s) == (8.0, 8.0)
    limiter.resize(limit=8, workers=4)
    assert (limiter.wait_s, limiter.queue_s) == (2.0, 1.25)


def test_reserved_slots_are_refused_to_newcomers() -> None:
    limiter = Limiter(limit=2, workers=2)
    limiter.reserved = 1
    limiter.acquire()
    for attempt in (limiter.check, limiter.acquire):
        with pytest.raises(Overloaded):
            attempt()
    idle = [limiter.is_idle]
    release = limiter.acquire(use_reserved=True)
    limiter.reserved = 0
    release()
    idle.append(limiter.is_idle)
    assert idle == [False, True]
    limiter.check()


def test_release_callbacks_are_called_after_each_release() -> None:
    limiter, in_flight = Limiter(limit=2, workers=2), list[int]()
    limiter.on_release(lambda: in_flight.append(limiter.in_flight))
    releases = [limiter.acquire(), limiter.acquire()]
    assert in_flight == []
    for release in releases:
        release()
    assert in_flight == [1, 0]


def test_idle_means_that_a_worker_is_free() -> None:
    limiter = Limiter(limit=8, workers=2)
    idle = []
    for _ in range(3):
        idle.append(limiter.is_idle)
        limiter.acquire()
    assert idle == [True, True, False]
    assert (limiter.busy, limiter.waiting) == (2, 1)
