import asyncio
import threading

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.admission.wait_queue import WaitQueue
from faceattr_aio.errors import Overloaded


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_waiter_gets_a_slot_that_is_released_in_another_thread() -> None:
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
    assert (limiter.in_flight, limiter.reserved) == (1, 0)


async def test_first_come_first_served() -> None:
    limiter, served = Limiter(limit=2, workers=1), list[int]()
    queue = WaitQueue(limiter)

    async def take(number: int) -> None:
        release = await queue.acquire()
        served.append(number)
        release()

    held = limiter.acquire(), limiter.acquire()
    tasks = [asyncio.create_task(take(number)) for number in range(5)]
    await settle()
    held[0]()
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4]
    assert (limiter.in_flight, limiter.reserved) == (1, 0)


async def test_the_next_slots_are_reserved_for_waiters_up_to_half_of_all() -> None:
    limiter = Limiter(limit=4, workers=1)
    queue, held = WaitQueue(limiter), [limiter.acquire() for _ in range(4)]
    waiting = [asyncio.create_task(queue.acquire()) for _ in range(5)]
    await settle()
    assert limiter.reserved == 2
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


async def test_a_waiter_may_have_the_only_slot() -> None:
    limiter = Limiter(limit=1, workers=1)
    queue = WaitQueue(limiter)
    release = await queue.acquire()
    following = asyncio.create_task(queue.acquire())
    await settle()
    release()
    (await following)()
    assert limiter.in_flight == 0


async def test_a_waiter_that_is_cancelled_keeps_nothing() -> None:
    limiter = Limiter(limit=1, workers=1)
    queue, release = WaitQueue(limiter), limiter.acquire()
    waiting = asyncio.create_task(queue.acquire())
    await settle()
    waiting.cancel()
    await settle()
    assert limiter.reserved == 0
    release()
    limiter.acquire()()


async def test_a_slot_that_a_waiter_receives_as_it_is_cancelled_is_released() -> None:
    limiter = Limiter(limit=1, workers=1)
    queue, release = WaitQueue(limiter), limiter.acquire()
    leaving, staying = (asyncio.create_task(queue.acquire()) for _ in range(2))
    await settle()
    release()  # the first receives the slot in the next round of the loop ...
    asyncio.get_running_loop().call_soon(leaving.cancel)  # ... and is cancelled before it runs
    (await staying)()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (limiter.in_flight, limiter.reserved) == (0, 0)
