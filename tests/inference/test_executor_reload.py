"""Changes of a running executor: models, settings, and the number of workers."""

import asyncio
import time
from pathlib import Path

import pytest

from faceattr_aio.errors import Draining, ReloadFailed
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import Starter
from faceattr_aio.pipeline import Reply, Task
from tests.support.executors import MakeExecutor, config, hold, idle
from tests.support.gate import Gate
from tests.support.workers import BROKEN


async def test_a_reload_under_load_fails_no_request_and_all_workers_are_new(
    make_executor: MakeExecutor, png_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").write_text("old")
    executor = await make_executor({"model": str(tmp_path / "model"), "sleep_s": 0.01})
    end, seen = asyncio.Event(), list[str]()

    async def ask_again_and_again() -> None:
        while not end.is_set():
            seen.append(type((await executor.run_all("trick", [Task(png_file)]))[0]).__name__)

    asking = [asyncio.create_task(ask_again_and_again()) for _ in range(4)]
    digests = set[str]()
    for content in ("one", "two", "three"):
        (tmp_path / "model").write_text(content)
        digests |= set((await executor.reload()).values())
    end.set()
    await asyncio.gather(*asking)
    assert set(seen) == {"Reply"}
    assert len(digests) == 3
    assert executor.reloads == {"ok": 3}
    assert executor.pool.restarts == {"reloaded": 6}
    await idle(executor)


async def test_a_reload_that_fails_changes_nothing_and_is_reported_once(
    make_executor: MakeExecutor, png_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    executor = await make_executor({"broken_while": str(tmp_path / "broken")})
    (tmp_path / "broken").touch()
    with pytest.raises(ReloadFailed, match="repair it"):
        await executor.reload()
    fault = executor.reload_fault
    assert fault == BROKEN
    assert [record.message for record in caplog.records] == [
        f"nothing was reloaded, models and settings stay in use: {BROKEN}"
    ]
    assert (await executor.run("trick", Task(png_file))).result["bytes"]
    (tmp_path / "broken").unlink()
    await executor.reload()
    assert executor.reload_fault is None
    assert executor.reloads == {"ok": 1, "failed": 1}


async def test_settings_change_with_the_workers_and_only_then(
    make_executor: MakeExecutor, png_file: Path, tmp_path: Path
) -> None:
    executor = await make_executor({"broken_while": str(tmp_path / "broken")})
    pool = executor.config.inference.pool
    wanted = config({"sleep_s": 0.2}, pool=pool, limit=7, timeout_s=33, recycle_after=2)
    broken = config({"broken_while": str(tmp_path)}, pool=pool, limit=9)
    with pytest.raises(ReloadFailed):
        await executor.reload(broken)
    assert executor.limiter.limit == 4
    await executor.reload(wanted)
    assert executor.limiter.limit == 7
    assert executor.config.inference.timeout_s == 33
    began = time.monotonic()
    await executor.run("trick", Task(png_file))
    assert time.monotonic() - began >= 0.2
    async with asyncio.timeout(30):
        while not executor.pool.restarts["recycled"]:
            await executor.run("trick", Task(png_file))


async def test_the_fingerprint_of_a_pipeline_changes_with_its_models_and_settings(
    make_executor: MakeExecutor, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.write_text("old")
    executor = await make_executor({"model": str(model)})
    fingerprints = [executor.fingerprint("trick"), executor.fingerprint("trick")]
    model.write_text("new")
    await executor.reload()
    fingerprints.append(executor.fingerprint("trick"))
    pool = executor.config.inference.pool
    await executor.reload(config({"model": str(model), "sleep_s": 0.001}, pool=pool))
    fingerprints.append(executor.fingerprint("trick"))
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 3
    await executor.reload()
    assert executor.fingerprint("trick") == fingerprints[-1]


async def test_a_fingerprint_that_is_read_during_a_reload_is_not_kept_after_it(
    make_executor: MakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, during, real = await make_executor(), list[str](), Pool.reload

    def reload(pool: Pool, start: Starter) -> None:
        real(pool, start)
        during.append(executor.fingerprint("trick"))  # the workers are new and the settings are not

    monkeypatch.setattr(Pool, "reload", reload)
    await executor.reload(config({"sleep_s": 0.001}, pool=executor.config.inference.pool))
    assert executor.fingerprint("trick") not in during
    assert "0.001" in executor.fingerprint("trick")


async def test_a_quota_gets_another_worker_as_soon_as_there_are_enough(
    make_executor: MakeExecutor, gate: Gate, png_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Pool.grow

    def grow(pool: Pool) -> None:
        real(pool)
        time.sleep(0.1)  # the new worker finds nothing that it may run yet

    monkeypatch.setattr(Pool, "grow", grow)
    executor = await make_executor(
        {"gate": str(gate.folder), "share": 0.5}, workers=None, workers_min=3, workers_max=4, limit=None
    )
    held = await hold(executor, png_file, 3)
    await asyncio.to_thread(gate.wait_for, 1)
    assert not gate.has_arrival()
    await asyncio.to_thread(executor._maintenance.resize, 1)
    await asyncio.to_thread(gate.wait_for, 1)
    gate.open()
    assert len(await asyncio.gather(*held)) == 3


async def test_of_two_reloads_at_once_the_second_waits(make_executor: MakeExecutor) -> None:
    executor = await make_executor()
    await asyncio.gather(executor.reload(), executor.reload())
    assert executor.reloads == {"ok": 2}
    assert executor.pool.restarts == {"reloaded": 4}


async def test_a_closed_executor_reloads_nothing(make_executor: MakeExecutor) -> None:
    executor = await make_executor()
    await executor.close()
    with pytest.raises(Draining):
        await executor.reload()


async def test_the_limit_follows_the_number_of_workers_where_it_is_not_set(make_executor: MakeExecutor) -> None:
    executor = await make_executor(workers=None, workers_min=1, workers_max=3, limit=None)
    assert (executor.pool.size, executor.limiter.workers, executor.limiter.limit) == (1, 1, 4)
    for size in (2, 3):
        await asyncio.to_thread(executor._maintenance.resize, 1)
        assert (executor.limiter.workers, executor.limiter.limit) == (size, 4 * size)
    await asyncio.to_thread(executor._maintenance.resize, -1)
    assert (executor.limiter.workers, executor.limiter.limit) == (2, 8)


async def test_a_worker_is_added_while_requests_wait_and_all_workers_work(
    make_executor: MakeExecutor, gate: Gate, png_file: Path
) -> None:
    executor = await make_executor({"gate": str(gate.folder)}, workers=None, workers_min=1, workers_max=2, limit=None)
    held = await hold(executor, png_file, 4)
    await asyncio.to_thread(gate.wait_for, 2)
    assert executor.pool.size == 2
    async with asyncio.timeout(30):
        while executor.limiter.limit != 8:  # soon after, in a thread
            await asyncio.sleep(0.005)
    gate.open()
    assert len(await asyncio.gather(*held)) == 4
    assert executor.pool.restarts == {"scaled": 1}


async def test_old_workers_are_replaced_under_load_and_no_request_fails(
    make_executor: MakeExecutor, png_file: Path
) -> None:
    executor = await make_executor(recycle_after=10, limit=8)
    async with asyncio.timeout(60):
        while executor.pool.restarts["recycled"] < 3:
            outcomes = await executor.run_all("trick", [Task(png_file)] * 8)
            assert {type(one) for one in outcomes} == {Reply}
    assert executor.pool.size == 2
    assert executor.pool.restarts.keys() == {"recycled"}
