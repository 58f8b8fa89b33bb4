import pytest

from faceattr_aio.errors import Draining, Overloaded, RateLimited, StorageUnavailable
from faceattr_aio.jobs.capacity import JobCapacity


def test_there_is_room_for_so_many_and_it_is_given_back() -> None:
    room = JobCapacity(2, 1000)
    releases = [room.take("a", 10) for _ in range(2)]
    for ask in (lambda: room.check("a"), lambda: room.take("a", 1)):
        with pytest.raises(Overloaded, match="2 jobs are in flight"):
            ask()
    releases.pop()()
    room.check("a")
    releases.append(room.take("b", 10))
    for release in releases:
        release()
    assert room.limiter.in_flight == 0


def test_what_has_no_room_for_its_bytes_takes_none_at_all() -> None:
    room = JobCapacity(9, 100)
    release = room.take("a", 60)
    with pytest.raises(StorageUnavailable, match="all the room"):
        room.take("a", 60)
    assert room.limiter.in_flight == 1
    room.take("a", 40)()
    another = room.take("a", 40)
    with pytest.raises(StorageUnavailable):
        room.check("a")  # before the next body is read
    release()
    another()
    room.take("a", 500)()  # alone it always fits


def test_one_client_has_its_share_and_nobody_anything_once_it_drains() -> None:
    room = JobCapacity(4, 1000, 0.5)
    for _ in range(2):
        room.take("a", 1)
    with pytest.raises(RateLimited, match="2 of your jobs"):
        room.check("a")
    room.check("b")
    room.limiter.drain()
    with pytest.raises(Draining):
        room.check("b")


def test_a_refusal_says_when_all_will_be_over_as_the_last_ones_went() -> None:
    room = JobCapacity(3, 1000)
    for _ in range(3):
        room.take("a", 1)
    room.limiter.observe(7.0)
    with pytest.raises(Overloaded) as refused:
        room.check("a")
    assert refused.value.retry_after_s == pytest.approx(21)
