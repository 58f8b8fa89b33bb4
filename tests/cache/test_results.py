"""Single flight and caching, with work that waits until the test lets it finish."""

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


class StubWorker:
    """Counts the tasks of each call; returns or raises the outcome once `resume` is set."""

    def __init__(self, outcome: Outcome | BaseException | None = None) -> None:
        self.calls: list[int] = []
        self.began, self.resume = asyncio.Event(), asyncio.Event()
        self._outcome = outcome

    async def work(self, tasks: Sequence[Task]) -> list[Outcome]:
        self.calls.append(len(tasks))
        self.began.set()
        await self.resume.wait()
        if isinstance(self._outcome, BaseException) and not isinstance(self._outcome, FaceattrError):
            raise self._outcome
        return [self._outcome or Reply({"number": number}, None, {"queue": 1.0}) for number in range(len(tasks))]


@pytest.fixture
def results() -> Results:
    return Results(MemoryCache(entries=10, seconds=60))


@pytest.fixture
def worker() -> StubWorker:
    worker = StubWorker()
    worker.resume.set()
    return worker


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def run_one(
    results: Results, worker: StubWorker, key: str | None = "k", deadline: float = math.inf
) -> Awaitable[list[Outcome]]:
    """Get or compute the result of one picture."""
    return results.get_or_run([TASK], [key], worker.work, deadline)


def sources(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.source for outcome in outcomes if isinstance(outcome, Reply)]


def test_a_key_depends_on_picture_options_and_models() -> None:
    keys = {make_key(d, o, f) for d in (b"a" * 32, b"b" * 32) for o in ("{}", "{1}") for f in ("x", "y")}
    assert len(keys) == 8


async def test_a_computed_result_is_cached(results: Results, worker: StubWorker) -> None:
    first, second = await run_one(results, worker), await run_one(results, worker)
    assert (sources(first), sources(second), worker.calls) == (["miss"], ["hit"], [1])
    assert isinstance(second[0], Reply)
    assert (second[0].result, second[0].laps) == ({"number": 0}, {})


async def test_a_picture_without_a_key_is_computed_each_time(results: Results, worker: StubWorker) -> None:
    assert sources([*await run_one(results, worker, None), *await run_one(results, worker, None)]) == ["bypass"] * 2
    assert worker.calls == [1, 1]


async def test_fifty_concurrent_requests_cost_one_computation(results: Results) -> None:
    worker = StubWorker()
    requests = [asyncio.ensure_future(run_one(results, worker)) for _ in range(50)]
    await worker.began.wait()
    worker.resume.set()
    outcomes = [outcome for answer in await asyncio.gather(*requests) for outcome in answer]
    assert worker.calls == [1]
    assert sorted(sources(outcomes)) == ["collapsed"] * 49 + ["miss"]
    assert not results._flights


@pytest.mark.parametrize("error", [UnreadableImage(), InternalError()])
async def test_a_failure_of_the_picture_is_shared_and_not_cached(results: Results, error: FaceattrError) -> None:
    worker = StubWorker(error)
    requests = [asyncio.ensure_future(run_one(results, worker)) for _ in range(3)]
    await worker.began.wait()
    worker.resume.set()
    assert await asyncio.gather(*requests) == [[error]] * 3
    assert worker.calls == [1]
    assert await run_one(results, worker) == [error]
    assert worker.calls == [1, 1]


@pytest.mark.parametrize("failure", [Overloaded("Full."), DeadlineExceeded(), asyncio.CancelledError(), OSError()])
async def test_a_waiting_request_computes_when_nothing_is_shared(
    results: Results, worker: StubWorker, failure: Outcome | BaseException
) -> None:
    failing = StubWorker(failure)
    leader = asyncio.ensure_future(run_one(results, failing))
    await failing.began.wait()
    follower = asyncio.ensure_future(run_one(results, worker))
    await asyncio.sleep(0)
    failing.resume.set()
    assert sources(await follower) == ["miss"]
    (ended,) = await asyncio.gather(leader, return_exceptions=True)
    assert ended in ([failure], failure) or isinstance(ended, asyncio.CancelledError)


async def test_a_waiting_request_ends_at_its_deadline_without_the_others(results: Results, worker: StubWorker) -> None:
    slow = StubWorker()
    leader = asyncio.ensure_future(run_one(results, slow))
    await slow.began.wait()
    with pytest.raises(DeadlineExceeded):
        await run_one(results, worker, deadline=time.monotonic() + 0.01)
    slow.resume.set()
    assert sources(await leader) == ["miss"]
    assert worker.calls == []


async def test_a_cancelled_request_does_not_affect_the_others(results: Results) -> None:
    worker = StubWorker()
    requests = [asyncio.ensure_future(run_one(results, worker)) for _ in range(3)]
    await worker.began.wait()
    requests[1].cancel()
    await until(requests[1].done)
    worker.resume.set()
    assert [sources(await requests[0]), sources(await requests[2])] == [["miss"], ["collapsed"]]


async def test_computes_only_the_uncached_pictures_of_a_batch(results: Results, worker: StubWorker) -> None:
    await run_one(results, worker, "b")
    bad = UnreadableImage()
    outcomes = await results.get_or_run([TASK, TASK, bad, TASK], ["a", "b", None, "a"], worker.work, math.inf)
    assert outcomes[2] is bad
    assert sources(outcomes) == ["miss", "hit", "miss"]
    assert worker.calls == [1, 2]


async def test_a_batch_of_failures_and_cached_results_computes_nothing(results: Results, worker: StubWorker) -> None:
    await run_one(results, worker)
    await results.get_or_run([TASK, UnreadableImage()], ["k", None], worker.work, math.inf)
    assert worker.calls == [1]


async def test_two_batches_with_common_pictures_both_get_them(results: Results) -> None:
    first, second = StubWorker(), StubWorker()
    requests = [asyncio.ensure_future(results.get_or_run([TASK] * 2, ["a", "b"], first.work, math.inf))]
    await first.began.wait()
    requests.append(asyncio.ensure_future(results.get_or_run([TASK] * 2, ["b", "c"], second.work, math.inf)))
    await second.began.wait()
    first.resume.set()
    second.resume.set()
    assert [sources(outcomes) for outcomes in await asyncio.gather(*requests)] == [["miss"] * 2] * 2
    assert not results._flights
