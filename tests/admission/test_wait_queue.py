import asyncio
import threading

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.admission.wait_queue import WaitQueue
from faceattr_aio.errors import Overloaded


async def settle() -> None:
    """Lets everybody go on who can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_waits_gets_the_slot_that_is_freed_in_another_thread() -> None:
    limiter = Limiter(limit=2, workers=1)
    releases = [limiter.acquire(), limiter.acquire()]
    waiting = asyncio.create_task(WaitQueue(limiter).acquire())
    await settle()
    assert not waiting.done()
    thread = threading.Thread(target=releases[0])
    thread.start()
    async with asyncio.timeout(30):
        (await waiting)()
    thread.join()
    assert (limiter.in_flight, limiter.promised) == (1, 0)


async def test_first_come_first_served() -> None:
    limiter, served = Limiter(limit=2, workers=1), list[int]()
    turns = WaitQueue(limiter)

    async def take(number: int) -> None:
        release = await turns.acquire()
        served.append(number)
        release()

    held = limiter.acquire(), limiter.acquire()
    tasks = [asyncio.create_task(take(number)) for number in range(5)]
    await settle()
    held[0]()
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4]
    assert (limiter.in_flight, limiter.promised) == (1, 0)


async def test_newcomers_leave_the_next_slots_to_those_who_wait_up_to_half_of_all() -> None:
    limiter = Limiter(limit=4, workers=1)
    turns, held = WaitQueue(limiter), [limiter.acquire() for _ in range(4)]
    waiting = [asyncio.create_task(turns.acquire()) for _ in range(5)]
    await settle()
    assert limiter.promised == 2
    for release in held[:2]:
        release()
        with pytest.raises(Overloaded):
            limiter.acquire()
        await settle()
    for release in held[2:]:
        release()
        await settle()
        limiter.acquire()
    assert [task.done() for task in waiting] == [True, True, False, False, False]
    assert limiter.in_flight == 4
    for task in waiting:
        task.cancel()


async def test_one_slot_is_enough_for_somebody_who_waits() -> None:
    limiter = Limiter(limit=1, workers=1)
    turns = WaitQueue(limiter)
    release = await turns.acquire()
    following = asyncio.create_task(turns.acquire())
    await settle()
    release()
    (await following)()
    assert limiter.in_flight == 0


async def test_who_waits_no_longer_keeps_nothing() -> None:
    limiter = Limiter(limit=1, workers=1)
    turns, release = WaitQueue(limiter), limiter.acquire()
    waiting = asyncio.create_task(turns.acquire())
    await settle()
    waiting.cancel()
    await settle()
    assert limiter.promised == 0
    release()
    limiter.acquire()()


async def test_a_slot_that_comes_as_somebody_leaves_goes_back() -> None:
    limiter = Limiter(limit=1, workers=1)
    turns, release = WaitQueue(limiter), limiter.acquire()
    leaving, staying = (asyncio.create_task(turns.acquire()) for _ in range(2))
    await settle()
    release()
    turns._serve()  # the slot is given to the first, who has not noticed yet
    leaving.cancel()
    (await staying)()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (limiter.in_flight, limiter.promised) == (0, 0)
