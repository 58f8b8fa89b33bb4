import threading

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import DeadlineOutOfReach, Draining, Overloaded


def test_as_many_come_in_as_there_are_slots() -> None:
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


def test_a_slot_released_twice_is_a_bug_that_shows() -> None:
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


def test_a_refusal_says_how_full_it_is_and_when_to_come_back() -> None:
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


def test_a_draining_limiter_lets_nobody_in_but_serves_who_is() -> None:
    limiter = Limiter(limit=2, workers=1)
    release = limiter.acquire()
    limiter.drain()
    with pytest.raises(Draining) as refused:
        limiter.check()
    assert refused.value.members["in_flight"] == 1
    limiter.acquire()()
    release()
    assert limiter.in_flight == 0


def test_before_anything_was_observed_nobody_is_invited_at_once() -> None:
    limiter = Limiter(limit=8, workers=2)
    for _ in range(8):
        limiter.acquire()
    assert limiter.wait_s == pytest.approx(0.4)


def test_a_burst_from_many_threads_never_gets_more_than_the_limit() -> None:
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
        with pytest.raises(DeadlineOutOfReach, match=r"would take about 4 s and is wanted within 2\.1 s") as refused:
            attempt(2.1)
        assert refused.value.retry_after_s == pytest.approx(2.0)
    assert limiter.in_flight == 1


def test_a_higher_limit_lets_more_in_at_once() -> None:
    limiter = Limiter(limit=1, workers=1)
    limiter.acquire()
    with pytest.raises(Overloaded):
        limiter.acquire()
    limiter.limit = 2
    limiter.check()
    limiter.acquire()
    with pytest.raises(Overloaded, match="2 is the limit"):
        limiter.acquire()


def test_a_lower_limit_turns_nobody_out_and_lets_nobody_in_until_there_is_room() -> None:
    limiter = Limiter(limit=3, workers=1)
    releases = [limiter.acquire() for _ in range(3)]
    limiter.limit = 1
    for release in releases[:2]:
        release()
        for attempt in (limiter.check, limiter.acquire):
            with pytest.raises(Overloaded):
                attempt()
    releases[2]()
    limiter.acquire()
    assert limiter.in_flight == 1


def test_with_more_workers_it_drains_sooner() -> None:
    limiter = Limiter(limit=8, workers=1)
    limiter.observe(1.0)
    for _ in range(8):
        limiter.acquire()
    assert (limiter.wait_s, limiter.queue_s) == (8.0, 8.0)
    limiter.workers = 4
    assert (limiter.wait_s, limiter.queue_s) == (2.0, 1.25)
