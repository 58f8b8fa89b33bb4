"""The queue of the jobs in this process, over HTTP: its order, its limits, cancellation, shutdown and metrics."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.cache.memory import MemoryCache
from faceattr_aio.jobs.memory import MemoryJobs
from faceattr_aio.web.app import EXECUTOR, JOBS, drain, is_idle
from tests.support.gate import Gate
from tests.support.jobs import RAW, ServeJobs, fetch, form, status_before_body, status_of, submit


async def until_in_flight(app: web.Application, number: int) -> None:
    async with asyncio.timeout(30):
        while app[EXECUTOR].limiter.in_flight < number:
            await asyncio.sleep(0.005)


async def test_requests_are_served_before_all_jobs_that_wait(
    serve_jobs: ServeJobs,
    gate: Gate,
    job_apps: list[web.Application],
    png: bytes,
    client: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("faceattr_aio.jobs.memory.POLL_S", 1000)  # each released slot wakes the queue
    url = await serve_jobs({"gate": str(gate.folder)}, inference={"workers": 1, "limit": 3, "timeout_s": 60})
    jobs = [await submit(client, f"{url}/jobs", png) for _ in range(5)]
    await asyncio.to_thread(gate.wait_for, 1)
    requests = [asyncio.create_task(client.post(f"{url}/trick", data=png, headers=RAW)) for _ in range(2)]
    await until_in_flight(job_apps[0], 3)  # one picture of one job, and the requests
    done: list[str] = []

    async def record(kind: str, task: Awaitable[Any]) -> None:
        await task
        done.append(kind)

    records = [record("request", one) for one in requests] + [record("job", fetch(client, one)) for one in jobs[1:]]
    watching = asyncio.gather(*records)
    gate.open()
    await watching
    assert done[:2] == ["request"] * 2
    assert [one.result().status for one in requests] == [200, 200]


async def test_jobs_hold_at_most_one_slot_for_each_worker(
    serve_jobs: ServeJobs, gate: Gate, job_apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"gate": str(gate.folder)}, inference={"workers": 2, "limit": 4, "timeout_s": 60})
    jobs = [await submit(client, f"{url}/jobs", form(png, png, png)) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 2)
    assert job_apps[0][EXECUTOR].limiter.in_flight == 2
    requests = [asyncio.create_task(client.post(f"{url}/trick", data=png, headers=RAW)) for _ in range(2)]
    await until_in_flight(job_apps[0], 4)
    async with client.post(f"{url}/trick", data=png, headers=RAW) as response:
        assert response.status == 503
    gate.open()
    assert [(await one).status for one in requests] == [200, 200]
    assert [(await fetch(client, job)).status for job in jobs] == ["done"] * 3


async def test_a_full_queue_is_503_before_the_body_with_retry_after(
    serve_jobs: ServeJobs, gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"gate": str(gate.folder)}, jobs={"waiting": 2})
    jobs = [await submit(client, f"{url}/jobs", png) for _ in range(2)]
    for path, headers in (("/jobs", {}), ("/trick", {"Prefer": "respond-async"})):
        async with client.post(f"{url}{path}", data=png, headers=RAW | headers) as response:
            document = await response.json(content_type="application/problem+json")
            assert (response.status, document["type"]) == (503, "urn:faceattr:overloaded")
            assert (document["limit"], document["in_flight"]) == (2, 2)
            assert int(response.headers["Retry-After"]) >= 1
    assert await status_before_body(url, "/jobs", 1000) == 503
    gate.open()
    assert [(await fetch(client, job)).status for job in jobs] == ["done"] * 2
    await fetch(client, await submit(client, f"{url}/jobs", png))


async def test_pictures_of_jobs_leave_half_of_the_spool_to_requests(
    serve_jobs: ServeJobs, gate: Gate, png: bytes, client: ClientSession
) -> None:
    upload = {"max_bytes": len(png) * 2, "max_spool_bytes": len(png) * 4}
    url = await serve_jobs({"gate": str(gate.folder)}, upload=upload)
    job = await submit(client, f"{url}/jobs", png)
    await asyncio.to_thread(gate.wait_for, 1)
    another = await submit(client, f"{url}/jobs", png)
    async with client.post(f"{url}/jobs", data=png, headers=RAW) as response:
        assert (response.status, (await response.json())["type"]) == (503, "urn:faceattr:storage")
    request = asyncio.create_task(client.post(f"{url}/trick", data=png, headers=RAW))
    gate.open()
    assert (await request).status == 200
    assert [(await fetch(client, one)).status for one in (job, another)] == ["done"] * 2


async def test_with_fair_clients_one_client_has_at_most_half_of_the_queue(
    serve_jobs: ServeJobs, gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"gate": str(gate.folder)}, jobs={"waiting": 4}, clients={"fair": True})
    jobs = [await submit(client, f"{url}/jobs", png) for _ in range(2)]
    async with client.post(f"{url}/jobs", data=png, headers=RAW) as response:
        assert response.status == 429
    gate.open()
    assert [(await fetch(client, job)).status for job in jobs] == ["done"] * 2


async def test_a_cancelled_job_returns_its_capacity_and_is_not_started(
    serve_jobs: ServeJobs, gate: Gate, job_apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"gate": str(gate.folder)})
    started, queued = [await submit(client, f"{url}/jobs", png) for _ in range(2)]
    await asyncio.to_thread(gate.wait_for, 1)
    waiting = asyncio.create_task(status_of(client, "GET", queued, headers={"Prefer": "wait=30"}))
    assert await status_of(client, "DELETE", queued) == 204
    assert await waiting == 404
    jobs = job_apps[0][JOBS].jobs
    assert isinstance(jobs, MemoryJobs)
    assert not jobs._queue  # no entry is left
    assert (jobs.waiting, jobs.capacity.limiter.in_flight) == (0, 1)
    assert [await status_of(client, method, queued) for method in ("GET", "DELETE")] == [404, 404]
    assert await status_of(client, "DELETE", started) == 204
    assert jobs.capacity.limiter.in_flight == 0
    gate.open()
    async with asyncio.timeout(30):
        while job_apps[0][EXECUTOR].limiter.in_flight:
            await asyncio.sleep(0.005)
    assert not gate.has_arrival()  # the queued job was not started


async def test_a_cancelled_job_returns_its_bytes(
    serve_jobs: ServeJobs, gate: Gate, png: bytes, client: ClientSession
) -> None:
    upload = {"max_bytes": len(png) * 2, "max_spool_bytes": len(png) * 4}
    url = await serve_jobs({"gate": str(gate.folder)}, upload=upload)
    jobs = [await submit(client, f"{url}/jobs", png) for _ in range(2)]
    assert await status_of(client, "POST", f"{url}/jobs", data=png, headers=RAW) == 503
    assert await status_of(client, "DELETE", jobs[1]) == 204
    jobs[1] = await submit(client, f"{url}/jobs", png)
    gate.open()
    assert [(await fetch(client, job)).status for job in jobs] == ["done"] * 2


async def test_a_job_that_was_removed_or_never_submitted_is_unknown(
    serve_jobs: ServeJobs, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs()
    assert await status_of(client, "GET", f"{url}/jobs/nothing") == 404
    job = await submit(client, f"{url}/jobs", png)
    assert (await fetch(client, job)).status == "done"
    assert await status_of(client, "DELETE", job) == 204
    assert await status_of(client, "GET", job) == 404


class SlowCache(MemoryCache):
    """An empty cache that answers only when `answering` is set."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.asked, self.answering = asyncio.Event(), asyncio.Event()

    async def get(self, _: str) -> str | None:
        self.asked.set()
        await self.answering.wait()
        return None


async def test_a_job_that_is_cancelled_during_its_cache_lookup_is_not_started(
    serve_jobs: ServeJobs, gate: Gate, job_apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"factory": "tests.support.pipelines:Steady", "gate": str(gate.folder)})
    (endpoint,) = job_apps[0][JOBS].endpoints.values()
    endpoint.results.cache = cache = SlowCache()
    job = await submit(client, f"{url}/jobs", png)
    await cache.asked.wait()
    assert await status_of(client, "DELETE", job) == 204
    cache.answering.set()
    gate.open()
    endpoint.results.cache = None
    assert (await fetch(client, await submit(client, f"{url}/jobs", png))).status == "done"
    await asyncio.to_thread(gate.wait_for, 1)
    assert not gate.has_arrival()


async def test_a_cached_result_is_used_for_a_job(serve_jobs: ServeJobs, png: bytes, client: ClientSession) -> None:
    url = await serve_jobs({"factory": "tests.support.pipelines:Steady"})
    async with client.post(f"{url}/trick", data=png, headers=RAW) as response:
        assert (await response.json())["cached"] is False
    job = await fetch(client, await submit(client, f"{url}/jobs", form(png, png)))
    assert job.result
    assert [one["cached"] for one in job.result["results"]] == [True, True]


async def test_results_are_kept_for_a_time_and_only_the_last_ones(
    serve_jobs: ServeJobs, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs(jobs={"keep_s": 0.2, "kept": 1})
    first, second = [await submit(client, f"{url}/jobs", png) for _ in range(2)]
    assert (await fetch(client, second)).status == "done"
    assert await status_of(client, "GET", first) == 404
    async with asyncio.timeout(30):
        while await status_of(client, "GET", second) == 200:
            await asyncio.sleep(0.02)


async def test_a_draining_server_refuses_jobs_and_finishes_those_it_has(
    serve_jobs: ServeJobs, gate: Gate, job_apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"gate": str(gate.folder)})
    jobs = [await submit(client, f"{url}/jobs", png) for _ in range(2)]
    drain(job_apps[0])
    async with client.post(f"{url}/jobs", data=png, headers=RAW) as response:
        assert (response.status, (await response.json())["type"]) == (503, "urn:faceattr:draining")
    assert not is_idle(job_apps[0])
    gate.open()
    assert [(await fetch(client, job)).status for job in jobs] == ["done"] * 2
    async with asyncio.timeout(30):
        while not is_idle(job_apps[0]):
            await asyncio.sleep(0.005)


async def test_jobs_left_at_the_shutdown_fail_and_clients_that_wait_are_answered(
    serve_jobs: ServeJobs, gate: Gate, job_apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"gate": str(gate.folder)})
    jobs = [await submit(client, f"{url}/jobs", png) for _ in range(2)]
    waiting = [asyncio.create_task(fetch(client, job)) for job in jobs]
    await asyncio.to_thread(gate.wait_for, 1)
    await job_apps[0].shutdown()
    for job in await asyncio.gather(*waiting):
        assert (job.status, job.error and job.error["type"]) == ("failed", "urn:faceattr:draining")
    gate.open()


async def test_metrics_count_jobs_by_state_and_end(
    serve_jobs: ServeJobs, gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"gate": str(gate.folder)})
    jobs = [await submit(client, f"{url}/jobs", png) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 1)
    assert await metrics(client, url) == {"waiting": 2, "running": 1, "done": 0, "failed": 0, "cancelled": 0}
    assert await status_of(client, "DELETE", jobs[2]) == 204
    gate.open()
    for job in jobs[:2]:
        await fetch(client, job)
    await fetch(client, await submit(client, f"{url}/jobs?do=refuse", png))
    assert await metrics(client, url) == {"waiting": 0, "running": 0, "done": 2, "failed": 1, "cancelled": 1}


async def metrics(client: ClientSession, url: str) -> dict[str, int]:
    async with client.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("faceattr_jobs_"))
    ended = {end: found[f'faceattr_jobs_ended_total{{outcome="{end}"}}'] for end in ("done", "failed", "cancelled")}
    now = {state: found[f"faceattr_jobs_{state}"] for state in ("waiting", "running")}
    return {name: int(float(value)) for name, value in {**now, **ended}.items()}


async def test_the_queue_continues_after_an_unexpected_exception_and_logs_it_once(
    serve_jobs: ServeJobs,
    job_apps: list[web.Application],
    png: bytes,
    client: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("faceattr_aio.jobs.memory.POLL_S", 0.01)
    monkeypatch.setattr("faceattr_aio.jobs.model.POLL_S", 0.01)
    url = await serve_jobs()
    executor, failures = job_apps[0][EXECUTOR], [ZeroDivisionError(), ZeroDivisionError(), KeyError("trick")]
    limiter_of = executor.limiter_of

    def fail_three_times(name: str) -> Limiter:
        if failures:
            raise failures.pop()
        return limiter_of(name)

    monkeypatch.setattr(executor, "limiter_of", fail_three_times)
    assert (await fetch(client, await submit(client, f"{url}/jobs", png))).status == "done"
    assert not failures
    logged = [record.exc_info[0] for record in caplog.records if "continues" in record.message and record.exc_info]
    assert logged == [KeyError, ZeroDivisionError]
