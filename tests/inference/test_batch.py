"""A batch alone, with a worker that answers from a list."""

import time
from pathlib import Path

import pytest

from faceattr_aio.errors import ClientGone, DeadlineExceeded, Unavailable, WorkerGone
from faceattr_aio.inference.batch import Batch
from faceattr_aio.pipeline import Outcome, Reply, Task
from tests.support.workers import make_batch

TASK = Task(Path("picture"))


class ScriptedWorker:
    """Answers with a reply, or raises, in the order of the list."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.timeouts: list[float] = []

    def call(self, _: str, __: Task, timeout_s: float) -> Reply:
        self.timeouts.append(timeout_s)
        answer = self.answers.pop(0)
        if isinstance(answer, Reply):
            return answer
        raise answer  # type: ignore[misc]  # it is an exception


def run(batch: Batch, worker: ScriptedWorker) -> list[Outcome]:
    while not batch.is_complete:
        batch(worker)  # type: ignore[arg-type]  # a stand-in
    return batch.outcomes


def test_a_picture_that_did_not_reach_a_worker_is_run_by_another_one() -> None:
    batch, worker, observed = make_batch(TASK), ScriptedWorker(WorkerGone(), WorkerGone(), Reply("done")), list[float]()
    batch.observe = observed.append
    for _ in range(2):
        with pytest.raises(WorkerGone):
            run(batch, worker)
        assert (batch.outcomes, batch.has_progress) == ([], False)
    (outcome,) = run(batch, worker)
    assert isinstance(outcome, Reply)
    assert outcome.result == "done"
    assert len(observed) == 1


def test_past_the_deadline_the_worker_gets_nothing() -> None:
    worker = ScriptedWorker(Reply("too late"))
    outcomes = run(make_batch(TASK, TASK, deadline=time.monotonic()), worker)
    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 2
    assert worker.timeouts == []


def test_the_worker_has_the_time_for_one_picture_however_late_it_is() -> None:
    worker = ScriptedWorker(Reply(1), Reply(2))
    run(make_batch(TASK, TASK, timeout_s=10.0, deadline=time.monotonic() + 5), worker)
    assert worker.timeouts == [10.0, 10.0]


def test_a_picture_that_is_not_wanted_any_more_is_not_started() -> None:
    worker, wanted = ScriptedWorker(Reply(1), Reply(2)), iter([True, False])
    with pytest.raises(ClientGone):
        run(make_batch(TASK, TASK, is_wanted=lambda: next(wanted)), worker)
    assert len(worker.timeouts) == 1


def test_pictures_that_have_not_started_can_be_failed() -> None:
    failure, batch, observed = Unavailable(), make_batch(TASK, TASK, TASK), list[float]()
    batch.observe = observed.append
    batch(ScriptedWorker(Reply(1)))  # type: ignore[arg-type]  # a stand-in
    outcomes = batch.fail(failure)
    assert isinstance(outcomes[0], Reply)
    assert outcomes[1:] == [failure, failure]
    assert batch.is_complete
    assert len(observed) == 1


def test_the_queue_time_of_each_picture_is_reported() -> None:
    batch = make_batch(TASK, TASK)
    time.sleep(0.02)
    outcomes = run(batch, ScriptedWorker(Reply(1), Reply(2, None, {"decode": 1.0})))
    queued = [outcome.laps["queue"] for outcome in outcomes if isinstance(outcome, Reply)]
    assert queued[0] >= 20 > queued[1]
    assert isinstance(outcomes[1], Reply)
    assert list(outcomes[1].laps) == ["queue", "decode"]
