"""Jobs over HTTP, on real sockets: ordered, asked for, waited for, cancelled, and always after requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData, web

from faceattr_aio.cache.memory import MemoryCache
from faceattr_aio.config.schema import Config
from faceattr_aio.jobs.memory import MemoryJobs
from faceattr_aio.schemas import Job
from faceattr_aio.web.app import EXECUTOR, JOBS, UPLOADS, drain, is_idle, make_app
from tests.conftest import Serve
from tests.support.gate import Gate

RAW = {"Content-Type": "image/png"}
KEY = "one-key-of-sixteen"
TRICK = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}
Make = Callable[..., Awaitable[str]]


@pytest.fixture
async def apps() -> AsyncIterator[list[web.Application]]:
    """The apps of the test; at its end no slot, byte or place in the queue may be left in use."""
    apps: list[web.Application] = []
    yield apps
    for app in apps:
        async with asyncio.timeout(30):
            while app[EXECUTOR].limiter.in_flight or not is_idle(app):  # in threads
                await asyncio.sleep(0.005)
        assert app[UPLOADS].spool.used == 0
        assert app[JOBS].jobs.room.limiter.in_flight == 0


@pytest.fixture
async def make(serve: Serve, apps: list[web.Application], tmp_path: Path) -> Make:
    """Serves the trick pipeline and gives its URL."""

    async def start(trick: dict[str, Any] | None = None, **sections: dict[str, Any]) -> str:
        sections.setdefault("inference", {"workers": 1, "limit": 2, "timeout_s": 60})
        sections["upload"] = {"dir": str(tmp_path), **sections.get("upload", {})}
        app = make_app(Config.model_validate({"pipelines": {"trick": TRICK | (trick or {})}, **sections}))
        apps.append(app)
        return await serve(app)

    return start


async def order(client: ClientSession, url: str, data: Any, **headers: str) -> str:
    """Submits a job; the URL of it."""
    more = RAW if isinstance(data, bytes) else {}
    async with client.post(url, data=data, headers={**more, **headers}) as response:
        document = await response.json()
        assert response.status == 202, document
        assert response.headers["Location"].endswith(f"/jobs/{document['id']}")
        assert Job.model_validate(document).status == "queued"
        return str(response.url.join(response.url.with_path(response.headers["Location"])))


async def told(client: ClientSession, url: str, wait: float = 30, **headers: str) -> Job:
    """What is known of the job, once it is over if it is within the time."""
    named = {"Prefer": f"wait={wait}"} if wait else {}
    async with client.get(url, headers={**named, **headers}) as response:
        assert response.status == 200, await response.text()
        return Job.model_validate(await response.json())


async def status(client: ClientSession, method: str, url: str, **headers: str) -> int:
    async with client.request(method, url, headers=headers) as response:
        if response.status == 404:
            document = await response.json(content_type="application/problem+json")
            assert document["type"] == "urn:faceattr:unknown-job"
        return response.status


def form(*pictures: bytes) -> FormData:
    data = FormData()
    for picture in pictures:
        data.add_field("image", picture, filename="a.png")
    return data


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


async def test_a_job_comes_to_the_very_answer_of_the_pipelines_own_path(
    make: Make, png: bytes, client: ClientSession
) -> None:
    url, named = await make(), {"X-Request-ID": "mine"}
    async with client.post(f"{url}/trick", data=png, headers=RAW | named) as response:
        answer = await response.json()
    for data, headers in ((png, RAW), (form(png), {}), (pieces(png), RAW)):
        job = await told(client, await order(client, f"{url}/jobs", data, **headers, **named))
        assert (job.status, job.pipeline, job.progress.done, job.progress.of) == ("done", "trick", 1, 1)
        assert job.result == answer
        assert job.processing_s > 0


async def test_several_pictures_are_one_job_in_which_a_bad_one_is_an_entry(
    make: Make, png: bytes, client: ClientSession
) -> None:
    url = await make(jobs={"max_batch": 20})
    job = await told(client, await order(client, f"{url}/jobs", form(*[png] * 18, b"no picture", png)))
    assert job.status == "done"
    assert job.result
    assert [one.get("bytes") for one in job.result["results"]] == [len(png)] * 18 + [None, len(png)]
    assert job.result["results"][18]["error"]["type"] == "urn:faceattr:unsupported-media"
    async with client.post(f"{url}/jobs", data=form(*[png] * 21)) as response:
        assert (await response.json())["type"] == "urn:faceattr:batch-too-large"


@pytest.mark.parametrize(("query", "kind"), [("?do=refuse", "unreadable-image"), ("?do=raise", "internal")])
async def test_a_picture_that_fails_fails_its_job_with_the_same_problem(
    query: str, kind: str, make: Make, png: bytes, client: ClientSession
) -> None:
    url = await make()
    job = await told(client, await order(client, f"{url}/jobs{query}", png, **{"X-Request-ID": "mine"}))
    assert job.status == "failed"
    assert job.result is None
    assert job.error
    assert (job.error["type"], job.error["instance"]) == (f"urn:faceattr:{kind}", "mine")


async def test_what_cannot_come_to_anything_is_refused_at_once(make: Make, client: ClientSession) -> None:
    url = await make()
    for data, expected in ((b"no picture", 415), (b"", 400), (form(b"no picture"), 415)):
        async with client.post(f"{url}/jobs", data=data, headers=RAW if isinstance(data, bytes) else {}) as response:
            assert response.status == expected
    job = await told(client, await order(client, f"{url}/jobs", form(b"no picture", b"nor this")))
    assert job.result
    assert [one["error"]["status"] for one in job.result["results"]] == [415, 415]


async def test_the_name_of_a_pipeline_its_options_and_the_other_name_of_a_job(
    make: Make, png: bytes, client: ClientSession
) -> None:
    url = await make()
    job = await order(client, f"{url}/jobs?pipeline=trick&times=3", png)
    assert (await told(client, job.replace("/jobs/", "/result/"))).status == "done"
    for query in ("?pipeline=none", "?times=0", "?unknown=1", "?pipeline=trick&pipeline=trick"):
        async with client.post(f"{url}/jobs{query}", data=png, headers=RAW) as response:
            assert (response.status, (await response.json())["type"]) == (400, "urn:faceattr:bad-option")


async def test_who_prefers_that_is_answered_later_on_the_pipelines_own_path_too(
    make: Make, png: bytes, client: ClientSession
) -> None:
    url = f"{await make()}/trick"
    async with client.post(url, data=png, headers=RAW | {"Prefer": "respond-async, wait=9"}) as response:
        assert (response.status, response.headers["Preference-Applied"]) == (202, "respond-async")
        where = url.replace("/trick", response.headers["Location"])
    assert (await told(client, where)).status == "done"
    drawn = RAW | {"Prefer": "respond-async", "Accept": "image/png"}
    async with client.post(url, data=png, headers=drawn) as response:  # which no job can come to
        assert (response.status, "Preference-Applied" in response.headers) == (200, False)


async def test_where_the_app_is_mounted_the_job_is_too(serve: Serve, png: bytes, client: ClientSession) -> None:
    host = web.Application()
    host.add_subapp("/vision", make_app(Config.model_validate({"pipelines": {"trick": TRICK}})))
    url = await serve(host)
    job = await order(client, f"{url}/vision/jobs", png)
    assert job.startswith(f"{url}/vision/jobs/")
    assert (await told(client, job)).status == "done"


async def test_a_job_tells_how_far_it_is_and_wakes_who_waits(
    make: Make, gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)})
    job = await order(client, f"{url}/jobs", form(png, png))
    await asyncio.to_thread(gate.wait_for, 1)
    now = await told(client, job, wait=0)
    assert (now.status, now.progress.done, now.progress.of, now.result) == ("running", 0, 2, None)
    assert (await told(client, job, wait=0.05)).status == "running"
    waiting = asyncio.create_task(told(client, job))
    gate.open()
    assert (await waiting).status == "done"


async def test_who_knows_the_answer_already_is_told_so(make: Make, png: bytes, client: ClientSession) -> None:
    url = await make()
    job = await order(client, f"{url}/jobs", png)
    async with client.get(job, headers={"Prefer": "wait=900"}) as response:
        assert response.headers["Preference-Applied"] == "wait=60"
        etag = response.headers["ETag"]
    async with client.get(job, headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", etag)
    async with client.get(job, headers={"If-None-Match": '"another"'}) as response:
        assert response.status == 200


async def test_a_request_goes_before_all_jobs_that_wait(
    make: Make,
    gate: Gate,
    apps: list[web.Application],
    png: bytes,
    client: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("faceattr_aio.jobs.memory._LOOK_AGAIN_S", 1000)  # the end of each wakes the next
    url = await make({"gate": str(gate.folder)}, inference={"workers": 1, "limit": 3, "timeout_s": 60})
    jobs = [await order(client, f"{url}/jobs", png) for _ in range(5)]
    await asyncio.to_thread(gate.wait_for, 1)
    asking = [asyncio.create_task(client.post(f"{url}/trick", data=png, headers=RAW)) for _ in range(2)]
    async with asyncio.timeout(30):
        while apps[0][EXECUTOR].limiter.in_flight < 3:  # one picture of one job, and the requests
            await asyncio.sleep(0.005)
    done: list[str] = []

    async def note(who: str, task: Awaitable[Any]) -> None:
        await task
        done.append(who)

    noting = [note("request", one) for one in asking] + [note("job", told(client, one)) for one in jobs[1:]]
    watching = asyncio.gather(*noting)
    gate.open()
    await watching
    assert done[:2] == ["request"] * 2
    assert [one.result().status for one in asking] == [200, 200]


async def test_jobs_take_no_more_than_one_slot_for_each_worker(
    make: Make, gate: Gate, apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)}, inference={"workers": 2, "limit": 4, "timeout_s": 60})
    jobs = [await order(client, f"{url}/jobs", form(png, png, png)) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 2)
    assert apps[0][EXECUTOR].limiter.in_flight == 2
    asking = [asyncio.create_task(client.post(f"{url}/trick", data=png, headers=RAW)) for _ in range(2)]
    async with asyncio.timeout(30):
        while apps[0][EXECUTOR].limiter.in_flight < 4:
            await asyncio.sleep(0.005)
    async with client.post(f"{url}/trick", data=png, headers=RAW) as response:
        assert response.status == 503
    gate.open()
    assert [(await one).status for one in asking] == [200, 200]
    assert [(await told(client, job)).status for job in jobs] == ["done"] * 3


async def test_when_the_queue_is_full_it_is_503_before_the_body_and_tells_when_there_is_room(
    make: Make, gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)}, jobs={"waiting": 2})
    jobs = [await order(client, f"{url}/jobs", png) for _ in range(2)]
    for path, headers in (("/jobs", {}), ("/trick", {"Prefer": "respond-async"})):
        async with client.post(f"{url}{path}", data=png, headers=RAW | headers) as response:
            document = await response.json(content_type="application/problem+json")
            assert (response.status, document["type"]) == (503, "urn:faceattr:overloaded")
            assert (document["limit"], document["in_flight"]) == (2, 2)
            assert int(response.headers["Retry-After"]) >= 1
    assert await expect(url, "/jobs", 1000) == 503
    gate.open()
    assert [(await told(client, job)).status for job in jobs] == ["done"] * 2
    await told(client, await order(client, f"{url}/jobs", png))


async def test_pictures_of_jobs_leave_half_of_the_room_to_requests(
    make: Make, gate: Gate, png: bytes, client: ClientSession
) -> None:
    room = {"max_bytes": len(png) * 2, "max_spool_bytes": len(png) * 4}
    url = await make({"gate": str(gate.folder)}, upload=room)
    job = await order(client, f"{url}/jobs", png)
    await asyncio.to_thread(gate.wait_for, 1)
    another = await order(client, f"{url}/jobs", png)
    async with client.post(f"{url}/jobs", data=png, headers=RAW) as response:
        assert (response.status, (await response.json())["type"]) == (503, "urn:faceattr:storage")
    asking = asyncio.create_task(client.post(f"{url}/trick", data=png, headers=RAW))
    gate.open()
    assert (await asking).status == 200
    assert [(await told(client, one)).status for one in (job, another)] == ["done"] * 2


async def test_one_client_has_half_of_the_queue_where_there_is_fairness(
    make: Make, gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)}, jobs={"waiting": 4}, clients={"fair": True})
    jobs = [await order(client, f"{url}/jobs", png) for _ in range(2)]
    async with client.post(f"{url}/jobs", data=png, headers=RAW) as response:
        assert response.status == 429
    gate.open()
    assert [(await told(client, job)).status for job in jobs] == ["done"] * 2


async def test_a_job_is_seen_by_the_key_that_made_it_and_no_other(
    make: Make, gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)}, auth={"keys": [KEY, f"other-{KEY}"]})
    mine, others = {"X-API-Key": KEY}, {"X-API-Key": f"other-{KEY}"}
    job = await order(client, f"{url}/jobs", png, **mine)
    assert await status(client, "GET", job, **others) == 404
    gate.open()
    assert (await told(client, job, 30, **mine)).status == "done"
    for method in ("GET", "DELETE"):
        assert await status(client, method, job) == 401
        assert await status(client, method, job, **others) == 404
    assert await status(client, "DELETE", job, **mine) == 204


async def test_a_job_that_was_cancelled_or_is_unknown_or_over_for_long_is_not_there(
    make: Make, gate: Gate, apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)})
    begun, queued = [await order(client, f"{url}/jobs", png) for _ in range(2)]
    await asyncio.to_thread(gate.wait_for, 1)
    waiting = asyncio.create_task(status(client, "GET", queued, Prefer="wait=30"))
    assert await status(client, "DELETE", queued) == 204
    assert await waiting == 404
    jobs = apps[0][JOBS].jobs
    assert isinstance(jobs, MemoryJobs)
    assert not jobs._queue  # nothing of it is left
    assert [await status(client, method, queued) for method in ("GET", "DELETE")] == [404, 404]
    assert await status(client, "GET", f"{url}/jobs/nothing") == 404
    assert await status(client, "DELETE", begun) == 204
    assert jobs.room.limiter.in_flight == 0
    gate.open()
    async with asyncio.timeout(30):
        while apps[0][EXECUTOR].limiter.in_flight:
            await asyncio.sleep(0.005)
    assert not gate.somebody_came()  # the other one was never begun
    over = await order(client, f"{url}/jobs", png)
    assert (await told(client, over)).status == "done"
    assert await status(client, "DELETE", over) == 204
    assert await status(client, "GET", over) == 404


class SlowCache(MemoryCache):
    """Knows nothing, and not at once."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.asked, self.answering = asyncio.Event(), asyncio.Event()

    async def get(self, _: str) -> str | None:
        self.asked.set()
        await self.answering.wait()
        return None


async def test_a_job_that_is_cancelled_while_its_result_is_looked_up_is_not_begun(
    make: Make, gate: Gate, apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await make({"factory": "tests.support.pipelines:Steady", "gate": str(gate.folder)})
    (endpoint,) = apps[0][JOBS].endpoints.values()
    endpoint.results.cache = cache = SlowCache()
    job = await order(client, f"{url}/jobs", png)
    await cache.asked.wait()
    assert await status(client, "DELETE", job) == 204
    cache.answering.set()
    gate.open()
    endpoint.results.cache = None
    assert (await told(client, await order(client, f"{url}/jobs", png))).status == "done"
    await asyncio.to_thread(gate.wait_for, 1)
    assert not gate.somebody_came()


async def test_what_came_of_a_job_is_kept_for_a_while_and_of_the_last_ones_only(
    make: Make, png: bytes, client: ClientSession
) -> None:
    url = await make(jobs={"keep_s": 0.2, "kept": 1})
    first, second = [await order(client, f"{url}/jobs", png) for _ in range(2)]
    assert (await told(client, second)).status == "done"
    assert await status(client, "GET", first) == 404
    async with asyncio.timeout(30):
        while await status(client, "GET", second) == 200:
            await asyncio.sleep(0.02)


async def test_a_server_that_drains_takes_no_job_and_ends_those_it_has(
    make: Make, gate: Gate, apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)})
    jobs = [await order(client, f"{url}/jobs", png) for _ in range(2)]
    drain(apps[0])
    async with client.post(f"{url}/jobs", data=png, headers=RAW) as response:
        assert (response.status, (await response.json())["type"]) == (503, "urn:faceattr:draining")
    assert not is_idle(apps[0])
    gate.open()
    assert [(await told(client, job)).status for job in jobs] == ["done"] * 2
    async with asyncio.timeout(30):
        while not is_idle(apps[0]):
            await asyncio.sleep(0.005)


async def test_who_waits_for_a_job_that_is_given_up_is_told_why(
    make: Make, gate: Gate, apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)})
    jobs = [await order(client, f"{url}/jobs", png) for _ in range(2)]
    waiting = [asyncio.create_task(told(client, job)) for job in jobs]
    await asyncio.to_thread(gate.wait_for, 1)
    await apps[0].shutdown()
    for job in await asyncio.gather(*waiting):
        assert (job.status, job.error and job.error["type"]) == ("failed", "urn:faceattr:draining")
    gate.open()


async def test_a_result_that_is_known_costs_a_job_nothing(make: Make, png: bytes, client: ClientSession) -> None:
    url = await make({"factory": "tests.support.pipelines:Steady"})
    async with client.post(f"{url}/trick", data=png, headers=RAW) as response:
        assert (await response.json())["cached"] is False
    job = await told(client, await order(client, f"{url}/jobs", form(png, png)))
    assert job.result
    assert [one["cached"] for one in job.result["results"]] == [True, True]


async def test_metrics_tell_what_became_of_jobs(make: Make, gate: Gate, png: bytes, client: ClientSession) -> None:
    url = await make({"gate": str(gate.folder)})
    jobs = [await order(client, f"{url}/jobs", png) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 1)
    assert await metrics(client, url) == {"waiting": 2, "running": 1, "done": 0, "failed": 0, "cancelled": 0}
    assert await status(client, "DELETE", jobs[2]) == 204
    gate.open()
    for job in jobs[:2]:
        await told(client, job)
    await told(client, await order(client, f"{url}/jobs?do=refuse", png))
    assert await metrics(client, url) == {"waiting": 0, "running": 0, "done": 2, "failed": 1, "cancelled": 1}


async def metrics(client: ClientSession, url: str) -> dict[str, int]:
    async with client.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("faceattr_jobs_"))
    ended = {how: found[f'faceattr_jobs_ended_total{{outcome="{how}"}}'] for how in ("done", "failed", "cancelled")}
    now = {how: found[f"faceattr_jobs_{how}"] for how in ("waiting", "running")}
    return {name: int(float(value)) for name, value in {**now, **ended}.items()}


@pytest.mark.parametrize(
    ("path", "length", "expected"),
    [("/jobs?pipeline=none", 9, 400), ("/jobs?callback=http://a", 9, 400), ("/jobs", 9_000_000, 413)],
)
async def test_an_expectation_is_refused_by_what_is_behind_the_path(
    path: str, length: int, expected: int, make: Make
) -> None:
    url = await make(upload={"max_bytes": 2000})
    assert await expect(url, path, length) == expected


async def expect(url: str, path: str, length: int) -> int:
    """The first status that comes when one is asked for before the body."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n"
    writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])


@pytest.mark.parametrize("pipeline", [{}, {"factory": "tests.support.pipelines:Drawing"}])
async def test_without_jobs_there_are_no_such_paths_and_the_preference_is_passed_over(
    pipeline: dict[str, Any], serve: Serve, png: bytes, client: ClientSession
) -> None:
    sections = {} if pipeline else {"jobs": {"backend": "none"}}
    url = await serve(make_app(Config.model_validate({"pipelines": {"trick": TRICK | pipeline}, **sections})))
    async with client.post(f"{url}/jobs", data=png, headers=RAW) as response:
        assert response.status == 404
    async with client.post(f"{url}/trick", data=png, headers=RAW | {"Prefer": "respond-async"}) as response:
        assert response.status == 200
    async with client.get(f"{url}/openapi.json") as response:
        described = json.loads(await response.text())
    assert [path for path in described["paths"] if "job" in path or "result" in path] == []
    assert "202" not in described["paths"]["/trick"]["post"]["responses"]
