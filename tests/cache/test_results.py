"""Coalescing and keeping, with work that a test lets go on when it likes."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from faceattr_aio.cache.memory import MemoryCache
from faceattr_aio.cache.results import Results, make_key
from faceattr_aio.errors import DeadlineExceeded, FaceattrError, InternalError, Overloaded, UnreadableImage
from faceattr_aio.pipeline import Outcome, Reply, Task

TASK = Task(Path("a"))


class Worker:
    """Counts what it is asked for; answers once it may."""

    def __init__(self, outcome: Outcome | BaseException | None = None) -> None:
        self.asked: list[int] = []
        self.began, self.may = asyncio.Event(), asyncio.Event()
        self._outcome = outcome

    async def work(self, tasks: Sequence[Task]) -> list[Outcome]:
        self.asked.append(len(tasks))
        self.began.set()
        await self.may.wait()
        if isinstance(self._outcome, BaseException) and not isinstance(self._outcome, FaceattrError):
            raise self._outcome
        return [self._outcome or Reply({"number": number}, None, {"queue": 1.0}) for number in range(len(tasks))]


@pytest.fixture
def results() -> Results:
    return Results(MemoryCache(entries=10, seconds=60))


@pytest.fixture
def worker() -> Worker:
    worker = Worker()
    worker.may.set()
    return worker


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def one(
    results: Results, worker: Worker, key: str | None = "k", deadline: float = math.inf
) -> Awaitable[list[Outcome]]:
    """One picture."""
    return results.get_or_run([TASK], [key], worker.work, deadline)


def sources(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.source for outcome in outcomes if isinstance(outcome, Reply)]


def test_a_key_tells_pictures_options_and_models_apart() -> None:
    keys = {make_key(d, o, f) for d in (b"a" * 32, b"b" * 32) for o in ("{}", "{1}") for f in ("x", "y")}
    assert len(keys) == 8


async def test_what_was_computed_once_is_known(results: Results, worker: Worker) -> None:
    first, second = await one(results, worker), await one(results, worker)
    assert (sources(first), sources(second), worker.asked) == (["miss"], ["hit"], [1])
    assert isinstance(second[0], Reply)
    assert (second[0].result, second[0].laps) == ({"number": 0}, {})


async def test_without_a_key_it_is_computed_each_time(results: Results, worker: Worker) -> None:
    assert sources([*await one(results, worker, None), *await one(results, worker, None)]) == ["bypass"] * 2
    assert worker.asked == [1, 1]


async def test_fifty_who_ask_at_the_same_time_cost_one_computation(results: Results) -> None:
    worker = Worker()
    asking = [asyncio.ensure_future(one(results, worker)) for _ in range(50)]
    await worker.began.wait()
    worker.may.set()
    outcomes = [outcome for answer in await asyncio.gather(*asking) for outcome in answer]
    assert worker.asked == [1]
    assert sorted(sources(outcomes)) == ["collapsed"] * 49 + ["miss"]
    assert not results._flights


@pytest.mark.parametrize("error", [UnreadableImage(), InternalError()])
async def test_a_failure_of_the_picture_is_shared_and_not_kept(results: Results, error: FaceattrError) -> None:
    worker = Worker(error)
    asking = [asyncio.ensure_future(one(results, worker)) for _ in range(3)]
    await worker.began.wait()
    worker.may.set()
    assert await asyncio.gather(*asking) == [[error]] * 3
    assert worker.asked == [1]
    assert await one(results, worker) == [error]
    assert worker.asked == [1, 1]


@pytest.mark.parametrize("failure", [Overloaded("Full."), DeadlineExceeded(), asyncio.CancelledError(), OSError()])
async def test_who_waited_for_what_did_not_come_tries_for_himself(
    results: Results, worker: Worker, failure: Outcome | BaseException
) -> None:
    failing = Worker(failure)
    leader = asyncio.ensure_future(one(results, failing))
    await failing.began.wait()
    follower = asyncio.ensure_future(one(results, worker))
    await asyncio.sleep(0)
    failing.may.set()
    assert sources(await follower) == ["miss"]
    (ended,) = await asyncio.gather(leader, return_exceptions=True)
    assert ended in ([failure], failure) or isinstance(ended, asyncio.CancelledError)


async def test_who_cannot_wait_so_long_is_told_so_and_the_others_get_theirs(results: Results, worker: Worker) -> None:
    slow = Worker()
    leader = asyncio.ensure_future(one(results, slow))
    await slow.began.wait()
    with pytest.raises(DeadlineExceeded):
        await one(results, worker, deadline=time.monotonic() + 0.01)
    slow.may.set()
    assert sources(await leader) == ["miss"]
    assert worker.asked == []


async def test_who_leaves_takes_nothing_from_the_others(results: Results) -> None:
    worker = Worker()
    asking = [asyncio.ensure_future(one(results, worker)) for _ in range(3)]
    await worker.began.wait()
    asking[1].cancel()
    await until(asking[1].done)
    worker.may.set()
    assert [sources(await asking[0]), sources(await asking[2])] == [["miss"], ["collapsed"]]


async def test_of_a_batch_only_what_is_not_known_is_computed(results: Results, worker: Worker) -> None:
    await one(results, worker, "b")
    bad = UnreadableImage()
    outcomes = await results.get_or_run([TASK, TASK, bad, TASK], ["a", "b", None, "a"], worker.work, math.inf)
    assert outcomes[2] is bad
    assert sources(outcomes) == ["miss", "hit", "miss"]
    assert worker.asked == [1, 2]


async def test_a_batch_of_failures_and_known_ones_asks_nobody(results: Results, worker: Worker) -> None:
    await one(results, worker)
    await results.get_or_run([TASK, UnreadableImage()], ["k", None], worker.work, math.inf)
    assert worker.asked == [1]


async def test_two_batches_that_want_each_others_pictures_both_get_them(results: Results) -> None:
    first, second = Worker(), Worker()
    asking = [asyncio.ensure_future(results.get_or_run([TASK] * 2, ["a", "b"], first.work, math.inf))]
    await first.began.wait()
    asking.append(asyncio.ensure_future(results.get_or_run([TASK] * 2, ["b", "c"], second.work, math.inf)))
    await second.began.wait()
    first.may.set()
    second.may.set()
    assert [sources(outcomes) for outcomes in await asyncio.gather(*asking)] == [["miss"] * 2] * 2
    assert not results._flights
