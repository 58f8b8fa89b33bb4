"""The scripts of jobs in a real Redis, and the background tasks that have to survive foreign data in it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import ClientSession

from faceattr_aio.config.schema import Config
from faceattr_aio.errors import InternalError
from faceattr_aio.inference.pool import Pool
from faceattr_aio.jobs import redis_store
from faceattr_aio.jobs.capacity import JobCapacity
from faceattr_aio.jobs.celery_jobs import CeleryJobs
from faceattr_aio.jobs.celery_worker import JobWorker
from faceattr_aio.jobs.redis_store import STORAGE_FULL, ItemKey, JobMeta
from faceattr_aio.pipeline import Reply
from faceattr_aio.web.app import JOBS, make_app
from tests.conftest import Serve
from tests.deploy.store import Store
from tests.support.jobs import TRICK_ENTRY

META = JobMeta(request="mine", pipeline="trick", owner="", callback="", of=1, options="{}", keep_s=60)
ITEM = ItemKey("a", 0)
MAX_JOBS, MAX_BYTES = 5, 100


def accept(store: Store, identity: str, *pictures: bytes) -> Any:
    return store.client.eval(*redis_store.accept(identity, META, pictures, MAX_JOBS, MAX_BYTES, 1.0))


def claim(store: Store, lease_ms: int = 60_000) -> Any:
    return store.client.eval(*redis_store.claim(ITEM, lease_ms))


def finish(store: Store, number: int, item: ItemKey = ITEM) -> Any:
    return store.client.eval(*redis_store.finish(item, META, Reply({"number": number})))


def remove(store: Store, identity: str, of: int) -> Any:
    return store.client.eval(*redis_store.remove(identity, of, "cancelled"))


def test_the_first_outcome_of_a_picture_is_kept(store: Store) -> None:
    assert accept(store, "a", b"bytes") == -1
    assert claim(store) == [META.model_dump_json().encode(), b"bytes", 1]
    assert [finish(store, number) for number in (1, 2)] == [1, 0]
    assert store.client.hget(redis_store.job_key("a"), "0") == b'{"number": 1, "cached": false}'
    assert claim(store) == []
    assert store.client.exists(ITEM.picture, ITEM.lease, redis_store.DUE, redis_store.LIVE, redis_store.RUNNING) == 0
    assert store.client.hgetall(redis_store.ENDED) == {b"done": b"1"}


def test_a_job_of_one_picture_that_fails_is_counted_as_failed(store: Store) -> None:
    accept(store, "a", b"bytes")
    assert store.client.eval(*redis_store.finish(ITEM, META, InternalError())) == 1
    assert store.client.hgetall(redis_store.ENDED) == {b"failed": b"1"}


def test_a_leased_picture_is_not_started_again_until_its_lease_expires(store: Store) -> None:
    accept(store, "a", b"bytes")
    assert claim(store, 100)[2] == 1
    assert claim(store) == []
    time.sleep(0.2)
    assert claim(store)[2] == 2


def test_a_removed_job_leaves_nothing_and_takes_no_result(store: Store) -> None:
    accept(store, "a", b"bytes")
    claim(store)
    assert [remove(store, "a", 1) for _ in range(2)] == [1, 0]
    assert finish(store, 1) == 0
    assert store.client.exists(redis_store.job_key("a"), ITEM.picture, redis_store.DUE, redis_store.LIVE) == 0


def test_pictures_are_limited_to_a_number_of_bytes_except_for_those_of_the_first_job(store: Store) -> None:
    def submit(identity: str, size: int) -> Any:
        return accept(store, identity, bytes(size), b"")

    assert [submit("a", 60), submit("b", 60), submit("b", 40)] == [-1, STORAGE_FULL, -1]
    finish(store, 1)
    assert [submit("c", 60), submit("d", 1)] == [-1, STORAGE_FULL]
    remove(store, "b", 2)
    assert [submit("d", 1), submit("e", 40)] == [-1, STORAGE_FULL]
    for job in ("c", "d"):
        remove(store, job, 2)
    assert store.client.get(redis_store.BYTES) == b"0"
    assert submit("f", 500) == -1


@pytest.fixture
def job_worker(store: Store) -> Iterator[JobWorker]:
    """A worker that runs only its background thread, three rounds a second."""
    jobs = {"backend": "celery", "url": store.url, "visibility_s": 1}
    worker = JobWorker(Config.model_validate({"jobs": jobs}), Pool(_no_worker, 1))
    worker.start()
    yield worker
    worker.close()


def _no_worker() -> Any:
    raise AssertionError("no worker is started in these tests")


def until(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("job_worker")
def test_foreign_members_among_the_pictures_are_removed_and_the_others_announced(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    foreign: dict[Any, float] = {"foreign": 0.0, "a:not a number": 0.0, b"\xff:1": 0.0}
    store.client.zadd(redis_store.DUE, foreign)
    accept(store, "a", b"bytes")
    until(lambda: store.client.llen(redis_store.QUEUE))
    assert store.client.zrange(redis_store.DUE, 0, -1) == [b"a:0"]
    assert sum("was removed" in record.message for record in caplog.records) == len(foreign)


@pytest.mark.usefixtures("job_worker")
def test_the_thread_of_a_worker_continues_after_an_unexpected_exception_and_logs_it_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept(store, "a", b"bytes")
    failures = [ZeroDivisionError()] * 3

    def fail_three_times() -> float:
        if failures:
            raise failures.pop()
        return time.time() + 60  # noqa: TID251  # the picture is overdue

    monkeypatch.setattr(redis_store, "now", fail_three_times)
    until(lambda: store.client.llen(redis_store.QUEUE))
    assert sum("failed and continues" in record.message for record in caplog.records) == 1


async def test_the_tasks_of_a_server_continue_after_foreign_data_and_log_it_once(
    store: Store, serve: Serve, client: ClientSession, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    jobs = {"backend": "celery", "url": store.url}
    app = make_app(Config.model_validate({"pipelines": {"trick": TRICK_ENTRY}, "jobs": jobs}))
    store.client.hset(redis_store.ENDED, "done", "not a number")
    store.client.hset(redis_store.job_key("foreign"), "meta", "not JSON")
    store.client.rpush(redis_store.CALLBACKS, "foreign", "foreign")
    url = await serve(app)
    async with client.post(f"{url}/jobs", data=png, headers={"Content-Type": "image/png"}) as response:
        assert response.status == 202
    async with asyncio.timeout(30):
        while store.client.exists(redis_store.CALLBACKS):
            await asyncio.sleep(0.05)
    store.client.delete(redis_store.ENDED)
    async with asyncio.timeout(30):
        while app[JOBS].jobs.ended["done"] < 2:
            await asyncio.sleep(0.05)
            store.client.hincrby(redis_store.ENDED, "done", 1)
    assert app[JOBS].jobs.waiting == 1
    logged = sorted(record.exc_info[0].__name__ for record in caplog.records if record.exc_info and record.exc_info[0])
    assert logged == ["ValidationError", "ValueError"]


async def test_a_server_stops_at_any_moment_of_its_calls_to_redis(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceattr_aio.jobs.celery_jobs.POLL_S", 0.05)
    settings = Config.model_validate({"jobs": {"backend": "celery", "url": store.url}}).jobs
    for milliseconds in range(40):
        jobs = CeleryJobs(settings, JobCapacity(9, 9), lambda *_: None)
        await jobs.start()
        await asyncio.sleep(milliseconds / 1e3)
        async with asyncio.timeout(10):
            await jobs.close()
