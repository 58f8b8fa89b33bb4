import asyncio
import gc
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from faceattr_aio.errors import (
    ClientGone,
    DeadlineExceeded,
    Draining,
    FaceattrError,
    InternalError,
    NoImage,
    Overloaded,
    Unavailable,
    UnreadableImage,
    UnsupportedMedia,
)
from faceattr_aio.inference.executor import Executor
from faceattr_aio.inference.process import WorkerCrashed
from faceattr_aio.pipeline import Reply, Task
from tests.support.executors import MakeExecutor, ask, config, hold, idle
from tests.support.gate import Gate
from tests.support.pipelines import TrickOptions
from tests.support.workers import BROKEN


async def test_a_task_comes_back_as_a_reply(make_executor: MakeExecutor, png_file: Path) -> None:
    executor = await make_executor()
    reply = await executor.run("trick", Task(png_file))
    assert reply.result["bytes"] == png_file.stat().st_size
    assert list(reply.laps) == ["queue", "decode", "trick"]
    assert executor.pool.models == {"trick": "0" * 64}
    await idle(executor)


async def test_a_media_type_gives_the_encoded_body_as_well(make_executor: MakeExecutor, png_file: Path) -> None:
    reply = await (await make_executor()).run("trick", Task(png_file, media_type="image/png"))
    assert reply.body is not None
    assert reply.body.startswith(b"image/png")


async def test_a_failure_is_raised_and_releases_its_slot(make_executor: MakeExecutor, png_file: Path) -> None:
    executor = await make_executor()
    for do, failure in {"refuse": UnreadableImage, "raise": InternalError}.items():
        with pytest.raises(failure):
            await executor.run("trick", Task(png_file, TrickOptions.model_validate({"do": do})))
    await idle(executor)


async def test_a_file_that_is_no_picture_never_takes_a_slot(make_executor: MakeExecutor, tmp_path: Path) -> None:
    executor = await make_executor()
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UnsupportedMedia):
        await executor.run("trick", Task(tmp_path / "text"))
    with pytest.raises(NoImage, match="No such file"):
        await executor.run("trick", Task(tmp_path / "nothing"))
    assert executor.limiter.wait_s == 0


async def test_pictures_of_one_request_share_a_slot_and_fail_alone(
    make_executor: MakeExecutor, png_file: Path, tmp_path: Path
) -> None:
    executor = await make_executor(limit=1)
    (tmp_path / "text").write_text("hello")
    tasks = [Task(png_file), Task(tmp_path / "text"), Task(png_file, TrickOptions(do="refuse")), Task(png_file)]
    outcomes = await executor.run_all("trick", tasks)
    assert [type(outcome) for outcome in outcomes] == [Reply, UnsupportedMedia, UnreadableImage, Reply]
    await idle(executor)


async def test_tasks_that_have_failed_already_keep_their_failure(make_executor: MakeExecutor, png_file: Path) -> None:
    executor, refused, task = await make_executor(limit=1), UnsupportedMedia("no"), Task(png_file)
    unreadable = Task(png_file, TrickOptions(do="refuse"))
    outcomes = await executor.run_all("trick", [refused, task, refused, refused, unreadable, refused])
    assert [outcome is refused for outcome in outcomes] == [True, False, True, True, False, True]
    assert [type(outcomes[number]) for number in (1, 4)] == [Reply, UnreadableImage]
    await idle(executor)


async def test_requests_above_the_limit_are_refused(make_executor: MakeExecutor, gate: Gate, png_file: Path) -> None:
    executor = await make_executor({"gate": str(gate.folder)})
    held = await hold(executor, png_file, 4)
    await asyncio.to_thread(gate.wait_for, 2)
    refused = await asyncio.gather(*ask(executor, png_file, 20), return_exceptions=True)
    assert [type(one) for one in refused] == [Overloaded] * 20
    gate.open()
    assert len(await asyncio.gather(*held)) == 4
    await idle(executor)


async def test_a_slot_is_held_until_the_worker_has_finished_though_its_caller_was_cancelled(
    make_executor: MakeExecutor, gate: Gate, png_file: Path
) -> None:
    executor = await make_executor({"gate": str(gate.folder)})
    running = await hold(executor, png_file, 2)
    await asyncio.to_thread(gate.wait_for, 2)
    waiting = await hold(executor, png_file, 2)
    for task in [*running, *waiting]:
        task.cancel()
    await asyncio.gather(*running, *waiting, return_exceptions=True)
    assert executor.limiter.in_flight == 2  # running work goes on, queued work is removed
    gate.open()
    await idle(executor)


async def test_files_are_closed_when_the_worker_has_finished_and_not_when_the_caller_is_cancelled(
    make_executor: MakeExecutor, gate: Gate, png_file: Path
) -> None:
    executor, closed = await make_executor({"gate": str(gate.folder)}, workers=1), list[str]()
    with ExitStack() as files:
        files.callback(closed.append, "closed")
        task = asyncio.create_task(executor.run_all("trick", [Task(png_file)], files))
        await asyncio.to_thread(gate.wait_for, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert closed == []
    gate.open()
    await idle(executor)
    assert closed == ["closed"]


async def test_files_stay_with_the_caller_when_the_work_is_refused(make_executor: MakeExecutor, png_file: Path) -> None:
    executor, closed = await make_executor(limit=1), list[str]()
    release = executor.limiter.acquire()
    with ExitStack() as files:
        files.callback(closed.append, "closed")
        with pytest.raises(Overloaded):
            await executor.run_all("trick", [Task(png_file)], files)
        assert closed == []
    assert closed == ["closed"]
    release()


async def test_queued_work_that_is_not_wanted_any_more_is_dropped(
    make_executor: MakeExecutor, gate: Gate, png_file: Path
) -> None:
    executor = await make_executor({"gate": str(gate.folder)}, workers=1)
    (held,) = await hold(executor, png_file, 1)
    await asyncio.to_thread(gate.wait_for, 1)
    unwanted = asyncio.create_task(executor.run_all("trick", [Task(png_file)], is_wanted=lambda: False))
    while executor.limiter.in_flight < 2:
        await asyncio.sleep(0.005)
    gate.open()
    await held
    with pytest.raises(ClientGone):
        await unwanted
    await idle(executor)


async def test_a_task_that_takes_too_long_is_abandoned(make_executor: MakeExecutor, gate: Gate, png_file: Path) -> None:
    executor = await make_executor({"gate": str(gate.folder)}, workers=1, timeout_s=0.3)
    with pytest.raises(DeadlineExceeded):
        await executor.run("trick", Task(png_file))
    if executor.config.inference.pool == "thread":  # a process is ended
        assert executor.limiter.in_flight == 1
    gate.open()
    await idle(executor)


async def test_only_pictures_for_a_worker_add_to_the_time_of_a_batch(
    make_executor: MakeExecutor, gate: Gate, png_file: Path
) -> None:
    executor = await make_executor({"gate": str(gate.folder)}, workers=1, timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await executor.run_all("trick", [UnsupportedMedia("no")] * 20 + [Task(png_file)] * 2)
    assert 0.5 < time.monotonic() - began < 3
    gate.open()
    await idle(executor)


async def test_a_newcomer_is_refused_while_no_worker_can_be_started(png_file: Path, tmp_path: Path) -> None:
    executor = Executor(config({"broken_while": str(tmp_path / "broken")}, pool="process", workers=1))
    await executor.start()
    executor.check()
    (tmp_path / "broken").touch()
    await executor.run_all("trick", [Task(png_file, TrickOptions(do="die"))])
    async with asyncio.timeout(30):
        while not (refusal := refusal_of(executor)):  # there is no event for it
            await asyncio.sleep(0.005)
    assert refusal.log == BROKEN
    await executor.close()


def refusal_of(executor: Executor) -> Unavailable | None:
    try:
        executor.check()
    except Unavailable as refusal:
        return refusal
    return None


async def test_work_that_is_queued_when_the_executor_closes_is_dropped(
    make_executor: MakeExecutor, gate: Gate, png_file: Path
) -> None:
    executor = await make_executor({"gate": str(gate.folder)}, workers=1, timeout_s=3)
    held = await hold(executor, png_file, 3)
    await asyncio.to_thread(gate.wait_for, 1)
    await executor.close()
    gate.open()
    ended = await asyncio.gather(*held, return_exceptions=True)
    assert all(isinstance(one, (FaceattrError, Reply)) for one in ended)
    draining = sum(isinstance(one, Draining) for one in ended)
    assert draining == 3 if executor.config.inference.pool == "process" else draining >= 2  # a thread ends its work
    await idle(executor)
    with pytest.raises(Draining):
        await executor.run("trick", Task(png_file))


async def test_a_killed_worker_costs_one_request(png_file: Path) -> None:
    executor = Executor(config(pool="process"))
    await executor.start()
    die = Task(png_file, TrickOptions(do="die"))
    outcomes = await executor.run_all("trick", [Task(png_file), die, Task(png_file)])
    assert [type(outcome) for outcome in outcomes] == [Reply, WorkerCrashed, Reply]
    await idle(executor)
    await executor.close()


async def test_a_failure_keeps_no_worker_alive(png_file: Path) -> None:
    """The descriptors of a worker that crashed are closed at once, and not by the garbage collector."""
    executor = Executor(config(pool="process"))
    await executor.start()
    await executor.run("trick", Task(png_file))
    gc.collect()
    gc.disable()
    try:
        descriptors = len(os.listdir("/proc/self/fd"))
        for crashes in range(1, 4):
            await executor.run_all("trick", [Task(png_file, TrickOptions(do="die"))])
            while executor.pool.restarts["crashed"] < crashes:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            while len(os.listdir("/proc/self/fd")) > descriptors:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
        await executor.close()


async def test_queued_work_of_a_cancelled_caller_releases_its_slot_and_files_at_once(
    make_executor: MakeExecutor, gate: Gate, png_file: Path
) -> None:
    executor, closed = await make_executor({"gate": str(gate.folder)}, workers=1), list[str]()
    (held,) = await hold(executor, png_file, 1)
    await asyncio.to_thread(gate.wait_for, 1)
    files = ExitStack()
    files.callback(closed.append, "closed")
    queued = asyncio.create_task(executor.run_all("trick", [Task(png_file)], files))
    while executor.limiter.in_flight < 2:
        await asyncio.sleep(0.005)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    assert (executor.limiter.in_flight, closed) == (1, ["closed"])
    gate.open()
    await held


async def test_a_hung_picture_costs_its_own_time_and_one_worker(png_file: Path) -> None:
    """Each picture has its own time: the next ones of the batch are still answered, by another worker."""
    executor = Executor(config(pool="process", timeout_s=2))
    await executor.start()
    hang = Task(png_file, TrickOptions(do="hang"))
    outcomes = await executor.run_all("trick", [hang, Task(png_file), Task(png_file)])
    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded, Reply, Reply]
    await executor.close()


async def test_a_picture_that_waited_long_has_its_own_time_once_it_starts(png_file: Path) -> None:
    """Otherwise, under load, workers would be killed for the time that other pictures took."""
    executor = Executor(config({"sleep_s": 0.6}, pool="process", workers=1, timeout_s=1))
    await executor.start()
    first = (await executor.run("trick", Task(png_file))).result["pid"]
    ended = await asyncio.gather(*ask(executor, png_file, 4), return_exceptions=True)
    assert DeadlineExceeded in {type(one) for one in ended}
    await idle(executor)
    assert (await executor.run("trick", Task(png_file))).result["pid"] == first
    await executor.close()


async def test_an_executor_that_was_not_started_raises_an_error_with_the_fix(png_file: Path) -> None:
    with pytest.raises(RuntimeError, match="await its start"):
        await Executor(config()).run("trick", Task(png_file))


async def test_a_file_is_not_closed_while_it_is_probed(
    make_executor: MakeExecutor, png_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, order = await make_executor(), list[str]()
    began, go_on = threading.Event(), threading.Event()

    def slow_probe(*_: object) -> None:
        began.set()
        go_on.wait(30)
        order.append("probed")

    monkeypatch.setattr("faceattr_aio.inference.executor.probe", slow_probe)

    async def ask_and_close() -> None:
        with ExitStack() as files:
            files.callback(order.append, "closed")
            await executor.run_all("trick", [Task(png_file)], files)

    task = asyncio.create_task(ask_and_close())
    await asyncio.to_thread(began.wait, 30)
    task.cancel()
    await asyncio.sleep(0.01)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert order == ["probed", "closed"]


async def test_past_the_deadline_no_picture_starts(make_executor: MakeExecutor, gate: Gate, png_file: Path) -> None:
    executor = await make_executor({"gate": str(gate.folder)}, workers=1, timeout_s=0.5)
    held = await hold(executor, png_file, 3)
    ended = await asyncio.gather(*held, return_exceptions=True)
    assert [type(one) for one in ended] == [DeadlineExceeded] * 3
    gate.wait_for(1)
    gate.open()
    await idle(executor)
    assert not gate.has_arrival()


async def test_waiting_is_counted_once(make_executor: MakeExecutor, png_file: Path) -> None:
    """The stages of a request together take no longer than the request."""
    executor = await make_executor({"sleep_s": 0.1}, workers=1)

    async def took_more_than_its_stages() -> float:
        began = time.perf_counter()
        outcomes = await executor.run_all("trick", [Task(png_file)] * 3)
        stages = sum(sum(one.laps.values()) for one in outcomes if isinstance(one, Reply))
        return (time.perf_counter() - began) * 1e3 - stages

    assert min(await asyncio.gather(*(took_more_than_its_stages() for _ in range(3)))) >= 0


async def test_the_service_time_is_that_of_the_worker_alone(
    make_executor: MakeExecutor, png_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting and pictures that no worker processed do not count: they would falsify Retry-After."""
    executor, observed = await make_executor({"sleep_s": 0.1}, workers=1), list[float]()
    monkeypatch.setattr(executor.limiter, "observe", observed.append)
    (tmp_path / "text").write_text("hello")
    batch = [Task(tmp_path / "text"), Task(png_file)]
    began = time.monotonic()
    await asyncio.gather(*(executor.run_all("trick", batch) for _ in range(4)))
    assert len(observed) == 4
    assert min(observed) >= 0.1
    assert sum(observed) <= time.monotonic() - began


async def test_admitted_work_is_served_while_draining_and_newcomers_are_refused(
    make_executor: MakeExecutor, png_file: Path
) -> None:
    executor = await make_executor()
    executor.limiter.drain()
    assert isinstance((await executor.run_all("trick", [Task(png_file)]))[0], Reply)
    with pytest.raises(Draining):
        await executor.run("trick", Task(png_file))


async def test_a_hung_process_is_replaced(png_file: Path) -> None:
    executor = Executor(config(pool="process", workers=1, timeout_s=2))
    await executor.start()
    before = (await executor.run("trick", Task(png_file))).result["pid"]
    with pytest.raises(DeadlineExceeded):
        await executor.run("trick", Task(png_file, TrickOptions(do="hang")))
    await idle(executor)
    async with asyncio.timeout(30):
        while True:
            try:
                after = (await executor.run("trick", Task(png_file))).result["pid"]
                break
            except DeadlineExceeded:  # while the new one loads
                continue
    assert after != before
    await executor.close()


async def test_two_executors_are_independent(make_executor: MakeExecutor, png_file: Path) -> None:
    one, other = await make_executor(limit=1), await make_executor(limit=1)
    release = one.limiter.acquire()
    assert (await other.run("trick", Task(png_file))).result["bytes"]
    release()


async def test_closing_leaves_no_descriptor_and_no_process(png_file: Path) -> None:
    warm = Executor(config(pool="process"))  # starts what a process has once: the fork server
    await warm.start()
    await warm.close()
    before = len(os.listdir("/proc/self/fd"))
    executor = Executor(config(pool="process"))
    await executor.start()
    await executor.run("trick", Task(png_file))
    await executor.close()
    async with asyncio.timeout(30):
        while len(os.listdir("/proc/self/fd")) > before:  # the threads that watch the workers are ending
            await asyncio.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) <= before
