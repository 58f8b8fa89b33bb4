"""Jobs over HTTP, on real sockets: how they are submitted, read and removed."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import make_app
from tests.conftest import Serve
from tests.support.gate import Gate
from tests.support.jobs import RAW, TRICK_ENTRY, ServeJobs, fetch, form, status_before_body, status_of, submit

KEY = "one-key-of-sixteen"


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


async def test_a_job_has_the_answer_of_the_pipelines_own_path(
    serve_jobs: ServeJobs, png: bytes, client: ClientSession
) -> None:
    url, named = await serve_jobs(), {"X-Request-ID": "mine"}
    async with client.post(f"{url}/trick", data=png, headers=RAW | named) as response:
        answer = await response.json()
    for data, headers in ((png, RAW), (form(png), {}), (pieces(png), RAW)):
        job = await fetch(client, await submit(client, f"{url}/jobs", data, **headers, **named))
        assert (job.status, job.pipeline, job.progress.done, job.progress.of) == ("done", "trick", 1, 1)
        assert job.result == answer
        assert job.processing_s > 0


async def test_several_pictures_are_one_job_with_a_result_for_each_and_an_error_for_a_bad_one(
    serve_jobs: ServeJobs, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs(jobs={"max_batch": 20})
    job = await fetch(client, await submit(client, f"{url}/jobs", form(*[png] * 18, b"no picture", png)))
    assert job.status == "done"
    assert job.result
    assert [one.get("bytes") for one in job.result["results"]] == [len(png)] * 18 + [None, len(png)]
    assert job.result["results"][18]["error"]["type"] == "urn:faceattr:unsupported-media"
    async with client.post(f"{url}/jobs", data=form(*[png] * 21)) as response:
        assert (await response.json())["type"] == "urn:faceattr:batch-too-large"


@pytest.mark.parametrize(("query", "kind"), [("?do=refuse", "unreadable-image"), ("?do=raise", "internal")])
async def test_a_picture_that_fails_fails_its_job_with_the_same_problem(
    query: str, kind: str, serve_jobs: ServeJobs, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs()
    job = await fetch(client, await submit(client, f"{url}/jobs{query}", png, **{"X-Request-ID": "mine"}))
    assert job.status == "failed"
    assert job.result is None
    assert job.error
    assert (job.error["type"], job.error["instance"]) == (f"urn:faceattr:{kind}", "mine")


async def test_a_submission_without_a_usable_picture_is_refused_at_once(
    serve_jobs: ServeJobs, client: ClientSession
) -> None:
    url = await serve_jobs()
    for data, expected in ((b"no picture", 415), (b"", 400), (form(b"no picture"), 415)):
        async with client.post(f"{url}/jobs", data=data, headers=RAW if isinstance(data, bytes) else {}) as response:
            assert response.status == expected
    job = await fetch(client, await submit(client, f"{url}/jobs", form(b"no picture", b"nor this")))
    assert job.result
    assert [one["error"]["status"] for one in job.result["results"]] == [415, 415]


async def test_the_query_names_the_pipeline_and_its_options_and_result_is_an_alias_of_jobs(
    serve_jobs: ServeJobs, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs()
    job = await submit(client, f"{url}/jobs?pipeline=trick&times=3", png)
    assert (await fetch(client, job.replace("/jobs/", "/result/"))).status == "done"
    for query in ("?pipeline=none", "?times=0", "?unknown=1", "?pipeline=trick&pipeline=trick"):
        async with client.post(f"{url}/jobs{query}", data=png, headers=RAW) as response:
            assert (response.status, (await response.json())["type"]) == (400, "urn:faceattr:bad-option")


async def test_prefer_respond_async_submits_a_job_on_the_pipelines_own_path(
    serve_jobs: ServeJobs, png: bytes, client: ClientSession
) -> None:
    url = f"{await serve_jobs()}/trick"
    async with client.post(url, data=png, headers=RAW | {"Prefer": "respond-async, wait=9"}) as response:
        assert (response.status, response.headers["Preference-Applied"]) == (202, "respond-async")
        location = url.replace("/trick", response.headers["Location"])
    assert (await fetch(client, location)).status == "done"
    drawn = RAW | {"Prefer": "respond-async", "Accept": "image/png"}
    async with client.post(url, data=png, headers=drawn) as response:  # jobs have JSON results only
        assert (response.status, "Preference-Applied" in response.headers) == (200, False)


async def test_the_location_includes_the_prefix_of_a_mounted_app(
    serve: Serve, png: bytes, client: ClientSession
) -> None:
    host = web.Application()
    host.add_subapp("/vision", make_app(Config.model_validate({"pipelines": {"trick": TRICK_ENTRY}})))
    url = await serve(host)
    job = await submit(client, f"{url}/vision/jobs", png)
    assert job.startswith(f"{url}/vision/jobs/")
    assert (await fetch(client, job)).status == "done"


async def test_a_job_reports_its_progress_and_wakes_a_client_that_waits(
    serve_jobs: ServeJobs, gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"gate": str(gate.folder)})
    job = await submit(client, f"{url}/jobs", form(png, png))
    await asyncio.to_thread(gate.wait_for, 1)
    now = await fetch(client, job, wait=0)
    assert (now.status, now.progress.done, now.progress.of, now.result) == ("running", 0, 2, None)
    assert (await fetch(client, job, wait=0.05)).status == "running"
    waiting = asyncio.create_task(fetch(client, job))
    gate.open()
    assert (await waiting).status == "done"


async def test_an_etag_saves_sending_the_same_job_again(
    serve_jobs: ServeJobs, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs()
    job = await submit(client, f"{url}/jobs", png)
    async with client.get(job, headers={"Prefer": "wait=900"}) as response:
        assert response.headers["Preference-Applied"] == "wait=60"
        etag = response.headers["ETag"]
    async with client.get(job, headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", etag)
    async with client.get(job, headers={"If-None-Match": '"another"'}) as response:
        assert response.status == 200


async def test_only_the_key_that_submitted_a_job_may_read_or_remove_it(
    serve_jobs: ServeJobs, gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await serve_jobs({"gate": str(gate.folder)}, auth={"keys": [KEY, f"other-{KEY}"]})
    mine, other = {"X-API-Key": KEY}, {"X-API-Key": f"other-{KEY}"}
    job = await submit(client, f"{url}/jobs", png, **mine)
    assert await status_of(client, "GET", job, headers=other) == 404
    gate.open()
    assert (await fetch(client, job, 30, **mine)).status == "done"
    for method in ("GET", "DELETE"):
        assert await status_of(client, method, job) == 401
        assert await status_of(client, method, job, headers=other) == 404
    assert await status_of(client, "DELETE", job, headers=mine) == 204


@pytest.mark.parametrize(
    ("path", "length", "expected"),
    [("/jobs?pipeline=none", 9, 400), ("/jobs?callback=http://a", 9, 400), ("/jobs", 9_000_000, 413)],
)
async def test_a_request_that_expects_100_continue_is_refused_before_its_body(
    path: str, length: int, expected: int, serve_jobs: ServeJobs
) -> None:
    url = await serve_jobs(upload={"max_bytes": 2000})
    assert await status_before_body(url, path, length) == expected


@pytest.mark.parametrize("pipeline", [{}, {"factory": "tests.support.pipelines:Drawing"}])
async def test_without_jobs_their_paths_do_not_exist_and_the_preference_is_ignored(
    pipeline: dict[str, Any], serve: Serve, png: bytes, client: ClientSession
) -> None:
    sections = {} if pipeline else {"jobs": {"backend": "none"}}
    config = {"pipelines": {"trick": TRICK_ENTRY | pipeline}, **sections}
    url = await serve(make_app(Config.model_validate(config)))
    async with client.post(f"{url}/jobs", data=png, headers=RAW) as response:
        assert response.status == 404
    async with client.post(f"{url}/trick", data=png, headers=RAW | {"Prefer": "respond-async"}) as response:
        assert response.status == 200
    async with client.get(f"{url}/openapi.json") as response:
        described = json.loads(await response.text())
    assert [path for path in described["paths"] if "job" in path or "result" in path] == []
    assert "202" not in described["paths"]["/trick"]["post"]["responses"]
