"""The real server in a process of its own, as users run it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, FormData

from tests.conftest import StartServer
from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import TRICK, Server, descendants, environment, start_server

RAW = {"Content-Type": "image/png"}
Answer = tuple[int, dict[str, str]]


async def post(client: ClientSession, server: Server, data: bytes) -> Answer:
    """Status and headers of one multipart upload."""
    form = FormData()
    form.add_field("image", data, filename="a.png")
    async with client.post(f"{server.url}/trick", data=form) as response:
        await response.read()
        return response.status, dict(response.headers)


async def hold(
    client: ClientSession, server: Server, png: bytes, gate: Gate, workers: int = 1
) -> list[asyncio.Task[Answer]]:
    """So many requests, each with a worker that stands at the gate."""
    held = [asyncio.create_task(post(client, server, png)) for _ in range(workers)]
    await asyncio.to_thread(gate.wait_for, workers)
    return held


async def until_not_ready(client: ClientSession, server: Server) -> None:
    """Returns once readiness is down: the server has seen the signal."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with client.get(f"{server.url}/readyz") as response:
                if response.status == 503:
                    return
            await asyncio.sleep(0.01)


async def until_ended(processes: list[int]) -> None:
    """Returns once none of them runs."""
    async with asyncio.timeout(PATIENCE_S):
        while any(_runs(pid) for pid in processes):  # they are not our children
            await asyncio.sleep(0.01)


async def test_with_two_workers_and_four_slots_forty_uploads_give_four_answers(
    start: StartServer, gate: Gate, png: bytes, tmp_path: Path, client: ClientSession
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    inference = "[inference]\nworkers = 2\nlimit = 4\ntimeout_s = 60\n"
    server = start(f"{inference}[upload]\ndir = '{spool}'\n{TRICK}gate = '{gate.folder}'\n")
    before = sorted(server.open_files())
    storm = [asyncio.create_task(post(client, server, png)) for _ in range(40)]
    await asyncio.to_thread(gate.wait_for, 2)
    async with asyncio.timeout(PATIENCE_S):
        while sum(task.done() for task in storm) < 36:  # the four are held
            await asyncio.sleep(0.01)
    refused = [task.result() for task in storm if task.done()]
    assert [status for status, _ in refused] == [503] * 36
    assert all(int(headers["Retry-After"]) >= 1 for _, headers in refused)
    assert list(spool.iterdir()) == []
    gate.open()
    assert sorted(status for status, _ in await asyncio.gather(*storm)) == [200] * 4 + [503] * 36
    assert sorted(server.open_files()) == before
    again = await asyncio.gather(*(post(client, server, png) for _ in range(4)))
    assert [status for status, _ in again] == [200] * 4


async def test_sigterm_lets_accepted_work_end_and_leaves_no_process(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession
) -> None:
    server = start(f"[inference]\nworkers = 3\ntimeout_s = 60\n{TRICK}gate = '{gate.folder}'\n")
    started = server.descendants()
    held = await hold(client, server, png, gate, 3)
    os.kill(server.pid, signal.SIGTERM)
    await until_not_ready(client, server)
    done, _ = await asyncio.wait(held, timeout=2.5)  # longer than aiohttp alone would wait for them
    assert not done
    gate.open()
    assert [status for status, _ in await asyncio.gather(*held)] == [200] * 3
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0
    await until_ended(started)


async def test_sigint_to_the_whole_group_ends_it_as_well(start: StartServer, png: bytes, client: ClientSession) -> None:
    server = start(TRICK)
    assert (await post(client, server, png))[0] == 200
    for pid in [*server.descendants(), server.pid]:
        os.kill(pid, signal.SIGINT)
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0


async def test_an_upload_under_way_at_sigterm_is_taken_in_and_answered(
    start: StartServer, png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    server = start(f"[upload]\ndir = '{tmp_path}'\n{TRICK}")
    before = len(server.open_files())
    go_on = asyncio.Event()

    async def halves() -> AsyncIterator[bytes]:
        yield png[:300_000]  # more than is gathered before there is a file
        await go_on.wait()
        yield png[300_000:]

    upload = asyncio.create_task(client.post(f"{server.url}/trick", data=halves(), headers=RAW))
    async with asyncio.timeout(PATIENCE_S):
        while len(server.open_files()) == before:  # its file on disk
            await asyncio.sleep(0.01)
    os.kill(server.pid, signal.SIGTERM)
    await until_not_ready(client, server)
    await asyncio.sleep(1.5)  # longer than aiohttp waits for handlers by itself
    go_on.set()
    assert (await upload).status == 200
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0


async def test_clients_behind_a_balancer_that_asks_for_readiness_notice_nothing_of_a_restart(
    start: StartServer, png: bytes
) -> None:
    """Two servers, one of which goes down; the balancer takes who was ready a moment ago."""
    servers = [start(f"[inference]\nworkers = 1\nlimit = 20\n{TRICK}sleep_s = 0.02\n") for _ in range(2)]
    ready, end, seen = list(servers), asyncio.Event(), Counter[int]()

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
            seen[status] += 1

    async with ClientSession() as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(balance(client))
        for number in range(6):
            tasks.create_task(ask(client, number))
        async with asyncio.timeout(PATIENCE_S):
            while seen[200] < 50:
                await asyncio.sleep(0.01)
            servers[0].process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(servers[0].process.wait, PATIENCE_S) == 0
            before = seen[200]
            while seen[200] < before + 50:
                await asyncio.sleep(0.01)
        end.set()
    assert set(seen) == {200}


def test_a_signal_while_the_models_are_loaded_ends_it_as_well(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "faceattr_aio", "serve", "--port", "0"], cwd=tmp_path, env=environment()
    )
    while not descendants(process.pid):  # the port is bound, the workers are being started
        assert process.poll() is None
    started = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    asyncio.run(until_ended(started))


async def test_what_is_not_done_in_time_is_given_up_with_an_answer(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession
) -> None:
    server = start(f"[server]\ndrain_s = 0.4\n[inference]\ntimeout_s = 60\n{TRICK}gate = '{gate.folder}'\n")
    (held,) = await hold(client, server, png, gate)
    assert await asyncio.to_thread(server.stop) == 0
    assert (await held)[0] == 503


async def test_a_second_signal_ends_it_at_once(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession
) -> None:
    server = start(f"{TRICK}gate = '{gate.folder}'\n")
    (held,) = await hold(client, server, png, gate)
    os.kill(server.pid, signal.SIGTERM)
    await until_not_ready(client, server)
    os.kill(server.pid, signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 1
    await asyncio.gather(held, return_exceptions=True)


async def test_after_sigkill_no_worker_and_no_file_is_left(
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


async def test_a_worker_killed_while_idle_costs_nothing(start: StartServer, png: bytes, client: ClientSession) -> None:
    server = start(f"[inference]\nworkers = 1\n{TRICK}")
    for _ in range(5):
        async with client.post(f"{server.url}/trick", data=png, headers=RAW) as response:
            assert response.status == 200
            worker = (await response.json())["pid"]
        os.kill(worker, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            while worker in server.descendants():  # until all its threads are gone, and with them its pipe
                await asyncio.sleep(0.01)


async def test_a_killed_worker_costs_its_request_and_the_next_is_served(
    start: StartServer, png: bytes, client: ClientSession
) -> None:
    server = start(f"[inference]\nworkers = 1\n{TRICK}")
    async with client.post(f"{server.url}/trick?do=die", data=png, headers=RAW) as response:
        assert response.status == 500
    assert (await post(client, server, png))[0] == 200


async def test_what_is_wrong_with_a_request_is_told_to_the_client_and_what_is_wrong_with_us_to_the_log(
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
    said = [line.split() for line in (tmp_path / "log").read_text().splitlines() if line[:2] == "20"]
    assert [words[2:4] for words in said if words[3] != "faceattr_aio.access"] == [["ERROR", "faceattr_aio.problems"]]
    assert [words[6] for words in said if words[3] == "faceattr_aio.access"] == ["400", "500"]


def _runs(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def run(folder: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "faceattr_aio", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment(**more), timeout=PATIENCE_S
    )


async def test_metrics_can_have_a_port_of_their_own(
    start: StartServer, png: bytes, client: ClientSession, unused_tcp_port: int
) -> None:
    server = start(f"[server]\nmetrics_port = {unused_tcp_port}\n{TRICK}")
    assert (await post(client, server, png))[0] == 200
    async with client.get(f"http://127.0.0.1:{unused_tcp_port}/metrics") as response:
        assert "faceattr_tricks_total 1.0" in await response.text()
    async with client.get(f"{server.url}/metrics") as response:
        assert response.status == 404
    assert server.stop() == 0


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(tmp_path, "serve", "--port", str(port))
    assert ended.returncode == 2
    assert (
        ended.stderr
        == f"faceattr-aio: Port {port} on 127.0.0.1 is in use: end what listens there, or choose another.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (["--host", "no.such.host.invalid"], {}, "host no.such.host.invalid is not known"),
        (["--host", "a..b"], {}, "host a..b is not known"),
        ([], {"FACEATTR_SERVER": "x"}, "The environment cannot be read"),
        (["--workers", "0"], {}, "inference.workers = '0', from flag"),
        (["--config", "nowhere.toml"], {}, "nowhere.toml does not exist"),
        ([], {"FACEATTR_MODELS__DIR": "/nowhere"}, "is missing: run 'faceattr-aio models pull'"),
        ([], {"FACEATTR_UPLOAD__DIR": "/nowhere"}, "Uploads cannot be stored in /nowhere"),
    ],
)
def test_what_stops_the_start_is_one_sentence(
    arguments: list[str], more: dict[str, str], said: str, tmp_path: Path
) -> None:
    ended = run(tmp_path, "serve", "--port", "0", *arguments, **more)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_damaged_model_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "face_detection_full_range.tflite").write_bytes(b"damaged")
    ended = run(tmp_path, "serve", "--port", "0", FACEATTR_MODELS__DIR=str(tmp_path))
    assert ended.returncode == 2
    assert "is damaged" in ended.stderr
    assert "run 'faceattr-aio models pull'" in ended.stderr
