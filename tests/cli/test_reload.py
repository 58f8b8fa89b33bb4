"""SIGHUP to a real server: with one or several processes, under load, and with invalid settings."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import TRICK, Server, start_server
from tests.support.serving import RAW

RELOADED = "settings reloaded; a restart is needed for "
FAILED = "nothing was reloaded"


class ReloadableServer:
    """A server with its settings file and its log."""

    def __init__(self, folder: Path, settings: str) -> None:
        self._file = folder / "faceattr.toml"
        self._log = folder / "log.txt"
        with self._log.open("w") as log:
            self.server = start_server(folder, settings, {}, log=log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def reload(self, settings: str, message: str, times: int = 1) -> str:
        """Write the settings and send SIGHUP. Return the new log after `times` messages."""
        before = len(self.log)
        self._file.write_text(settings)
        os.kill(self.server.pid, signal.SIGHUP)
        async with asyncio.timeout(PATIENCE_S):
            while self.log[before:].count(message) < times:
                await asyncio.sleep(0.01)
        return self.log[before:]


StartReloadable = Callable[[str], ReloadableServer]


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[StartReloadable]:
    """Start servers with a log that tests can read."""
    servers: list[Server] = []

    def start(settings: str) -> ReloadableServer:
        started = ReloadableServer(tmp_path, settings)
        servers.append(started.server)
        return started

    yield start
    for server in servers:
        server.kill()


@asynccontextmanager
async def load(client: ClientSession, url: str, png: bytes, clients: int = 4) -> AsyncIterator[Counter[str]]:
    """Count the outcomes of clients that send requests in a loop."""
    outcomes, end = Counter[str](), asyncio.Event()

    async def repeat() -> None:
        while not end.is_set():
            async with client.post(url, data=png, headers=RAW) as response:
                problem = await response.json(content_type=None) if response.status != 200 else {}
                outcomes[problem.get("type") or str(response.status)] += 1
            await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(repeat()) for _ in range(clients)]
    yield outcomes
    end.set()
    await asyncio.gather(*tasks)


async def test_a_reload_under_load_applies_settings_and_fails_no_request(
    logged: StartReloadable, png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    inference = "[inference]\nworkers = 2\nlimit = "
    one = logged(f"{inference}3\n{TRICK}sleep_s = 0.01\n")
    workers = set(one.server.descendants())
    async with load(client, f"{one.server.url}/trick", png) as outcomes:
        log = await one.reload(f"[server]\nkeepalive_s = 9\n{inference}4\n{TRICK}sleep_s = 0.02\n", RELOADED)
        assert f"{RELOADED}server.keepalive_s\n" in log
        broken = f"{inference}1\n{TRICK}broken_while = '{tmp_path}'\n"
        log = await one.reload(broken, FAILED)
        assert log.count(" ERROR ") == 1
        assert "The trick is broken: repair it." in log
        log = await one.reload("[server]\ndrain_s = -1\n", FAILED)
        assert log.count(" ERROR ") == 1
        assert "server.drain_s = -1" in log
        outcomes["urn:faceattr:overloaded"] = 0
        while outcomes["200"] < 300:
            await asyncio.sleep(0.01)
    assert outcomes.keys() == {"200", "urn:faceattr:overloaded"}
    assert outcomes["urn:faceattr:overloaded"] == 0  # the limit is four
    async with client.get(f"{one.server.url}/readyz?verbose") as response:
        assert (response.status, (await response.json())["last_reload"][:20]) == (200, "server.drain_s = -1,")
    assert len(set(one.server.descendants()) - workers) == 2
    assert len(one.server.descendants()) == len(workers)
    assert one.server.stop() == 0


async def test_a_damaged_model_is_refused_until_it_is_restored(
    logged: StartReloadable, png: bytes, client: ClientSession, models_folder: Path
) -> None:
    settings = f"[inference]\nworkers = 1\n[models]\ndir = '{models_folder}'\n"
    one = logged(settings)
    content = (models_folder / "age-v1.onnx").read_bytes()
    (models_folder / "age-v1.onnx").write_bytes(content[:-1])
    log = await one.reload(settings, FAILED)
    assert "age-v1.onnx is damaged" in log
    async with client.post(f"{one.server.url}/analyze", data=png, headers=RAW) as response:
        assert response.status == 200
        assert len((await response.json())["faces"]) == 1
    (models_folder / "age-v1.onnx").write_bytes(content)
    await one.reload(settings, RELOADED)
    async with client.post(f"{one.server.url}/analyze", data=png, headers=RAW) as response:
        assert response.status == 200


async def test_all_processes_reload_and_an_invalid_file_is_logged_once(
    logged: StartReloadable, png: bytes, client: ClientSession
) -> None:
    two = "[server]\nprocesses = 2\n[inference]\nworkers = 2\nlimit = {}\n"
    one = logged(f"{two.format(4)}{TRICK}")
    before, processes = set(one.server.descendants()), one.server.serving()
    async with load(client, f"{one.server.url}/trick", png, clients=2) as outcomes:
        await one.reload("[server]\ndrain_s = -1\n", FAILED)
        log = await one.reload(f"{two.format(6).replace('= 2', '= 3', 1)}{TRICK}", RELOADED, times=2)
        assert log.count(f"{RELOADED}server.processes\n") == 2
    assert outcomes.keys() <= {"200", "urn:faceattr:overloaded"}
    assert outcomes["200"]
    assert one.log.count(" ERROR ") == 1
    assert one.server.serving() == processes
    assert len(set(one.server.descendants()) - before) == 2  # a new worker in each
    assert one.server.stop() == 0


async def test_sighup_to_the_whole_process_group_ends_no_process(
    logged: StartReloadable, png: bytes, client: ClientSession
) -> None:
    """A service manager may signal all processes that it started."""
    one = logged(f"[inference]\nworkers = 1\n{TRICK}")
    for pid in one.server.descendants():
        os.kill(pid, signal.SIGHUP)
    await one.reload(f"[inference]\nworkers = 1\n{TRICK}", RELOADED)
    async with client.post(f"{one.server.url}/trick", data=png, headers=RAW) as response:
        assert response.status == 200
    assert one.server.stop() == 0


async def test_sigterm_during_a_reload_stops_the_server(
    logged: StartReloadable, png: bytes, client: ClientSession
) -> None:
    one = logged(f"[inference]\nworkers = 2\n{TRICK}")
    started = set(one.server.descendants())
    os.kill(one.server.pid, signal.SIGHUP)
    while set(one.server.descendants()) <= started:
        await asyncio.sleep(0.001)
    async with client.post(f"{one.server.url}/trick", data=png, headers=RAW) as response:
        assert response.status == 200
    assert await asyncio.to_thread(one.server.stop) == 0


async def test_a_reloaded_drain_time_applies_at_the_end(
    logged: StartReloadable, gate: Gate, png: bytes, client: ClientSession
) -> None:
    settings = f"drain_s = {{}}\n[inference]\nworkers = 1\ntimeout_s = 600\n{TRICK}gate = '{gate.folder}'\n"
    one = logged("[server]\n" + settings.format(600))
    held = asyncio.create_task(client.post(f"{one.server.url}/trick", data=png, headers=RAW))
    await asyncio.to_thread(gate.wait_for, 1)
    await one.reload("[server]\n" + settings.format(0.1), RELOADED)
    os.kill(one.server.pid, signal.SIGTERM)
    assert await asyncio.to_thread(one.server.process.wait, PATIENCE_S) == 0
    assert "draining took more than 0.1 s; the remaining work is cancelled" in one.log
    assert (await held).status == 503
