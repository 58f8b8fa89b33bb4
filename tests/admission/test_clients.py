import threading
from typing import Any

import pytest

from faceattr_aio.admission.clients import ClientConcurrency, ClientLimits, RateLimiter
from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import RateLimited

SECOND = 10**9


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_ns(rate: RateLimiter, client: str = "a") -> int:
    """Return the wait in ns; 0 when the client may make a request now."""
    try:
        rate.check(client)
    except RateLimited as refused:
        return round(refused.retry_after_s * SECOND)
    return 0


def spend(rate: RateLimiter, client: str = "a") -> int:
    """Make requests until one is refused and return their number."""
    made = 0
    while not wait_ns(rate, client):
        rate.count(client)
        made += 1
    return made


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1000])
def test_a_minutes_worth_may_come_at_once_and_then_as_many_a_minute(per_minute: int, clock: Clock) -> None:
    rate = RateLimiter(per_minute, clock)
    made = [spend(rate)]
    for _ in range(600):
        clock.now += SECOND
        made.append(spend(rate))
    assert made[0] == per_minute
    assert sum(made[1:]) in {10 * per_minute - 1, 10 * per_minute}


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1000])
def test_a_client_that_retries_on_time_is_admitted_and_a_nanosecond_earlier_is_not(
    per_minute: int, clock: Clock
) -> None:
    rate = RateLimiter(per_minute, clock)
    spend(rate)
    clock.now += 123_456
    wait = wait_ns(rate)
    assert 0 < wait <= -(-60 * SECOND // per_minute)
    clock.now += wait - 1
    assert wait_ns(rate) == 1
    clock.now += 1
    assert spend(rate) == 1


def test_the_time_to_retry_is_exact_to_the_millisecond_and_never_too_short(clock: Clock) -> None:
    rate = RateLimiter(60, clock)
    spend(rate)
    clock.now += 100
    with pytest.raises(RateLimited, match=r"60 requests a minute; try again in 1\.0 s") as refused:
        rate.check("a")
    assert refused.value.members == {"retry_after_ms": 1000}


def test_refused_requests_do_not_count_so_a_client_that_retries_all_the_time_is_admitted_at_its_rate(
    clock: Clock,
) -> None:
    rate = RateLimiter(60, clock)
    spend(rate)
    admitted = 0
    for _ in range(10_000):  # 100 a second
        clock.now += SECOND // 100
        if not wait_ns(rate):
            rate.count("a")
            admitted += 1
        else:
            with pytest.raises(RateLimited):
                rate.count("a")
    assert admitted == 100


def test_checking_counts_nothing(clock: Clock) -> None:
    rate = RateLimiter(2, clock)
    for _ in range(5):
        rate.check("a")
    assert spend(rate) == 2


def test_a_client_above_its_rate_does_not_affect_another(clock: Clock) -> None:
    rate = RateLimiter(3, clock)
    assert (spend(rate, "a"), spend(rate, "b"), spend(rate, "a")) == (3, 3, 0)


@pytest.mark.parametrize("step_ns", [0, 1_000, SECOND])
def test_however_many_clients_there_are_no_more_than_4096_are_remembered(step_ns: int, clock: Clock) -> None:
    rate = RateLimiter(1, clock)
    for number in range(50_000):
        clock.now += step_ns
        rate.count(f"client {number}")
        assert len(rate._recovered) <= 4096


def test_a_client_that_exceeds_its_rate_is_not_forgotten_because_of_many_others(clock: Clock) -> None:
    rate = RateLimiter(10, clock)
    spend(rate, "greedy")
    for number in range(50_000):
        rate.count(f"client {number}")
    assert wait_ns(rate, "greedy")


def test_a_client_that_has_recovered_is_forgotten_first(clock: Clock) -> None:
    rate = RateLimiter(60, clock)
    for number in range(4096):
        rate.count(f"early {number}")
    clock.now += SECOND
    rate.count("late")
    assert list(rate._recovered) == ["late"]


def share(most: float, what: str = "requests are in progress") -> ClientConcurrency:
    return ClientConcurrency(Limiter(8, 1), most / 8, what)


def test_each_client_has_its_own_share() -> None:
    slots = share(most=2)
    releases = [slots.acquire("a"), slots.acquire("a")]
    for refuse in (slots.check, slots.acquire):
        with pytest.raises(RateLimited, match="2 of your requests are in progress"):
            refuse("a")
    slots.check("b")
    slots.acquire("b")()
    releases.pop()()
    slots.check("a")
    slots.acquire("a")()
    releases.pop()()
    assert slots._held == {}


def test_a_slot_that_is_released_twice_raises_an_error() -> None:
    slots = share(most=2)
    first, second = slots.acquire("a"), slots.acquire("a")
    first()
    with pytest.raises(KeyError):
        first()
    second()
    other = slots.acquire("a")
    with pytest.raises(KeyError):
        second()
    other()
    assert slots._held == {}


def test_a_client_above_its_share_may_retry_when_the_work_in_flight_has_finished() -> None:
    limiter = Limiter(8, 2)
    limiter.observe(3.0)
    slots = ClientConcurrency(limiter, 1 / 8, "requests are in progress")
    slots.acquire("a")
    for _ in range(4):
        limiter.acquire()
    with pytest.raises(RateLimited) as refused:
        slots.check("a")
    assert refused.value.retry_after_s == pytest.approx(6.0)
    assert refused.value.members == {"retry_after_ms": 6000}


def test_held_slots_are_read_and_changed_under_the_lock_only(monkeypatch: pytest.MonkeyPatch) -> None:
    slots, locked = share(most=1), []

    class Watched(dict[str, set[object]]):
        def setdefault(self, *entry: Any) -> Any:
            locked.append(slots._lock.locked())
            return super().setdefault(*entry)

        def __delitem__(self, client: str) -> None:
            locked.append(slots._lock.locked())
            super().__delitem__(client)

    monkeypatch.setattr(slots, "check", lambda _: locked.append(slots._lock.locked()))
    slots._held = Watched()
    slots.acquire("a")()
    assert locked == [True, True, True]


def test_a_burst_from_many_threads_never_exceeds_the_share() -> None:
    slots, seen, started = share(most=3), [], threading.Barrier(12)

    def rush(client: str) -> None:
        started.wait()
        for _ in range(300):
            try:
                release = slots.acquire(client)
            except RateLimited:
                continue
            seen.append(len(slots._held[client]))
            release()

    threads = [threading.Thread(target=rush, args=("ab"[number % 2],)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(seen) <= 3
    assert slots._held == {}


async def test_a_request_counts_once_for_the_rate_and_its_upload_as_long_as_it_lasts_for_the_share(
    clock: Clock,
) -> None:
    uploads = share(most=1, what="uploads are in progress")
    limits = ClientLimits(share(2), uploads, RateLimiter(2, clock))
    await limits.count("a")
    with limits.upload("a"):
        with pytest.raises(RateLimited, match="1 of your uploads"):
            limits.check("a")
        limits.check("b")
    await limits.count("a")
    with pytest.raises(ZeroDivisionError), limits.upload("a"):
        raise ZeroDivisionError
    assert uploads._held == {}
    with pytest.raises(RateLimited, match="2 requests a minute"):
        limits.check("a")
    with pytest.raises(RateLimited, match="2 requests a minute"):
        await limits.count("a")


async def test_requests_are_counted_for_all_servers_too_when_there_is_a_rate() -> None:
    counted = []

    async def count(client: str, per_minute: int) -> None:
        counted.append((client, per_minute))

    limits = ClientLimits(share(1), share(1), None, count)
    await limits.count("a")
    limits.change(1.0, 30)
    await limits.count("a")
    assert counted == [("a", 30)]


def test_a_client_above_its_share_of_slots_is_refused_before_its_upload() -> None:
    limits = ClientLimits(share(most=1), share(most=1), None)
    release = limits.slots.acquire("a")
    with pytest.raises(RateLimited):
        limits.check("a")
    limits.check("b")
    release()
    limits.check("a")


def test_a_share_follows_the_limit() -> None:
    limiter = Limiter(2, 1)
    slots = ClientConcurrency(limiter, 0.5, "requests are in progress")
    release = slots.acquire("a")
    with pytest.raises(RateLimited, match="1 of your"):
        slots.acquire("a")
    limiter.resize(limit=5, workers=1)
    slots.acquire("a")
    slots.acquire("a")
    with pytest.raises(RateLimited, match="3 of your"):
        slots.acquire("a")
    release()


async def test_changed_limits_hold_from_now_on_and_slots_that_are_held_still_count() -> None:
    limits = ClientLimits(share(most=8), share(most=8), None)
    limits.slots.acquire("a")
    limits.change(1 / 8, 1)
    with pytest.raises(RateLimited, match="1 of your"):
        limits.check("a")
    await limits.count("b")
    limits.change(1 / 8, 1)
    with pytest.raises(RateLimited, match="1 requests a minute"):  # the same rate remembers
        limits.check("b")
    limits.change(1.0, None)
    limits.check("a")
    limits.check("b")
