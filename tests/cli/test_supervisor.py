"""Several serving processes behind one port."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from aiohttp import ClientOSError, ClientSession, ServerDisconnectedError
from prometheus_client.parser import text_string_to_metric_families

from faceattr_aio.cli.supervisor import divide_config
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import StartError
from tests.conftest import StartServer
from tests.support.cli import run
from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import TRICK, Server
from tests.support.serving import RAW, hold, post, until_ended

TWO = "[server]\nprocesses = 2\n[inference]\nworkers = 2\nlimit = 4\n"


def config(processes: int, workers: int, limit: int) -> Config:
    return Config.model_validate(
        {"server": {"processes": processes}, "inference": {"workers": workers, "limit": limit}}
    )


def test_the_limits_of_all_processes_add_up() -> None:
    whole = config(3, 4, 17)
    shares = [divide_config(whole, number) for number in range(3)]
    assert [one.inference.workers for one in shares] == [2, 1, 1]
    assert [one.inference.limit for one in shares] == [6, 6, 5]
    assert sum(one.upload.max_in_progress for one in shares) == whole.upload.max_in_progress
    assert sum(one.upload.max_streams for one in shares) == whole.upload.max_streams


def test_divides_a_range_of_workers_and_derives_a_limit_that_is_not_set() -> None:
    whole = Config.model_validate({"server": {"processes": 3}, "inference": {"workers_min": 4, "workers_max": 8}})
    shares = [divide_config(whole, number).inference for number in range(3)]
    assert [(one.workers_min, one.workers_max) for one in shares] == [(2, 3), (1, 3), (1, 2)]
    assert [(one.workers, one.limit, one.limit_of(2)) for one in shares] == [(None, None, 8)] * 3


def test_each_process_can_store_at_least_one_upload() -> None:
    whole = Config.model_validate({"server": {"processes": 128}, "inference": {"workers": 128}})
    assert divide_config(whole, 127).upload.max_spool_bytes == whole.upload.max_bytes


@pytest.mark.parametrize(("workers", "limit"), [(1, 8), (8, 1)])
def test_refuses_fewer_workers_or_slots_than_processes(workers: int, limit: int) -> None:
    with pytest.raises(StartError, match="2 processes need as many workers and slots"):
        divide_config(config(2, workers, limit), 0)


async def post_to_both(server: Server, png: bytes) -> int:
    """Post pictures until each process has answered one. Return their number."""
    workers, done = set[int](), 0
    async with asyncio.timeout(PATIENCE_S):
        while len(workers) < 2:
            async with ClientSession() as client, client.post(f"{server.url}/trick", data=png, headers=RAW) as response:
                workers.add((await response.json())["pid"])
            done += 1
    return done


async def metric(server: Server, name: str) -> float:
    """Return the sum of the samples of that name."""
    async with ClientSession() as client, client.get(f"{server.url}/metrics") as response:
        families = text_string_to_metric_families(await response.text())
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


async def until_metric(server: Server, name: str, value: float) -> None:
    """Wait until the sum has the value: the metrics of other processes are up to half a second old."""
    async with asyncio.timeout(PATIENCE_S):
        while await metric(server, name) != value:
            await asyncio.sleep(0.02)


async def until_restarted(server: Server, before: list[int]) -> None:
    """Wait until another process has replaced one of these."""
    async with asyncio.timeout(PATIENCE_S):
        while (now := server.serving()) == before or len(now) < 2:
            await asyncio.sleep(0.01)


async def test_both_processes_serve_one_port_and_a_killed_one_is_restarted(start: StartServer, png: bytes) -> None:
    server = start(f"{TWO}{TRICK}")
    first, second = server.serving()
    os.kill(first, signal.SIGKILL)
    await until_restarted(server, [first, second])
    await post_to_both(server, png)
    assert server.stop() == 0


async def test_metrics_of_all_processes_add_up_and_include_those_of_a_killed_one(
    start: StartServer, png: bytes, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    server = start(f"{TWO}{TRICK}", TMPDIR=str(temporary))
    first, second = server.serving()
    done = await post_to_both(server, png)
    await until_metric(server, "faceattr_tricks_total", done)
    assert await metric(server, "faceattr_in_flight_limit") == 4
    os.kill(first, signal.SIGKILL)
    await until_restarted(server, [first, second])
    done += await post_to_both(server, png)
    await until_metric(server, "faceattr_tricks_total", done)
    assert await metric(server, "faceattr_in_flight_limit") == 4
    assert server.stop() == 0
    assert not list(temporary.glob("faceattr-*"))


async def test_sigterm_to_the_process_group_finishes_accepted_requests_and_leaves_no_process(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession
) -> None:
    server = start(f"{TWO}timeout_s = 60\n{TRICK}gate = '{gate.folder}'\n")
    started = server.descendants()
    held = await hold(client, server, png, gate)
    for pid in (server.pid, *server.serving()):
        os.kill(pid, signal.SIGTERM)
    done, _ = await asyncio.wait(held, timeout=2.5)
    assert not done
    gate.open()
    assert [status for status, _ in await asyncio.gather(*held)] == [200]
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0
    await until_ended(started)


async def test_after_sigkill_no_process_remains(start: StartServer, png: bytes, client: ClientSession) -> None:
    server = start(f"{TWO}{TRICK}")
    assert (await post(client, server, png))[0] == 200
    started = server.descendants()
    server.kill()
    await until_ended(started)


async def test_a_second_signal_ends_all_processes_at_once(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession
) -> None:
    server = start(f"{TWO}timeout_s = 60\n{TRICK}gate = '{gate.folder}'\n")
    started = server.descendants()
    (held,) = await hold(client, server, png, gate)
    os.kill(server.pid, signal.SIGTERM)
    await asyncio.sleep(0.1)
    os.kill(server.pid, signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 1
    await until_ended(started)
    with pytest.raises((ClientOSError, ServerDisconnectedError)):
        await held


def test_an_error_of_one_process_stops_all_with_one_message(tmp_path: Path) -> None:
    ended = run(tmp_path, "serve", "--port", "0", "--processes", "2", "--workers", "2", FACEATTR_MODELS__DIR="/nowhere")
    assert ended.returncode == 2
    assert "is missing: run 'faceattr-aio models pull'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
