"""A batch alone, with workers that do what the test says."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from faceattr_aio.errors import ClientGone, DeadlineExceeded, UnsupportedMedia, WorkerGone
from faceattr_aio.inference.batch import Batch, BatchThreads
from faceattr_aio.pipeline import Reply, Task

TASK = Task(Path("picture"))


class Scripted:
    """A pool whose workers answer from a list: a reply, or something to raise."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.given: list[float] = []

    @contextmanager
    def lend(self, _: float) -> Iterator["Scripted"]:
        yield self

    def call(self, _: str, __: Task, timeout_s: float) -> Reply:
        self.given.append(timeout_s)
        answer = self.answers.pop(0)
        if isinstance(answer, Reply):
            return answer
        raise answer  # type: ignore[misc]  # so the script says


def batch(pool: Scripted, *tasks: object, **changes: Any) -> Batch:
    values = {"timeout_s": 60.0, "wanted": lambda: True, "owned": ExitStack(), "observe": lambda _: None, **changes}
    return Batch(pool, "trick", tasks, **values)  # type: ignore[arg-type]  # a stand-in


def test_a_task_that_was_not_begun_goes_to_another_worker() -> None:
    pool = Scripted(WorkerGone(), WorkerGone(), Reply("done"))
    (outcome,) = batch(pool, TASK)()
    assert isinstance(outcome, Reply)
    assert outcome.result == "done"


def test_past_its_time_no_worker_is_asked() -> None:
    pool = Scripted(Reply("too late"))
    outcomes = batch(pool, TASK, TASK, timeout_s=1.0, submitted=time.monotonic() - 3)()
    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 2
    assert pool.given == []


def test_a_worker_is_given_the_time_for_one_picture_however_late_it_is() -> None:
    pool = Scripted(Reply(1), Reply(2))
    batch(pool, TASK, TASK, timeout_s=10.0, submitted=time.monotonic() - 15)()
    assert pool.given == [10.0, 10.0]


def test_only_pictures_for_a_worker_are_given_time() -> None:
    assert batch(Scripted(), UnsupportedMedia("no"), TASK, TASK, timeout_s=10.0).allowed_s == 20


def test_failures_from_before_pass_through() -> None:
    refused = UnsupportedMedia("no")
    outcomes = batch(Scripted(Reply(1)), refused, TASK)()
    assert outcomes[0] is refused
    assert isinstance(outcomes[1], Reply)


def test_work_that_nobody_wants_any_more_is_not_begun() -> None:
    pool, wanted = Scripted(Reply(1), Reply(2)), iter([True, False])
    with pytest.raises(ClientGone):
        batch(pool, TASK, TASK, wanted=lambda: next(wanted))()
    assert len(pool.given) == 1


def test_what_a_batch_owns_is_given_back_when_the_threads_are_closed_already() -> None:
    threads, closed = BatchThreads(1), list[str]()
    threads.shutdown()
    owned = ExitStack()
    owned.callback(closed.append, "closed")
    with pytest.raises(RuntimeError):
        threads.submit(batch(Scripted(), TASK, owned=owned))
    assert closed == ["closed"]
