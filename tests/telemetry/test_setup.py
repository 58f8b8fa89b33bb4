"""Metrics, statistics and access log of a server after known loads, read over HTTP."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, FormData
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from faceattr_aio.config.schema import Config
from faceattr_aio.telemetry.setup import make_metrics_app
from faceattr_aio.web.app import make_app
from tests.conftest import Serve
from tests.support.gate import Gate

ENTRY = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}
RAW = {"Content-Type": "image/png"}
Read = Callable[..., Awaitable[float]]


def config(trick: dict[str, str] | None = None, **sections: dict[str, Any]) -> Config:
    entry = ENTRY | (trick or {})
    return Config.model_validate({"inference": {"workers": 1, "limit": 2}, "pipelines": {"trick": entry}, **sections})


@pytest.fixture
def read(client: ClientSession) -> Read:
    """Return a function that sums the samples in /metrics of a name with at least these labels."""

    async def scrape(url: str, name: str, /, **labels: str) -> float:
        async with client.get(f"{url}/metrics") as response:
            assert response.status == 200
            families = text_string_to_metric_families(await response.text())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    return scrape


async def post(client: ClientSession, url: str, data: bytes, **headers: str) -> int:
    async with client.post(f"{url}/trick", data=data, headers=RAW | headers) as response:
        await response.read()
        return response.status


async def test_a_known_load_gives_known_counts(serve: Serve, client: ClientSession, read: Read, png: bytes) -> None:
    url = await serve(make_app(config()))
    batch = FormData()
    for _ in range(2):
        batch.add_field("image", png, filename="a.png")
    async with client.post(f"{url}/trick", data=batch) as response:
        assert response.status == 200
    assert [await post(client, url, data) for data in (png, b"no picture")] == [200, 415]
    requests = "http_server_request_duration_seconds_count"
    assert await read(url, requests, http_route="/trick", http_response_status_code="200") == 2
    assert await read(url, requests, http_response_status_code="415", error_type="unsupported-media") == 1
    assert await read(url, "faceattr_pictures_total", pipeline="trick") == 4
    assert await read(url, "faceattr_tricks_total") == 3
    for stage in ("queue", "decode", "trick"):
        assert await read(url, "faceattr_stage_duration_seconds_count", pipeline="trick", stage=stage) == 3
    assert await read(url, "faceattr_stage_duration_seconds_count", stage="upload") == 3
    assert await read(url, "faceattr_model_info", name="trick", sha256="0" * 64) == 1
    assert await read(url, "faceattr_build_info") == 1
    assert await read(url, "faceattr_memory_bytes") > 1 << 20


async def test_gauges_show_the_load_and_refusals_are_counted_by_reason(
    serve: Serve, client: ClientSession, read: Read, gate: Gate, png: bytes
) -> None:
    url = await serve(make_app(config({"gate": str(gate.folder)})))
    requests = [asyncio.create_task(post(client, url, png)) for _ in range(2)]
    await asyncio.to_thread(gate.wait_for, 1)
    async with asyncio.timeout(30):
        while await read(url, "faceattr_in_flight") < 2:
            await asyncio.sleep(0.01)
    assert await read(url, "faceattr_in_flight_limit") == 2
    assert await read(url, "faceattr_waiting") == 1
    assert await read(url, "faceattr_spool_bytes") == 2 * len(png)
    assert await read(url, "faceattr_spool_limit_bytes") == config().upload.max_spool_bytes
    assert [await post(client, url, png) for _ in range(3)] == [503] * 3
    assert await post(client, url, png, Expect="100-continue") == 503
    gate.open()
    assert await asyncio.gather(*requests) == [200, 200]
    assert await read(url, "faceattr_requests_rejected_total", reason="overloaded") == 4
    assert await read(url, "faceattr_requests_rejected_total") == 4
    async with asyncio.timeout(30):
        while await read(url, "faceattr_in_flight") + await read(url, "faceattr_spool_bytes"):
            await asyncio.sleep(0.01)


async def test_stats_returns_the_window_and_one_request(serve: Serve, client: ClientSession, png: bytes) -> None:
    url = await serve(make_app(config(stats={"alert_error_rate": 0.3})))
    assert await post(client, url, png, **{"X-Request-ID": "mine"}) == 200
    async with client.post(f"{url}/trick?do=raise", data=png, headers=RAW) as response:
        assert response.status == 500
    async with client.get(f"{url}/stats") as response:
        document = await response.json()
    assert document["totals"] == {"answered": 1, "client_errors": 0, "refused": 0, "failed": 1}
    assert (document["in_flight"], document["limit"], document["workers"]) == (0, 2, 1)
    assert document["window"]["error_rate"] == 0.5
    assert document["alerts"] == [{"name": "error_rate", "value": 0.5, "bound": 0.3}]
    async with client.get(f"{url}/stats/mine") as response:
        record = await response.json()
    assert (record["status"], record["received_bytes"], record["tricks"]) == (200, len(png), 1)
    assert list(record["stages_ms"]) == ["upload", "queue", "decode", "trick"]
    async with client.get(f"{url}/stats/of-nobody") as response:
        assert response.status == 404


async def test_logs_one_line_for_each_request_unless_disabled(
    serve: Serve, client: ClientSession, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "faceattr_aio.access")
    url = await serve(make_app(config()))
    quiet = await serve(make_app(config(logging={"requests": False})))
    assert await post(client, quiet, png) == 200
    assert await post(client, url, png, **{"X-Request-ID": "mine"}) == 200
    async with client.get(f"{url}/stats"):
        pass  # which flushes the records
    (line,) = [record.getMessage() for record in caplog.records if record.name == "faceattr_aio.access"]
    assert line.startswith("POST /trick 200 ")
    assert f" in={len(png)} " in line
    assert " id=mine " in line


async def test_file_names_are_not_recorded(
    serve: Serve, client: ClientSession, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = await serve(make_app(config()))
    form = FormData()
    form.add_field("image", png, filename="secret name.png")
    async with client.post(f"{url}/trick", data=form, headers={"X-Request-ID": "mine"}) as response:
        assert response.status == 200
    async with client.get(f"{url}/stats/mine") as response:
        assert "secret" not in await response.text()
    assert "secret" not in caplog.text


async def test_metrics_can_be_added_to_a_registry_of_the_host(serve: Serve, client: ClientSession, png: bytes) -> None:
    registry = CollectorRegistry()
    url = await serve(make_app(config(), registry))
    assert await post(client, url, png) == 200
    async with asyncio.timeout(30):
        while registry.get_sample_value("faceattr_tricks_total") != 1:
            await asyncio.sleep(0.02)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        make_app(config(), registry)


async def test_metrics_on_a_separate_port_are_not_exposed_by_the_service(
    serve: Serve, client: ClientSession, read: Read, png: bytes
) -> None:
    app = make_app(config(server={"metrics_port": 9100}))
    url, own = await serve(app), await serve(make_metrics_app(app))
    assert await post(client, url, png) == 200
    async with client.get(f"{url}/metrics") as response:
        assert response.status == 404
    assert await read(own, "faceattr_tricks_total") == 1
    async with client.get(f"{own}/stats") as response:
        assert response.status == 404


async def test_a_client_that_disconnects_is_not_a_server_error(
    serve: Serve, client: ClientSession, gate: Gate, png: bytes, read: Read
) -> None:
    url = await serve(make_app(config({"gate": str(gate.folder)})))
    leaving = asyncio.create_task(post(client, url, png))
    await asyncio.to_thread(gate.wait_for, 1)
    leaving.cancel()
    gate.open()
    async with asyncio.timeout(30):
        while await read(url, "faceattr_in_flight"):
            await asyncio.sleep(0.01)
    async with client.get(f"{url}/stats") as response:
        assert (await response.json())["totals"]["failed"] == 0


async def test_measures_the_event_loop_lag_of_a_running_app(serve: Serve, read: Read) -> None:
    url = await serve(make_app(config()))
    async with asyncio.timeout(30):
        while not await read(url, "faceattr_event_loop_lag_seconds_count"):
            await asyncio.sleep(0.02)
