"""Faults of a server under load: killed workers, missing models, signals, and the accuracy of Retry-After."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from aiohttp import ClientSession

from tests.conftest import StartServer
from tests.support.gate import PATIENCE_S, Gate
from tests.support.http import RAW
from tests.support.process import TRICK, Server, descendants
from tests.support.serving import until_ended, until_not_ready


async def ask(client: ClientSession, server: Server, png: bytes, path: str = "/trick") -> tuple[int, str]:
    """Send a picture and return the status, and the type of the problem if there is one."""
    async with client.post(server.url + path, data=png, headers=RAW) as response:
        return response.status, (await response.json(content_type=None)).get("type", "")


async def test_retry_after_is_accurate_within_a_factor_of_two(
    start: StartServer, png: bytes, client: ClientSession
) -> None:
    server = start(f"[inference]\nworkers = 2\nlimit = 8\n{TRICK}sleep_s = 0.9\n")
    assert (await ask(client, server, png))[0] == 200
    held = [asyncio.create_task(ask(client, server, png)) for _ in range(8)]
    async with asyncio.timeout(PATIENCE_S):
        while (refusal := await client.post(f"{server.url}/trick", data=png[:100], headers=RAW)).status != 503:
            await asyncio.sleep(0.01)  # a truncated picture takes no slot
    asked, problem = time.monotonic(), await refusal.json(content_type=None)
    assert [status for status, _ in await asyncio.gather(*held)] == [200] * 8
    drained_s = time.monotonic() - asked
    assert drained_s > 3
    for retry_after_s in (int(refusal.headers["Retry-After"]), problem["retry_after_ms"] / 1e3):
        assert drained_s / 2 < retry_after_s < drained_s * 2
    assert (problem["limit"], problem["in_flight"]) == (8, 8)


async def test_a_killed_worker_fails_one_request_and_all_others_are_answered(
    start: StartServer, png: bytes, client: ClientSession
) -> None:
    server = start(f"[inference]\nworkers = 2\nlimit = 30\n{TRICK}")
    others = [ask(client, server, png) for _ in range(24)]
    answers = await asyncio.gather(ask(client, server, png, "/trick?do=die"), *others)
    assert answers[0] == (500, "urn:faceattr:internal")
    assert Counter(answers[1:]) == {(200, ""): 24}


async def test_the_server_is_not_ready_and_names_the_missing_model_when_a_worker_cannot_restart(
    start: StartServer, png: bytes, client: ClientSession, models_folder: Path
) -> None:
    server = start(f"[inference]\nworkers = 1\n[models]\ndir = '{models_folder}'\n")
    model = models_folder / "age-v1.onnx"
    model.rename(models_folder / "away")
    assert (await ask(client, server, png, "/analyze"))[0] == 200  # the model is loaded already
    os.kill(max(server.descendants()), signal.SIGKILL)
    await until_not_ready(client, server)
    detail = ""
    async with asyncio.timeout(PATIENCE_S):
        while "age-v1" not in detail:  # at first the detail is that all workers have ended
            async with client.get(f"{server.url}/readyz?verbose") as response:
                detail = (await response.json())["checks"]["workers"]
            await asyncio.sleep(0.01)
    assert "models pull" in detail
    assert await ask(client, server, png, "/analyze") == (503, "urn:faceattr:unavailable")
    (models_folder / "away").rename(model)
    async with asyncio.timeout(PATIENCE_S):
        while (await client.get(f"{server.url}/readyz")).status != 200:
            await asyncio.sleep(0.05)
    assert (await ask(client, server, png, "/analyze"))[0] == 200


async def test_sigterm_to_all_processes_under_full_load_loses_no_accepted_request(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    settings = f"[inference]\nworkers = 2\nlimit = 4\ntimeout_s = 60\n[upload]\ndir = '{spool}'\n"
    server = start(f"{settings}{TRICK}gate = '{gate.folder}'\n")
    started = server.descendants()
    requests = [asyncio.create_task(ask(client, server, png)) for _ in range(20)]
    await asyncio.to_thread(gate.wait_for, 2)
    async with asyncio.timeout(PATIENCE_S):
        while sum(task.done() for task in requests) < 16:
            await asyncio.sleep(0.01)
        for pid in [server.pid, *started]:
            os.kill(pid, signal.SIGTERM)
        await until_not_ready(client, server)
        while await ask(client, server, png) != (503, "urn:faceattr:draining"):  # on an open connection
            await asyncio.sleep(0.01)
    gate.open()
    assert Counter(await asyncio.gather(*requests)) == {(200, ""): 4, (503, "urn:faceattr:overloaded"): 16}
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0
    await until_ended(started)
    assert list(spool.iterdir()) == []


async def test_each_kill_of_a_worker_fails_at_most_one_request(
    start: StartServer, png: bytes, client: ClientSession
) -> None:
    server = start(f"[inference]\nworkers = 2\nlimit = 8\n{TRICK}sleep_s = 0.005\n")
    (forkserver,) = [pid for pid in server.children() if descendants(pid)]
    answers, killed, end = Counter[tuple[int, str]](), 0, asyncio.Event()

    async def send_requests() -> None:
        while not end.is_set():
            answers[await ask(client, server, png)] += 1

    sending = [asyncio.create_task(send_requests()) for _ in range(4)]
    for _ in range(30):
        await asyncio.sleep(0.1)
        if workers := descendants(forkserver):
            os.kill(random.choice(workers), signal.SIGKILL)
            killed += 1
    end.set()
    await asyncio.gather(*sending)
    assert killed > 15
    assert answers.keys() <= {(200, ""), (500, "urn:faceattr:internal"), (503, "urn:faceattr:overloaded")}
    assert answers[200, ""] > killed
    assert answers[500, "urn:faceattr:internal"] <= killed
    async with asyncio.timeout(PATIENCE_S):
        while len(descendants(forkserver)) < 2 or (await client.get(f"{server.url}/readyz")).status != 200:
            await asyncio.sleep(0.05)
    assert Counter([await ask(client, server, png) for _ in range(8)]) == {(200, ""): 8}
