"""The end of a real server: by signals, with requests in progress, and by SIGKILL."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import ClientSession

from tests.conftest import StartServer
from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import TRICK, Server, descendants, environment
from tests.support.serving import RAW, hold, post, until_ended, until_not_ready


async def test_sigterm_finishes_accepted_requests_and_leaves_no_process(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession
) -> None:
    server = start(f"[inference]\nworkers = 3\ntimeout_s = 60\n{TRICK}gate = '{gate.folder}'\n")
    started = server.descendants()
    held = await hold(client, server, png, gate, 3)
    os.kill(server.pid, signal.SIGTERM)
    await until_not_ready(client, server)
    done, _ = await asyncio.wait(held, timeout=2.5)  # longer than aiohttp waits by itself
    assert not done
    gate.open()
    assert [status for status, _ in await asyncio.gather(*held)] == [200] * 3
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0
    await until_ended(started)


async def test_sigint_to_the_whole_process_group_stops_the_server(
    start: StartServer, png: bytes, client: ClientSession
) -> None:
    server = start(TRICK)
    assert (await post(client, server, png))[0] == 200
    for pid in [*server.descendants(), server.pid]:
        os.kill(pid, signal.SIGINT)
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0


async def test_an_upload_in_progress_at_sigterm_is_received_and_answered(
    start: StartServer, png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    server = start(f"[upload]\ndir = '{tmp_path}'\n{TRICK}")
    before = len(server.open_files())
    resume = asyncio.Event()

    async def halves() -> AsyncIterator[bytes]:
        yield png[:300_000]  # more than is kept in memory
        await resume.wait()
        yield png[300_000:]

    upload = asyncio.create_task(client.post(f"{server.url}/trick", data=halves(), headers=RAW))
    async with asyncio.timeout(PATIENCE_S):
        while len(server.open_files()) == before:  # until the upload has a file on disk
            await asyncio.sleep(0.01)
    os.kill(server.pid, signal.SIGTERM)
    await until_not_ready(client, server)
    await asyncio.sleep(1.5)  # longer than aiohttp waits for handlers by itself
    resume.set()
    assert (await upload).status == 200
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0


async def test_a_restart_behind_a_balancer_that_checks_readiness_fails_no_request(
    start: StartServer, png: bytes
) -> None:
    """One of two servers stops. The balancer uses the servers that were ready at its last check."""
    servers = [start(f"[inference]\nworkers = 1\nlimit = 20\n{TRICK}sleep_s = 0.02\n") for _ in range(2)]
    ready, end, statuses = list(servers), asyncio.Event(), Counter[int]()

    async def is_ready(client: ClientSession, server: Server) -> bool:
        try:
            async with client.get(f"{server.url}/readyz") as response:
                return response.status == 200
        except OSError:
            return False

    async def balance(client: ClientSession) -> None:
        while not end.is_set():
            ready[:] = [server for server in servers if await is_ready(client, server)]
            await asyncio.sleep(0.1)

    async def ask(client: ClientSession, number: int) -> None:
        while not end.is_set():
            status, _ = await post(client, ready[number % len(ready)], png)
            statuses[status] += 1

    async with ClientSession() as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(balance(client))
        for number in range(6):
            tasks.create_task(ask(client, number))
        async with asyncio.timeout(PATIENCE_S):
            while statuses[200] < 50:
                await asyncio.sleep(0.01)
            servers[0].process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(servers[0].process.wait, PATIENCE_S) == 0
            before = statuses[200]
            while statuses[200] < before + 50:
                await asyncio.sleep(0.01)
        end.set()
    assert set(statuses) == {200}


def test_a_signal_during_the_start_stops_the_server(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "faceattr_aio", "serve", "--port", "0"], cwd=tmp_path, env=environment()
    )
    while not descendants(process.pid):  # the port is bound and the workers are starting
        assert process.poll() is None
    started = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    asyncio.run(until_ended(started))


async def test_requests_that_exceed_the_drain_time_are_answered_with_503(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession
) -> None:
    server = start(f"[server]\ndrain_s = 0.4\n[inference]\ntimeout_s = 60\n{TRICK}gate = '{gate.folder}'\n")
    (held,) = await hold(client, server, png, gate)
    assert await asyncio.to_thread(server.stop) == 0
    assert (await held)[0] == 503


async def test_a_second_signal_ends_the_server_at_once(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession
) -> None:
    server = start(f"{TRICK}gate = '{gate.folder}'\n")
    (held,) = await hold(client, server, png, gate)
    os.kill(server.pid, signal.SIGTERM)
    await until_not_ready(client, server)
    os.kill(server.pid, signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 1
    await asyncio.gather(held, return_exceptions=True)


async def test_after_sigkill_no_worker_and_no_file_remains(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    server = start(f"[upload]\ndir = '{spool}'\n{TRICK}gate = '{gate.folder}'\n")
    started = server.descendants()
    (held,) = await hold(client, server, png, gate)
    server.kill()
    await until_ended(started)
    assert list(spool.iterdir()) == []
    await asyncio.gather(held, return_exceptions=True)
