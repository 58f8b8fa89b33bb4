"""Requests to a real server in a process of its own: overload, failures of workers, metrics and log."""

import asyncio
import os
import signal
from pathlib import Path

from aiohttp import ClientSession

from tests.conftest import StartServer
from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import TRICK, start_server
from tests.support.serving import RAW, post


async def test_two_workers_and_four_slots_answer_four_of_forty_uploads(
    start: StartServer, gate: Gate, png: bytes, tmp_path: Path, client: ClientSession
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    inference = "[inference]\nworkers = 2\nlimit = 4\ntimeout_s = 60\n"
    server = start(f"{inference}[upload]\ndir = '{spool}'\n{TRICK}gate = '{gate.folder}'\n")
    before = sorted(server.open_files())
    uploads = [asyncio.create_task(post(client, server, png)) for _ in range(40)]
    await asyncio.to_thread(gate.wait_for, 2)
    async with asyncio.timeout(PATIENCE_S):
        while sum(task.done() for task in uploads) < 36:  # the other four are in progress
            await asyncio.sleep(0.01)
    refused = [task.result() for task in uploads if task.done()]
    assert [status for status, _ in refused] == [503] * 36
    assert all(int(headers["Retry-After"]) >= 1 for _, headers in refused)
    assert list(spool.iterdir()) == []
    gate.open()
    assert sorted(status for status, _ in await asyncio.gather(*uploads)) == [200] * 4 + [503] * 36
    assert sorted(server.open_files()) == before
    again = await asyncio.gather(*(post(client, server, png) for _ in range(4)))
    assert [status for status, _ in again] == [200] * 4


async def test_an_idle_worker_that_is_killed_fails_no_request(
    start: StartServer, png: bytes, client: ClientSession
) -> None:
    server = start(f"[inference]\nworkers = 1\n{TRICK}")
    for _ in range(5):
        async with client.post(f"{server.url}/trick", data=png, headers=RAW) as response:
            assert response.status == 200
            worker = (await response.json())["pid"]
        os.kill(worker, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            while worker in server.descendants():  # its pipe is closed when all its threads have ended
                await asyncio.sleep(0.01)


async def test_a_busy_worker_that_is_killed_fails_only_its_request(
    start: StartServer, png: bytes, client: ClientSession
) -> None:
    server = start(f"[inference]\nworkers = 1\n{TRICK}")
    async with client.post(f"{server.url}/trick?do=die", data=png, headers=RAW) as response:
        assert response.status == 500
    assert (await post(client, server, png))[0] == 200


async def test_logs_failures_of_the_server_but_not_invalid_requests(
    png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w") as log:
        server = start_server(tmp_path, TRICK, {}, log=log)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"POST /trick HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        async with client.post(f"{server.url}/trick", data=b"junk", headers=form) as response:
            assert response.status == 400
        async with client.post(f"{server.url}/trick?do=raise", data=png, headers=RAW) as response:
            assert response.status == 500
        assert await asyncio.to_thread(server.stop) == 0
    finally:
        server.kill()
    logged = [line.split() for line in (tmp_path / "log").read_text().splitlines() if line[:2] == "20"]
    assert [words[2:4] for words in logged if words[3] != "faceattr_aio.access"] == [["ERROR", "faceattr_aio.problems"]]
    assert [words[6] for words in logged if words[3] == "faceattr_aio.access"] == ["400", "500"]


async def test_metrics_can_have_their_own_port(
    start: StartServer, png: bytes, client: ClientSession, unused_tcp_port: int
) -> None:
    server = start(f"[server]\nmetrics_port = {unused_tcp_port}\n{TRICK}")
    assert (await post(client, server, png))[0] == 200
    async with client.get(f"http://127.0.0.1:{unused_tcp_port}/metrics") as response:
        assert "faceattr_tricks_total 1.0" in await response.text()
    async with client.get(f"{server.url}/metrics") as response:
        assert response.status == 404
    assert server.stop() == 0
