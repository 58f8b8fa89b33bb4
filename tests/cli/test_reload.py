"""SIGHUP to a real server, alone and of several processes, under load and with settings that cannot be used."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.cli.test_supervisor import serving
from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import TRICK, Server, start_server

RAW = {"Content-Type": "image/png"}
TOLD = "the settings were reloaded; a restart is needed for "


class Logged:
    """A server, its settings and its log, which can be waited for."""

    def __init__(self, folder: Path, settings: str) -> None:
        self._file = folder / "faceattr.toml"
        self._log = folder / "log.txt"
        with self._log.open("w") as log:
            self.server = start_server(folder, settings, {}, log=log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def reload(self, settings: str, said: str, times: int = 1) -> str:
        """Writes these, sends SIGHUP, and gives the log since once something was said so many times."""
        before = len(self.log)
        self._file.write_text(settings)
        os.kill(self.server.pid, signal.SIGHUP)
        async with asyncio.timeout(PATIENCE_S):
            while self.log[before:].count(said) < times:
                await asyncio.sleep(0.01)
        return self.log[before:]


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Callable[[str], Logged]]:
    """Starts a server of which the log is read."""
    servers: list[Server] = []

    def start(settings: str) -> Logged:
        started = Logged(tmp_path, settings)
        servers.append(started.server)
        return started

    yield start
    for server in servers:
        server.kill()


@asynccontextmanager
async def load(client: ClientSession, url: str, png: bytes, clients: int = 4) -> AsyncIterator[Counter[str]]:
    """Outcomes of clients that ask again and again."""
    seen, end = Counter[str](), asyncio.Event()

    async def ask() -> None:
        while not end.is_set():
            async with client.post(url, data=png, headers=RAW) as response:
                problem = await response.json(content_type=None) if response.status != 200 else {}
                seen[problem.get("type") or str(response.status)] += 1
            await asyncio.sleep(0.001)

    asking = [asyncio.create_task(ask()) for _ in range(clients)]
    yield seen
    end.set()
    await asyncio.gather(*asking)


async def test_a_reload_under_load_takes_settings_over_and_fails_nobody(
    logged: Callable[[str], Logged], png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    inference = "[inference]\nworkers = 2\nlimit = "
    one = logged(f"{inference}3\n{TRICK}sleep_s = 0.01\n")
    workers = set(one.server.descendants())
    async with load(client, f"{one.server.url}/trick", png) as seen:
        told = await one.reload(f"[server]\nkeepalive_s = 9\n{inference}4\n{TRICK}sleep_s = 0.02\n", TOLD)
        assert f"{TOLD}server.keepalive_s\n" in told
        broken = f"{inference}1\n{TRICK}broken_while = '{tmp_path}'\n"
        told = await one.reload(broken, "nothing was reloaded")
        assert told.count(" ERROR ") == 1
        assert "The trick is broken: mend it." in told
        told = await one.reload("[server]\ndrain_s = -1\n", "nothing was reloaded")
        assert told.count(" ERROR ") == 1
        assert "server.drain_s = -1" in told
        seen["urn:faceattr:overloaded"] = 0
        while seen["200"] < 300:
            await asyncio.sleep(0.01)
    assert seen.keys() == {"200", "urn:faceattr:overloaded"}
    assert seen["urn:faceattr:overloaded"] == 0  # the limit is four
    async with client.get(f"{one.server.url}/readyz?verbose") as response:
        assert (response.status, (await response.json())["last_reload"][:20]) == (200, "server.drain_s = -1,")
    assert len(set(one.server.descendants()) - workers) == 2
    assert len(one.server.descendants()) == len(workers)
    assert one.server.stop() == 0


async def test_a_damaged_model_is_refused_and_one_that_is_mended_is_taken(
    logged: Callable[[str], Logged], png: bytes, client: ClientSession, models_folder: Path
) -> None:
    settings = f"[inference]\nworkers = 1\n[models]\ndir = '{models_folder}'\n"
    one = logged(settings)
    whole = (models_folder / "age-v1.onnx").read_bytes()
    (models_folder / "age-v1.onnx").write_bytes(whole[:-1])
    told = await one.reload(settings, "nothing was reloaded")
    assert "age-v1.onnx is damaged" in told
    async with client.post(f"{one.server.url}/analyze", data=png, headers=RAW) as response:
        assert response.status == 200
        assert len((await response.json())["faces"]) == 1
    (models_folder / "age-v1.onnx").write_bytes(whole)
    await one.reload(settings, TOLD)
    async with client.post(f"{one.server.url}/analyze", data=png, headers=RAW) as response:
        assert response.status == 200


async def test_all_processes_reload_and_a_file_that_is_wrong_is_told_once(
    logged: Callable[[str], Logged], png: bytes, client: ClientSession
) -> None:
    two = "[server]\nprocesses = 2\n[inference]\nworkers = 2\nlimit = {}\n"
    one = logged(f"{two.format(4)}{TRICK}")
    before, members = set(one.server.descendants()), serving(one.server)
    async with load(client, f"{one.server.url}/trick", png, clients=2) as seen:
        await one.reload("[server]\ndrain_s = -1\n", "nothing was reloaded")
        told = await one.reload(f"{two.format(6).replace('= 2', '= 3', 1)}{TRICK}", TOLD, times=2)
        assert told.count(f"{TOLD}server.processes\n") == 2
    assert seen.keys() <= {"200", "urn:faceattr:overloaded"}
    assert seen["200"]
    assert one.log.count(" ERROR ") == 1
    assert serving(one.server) == members
    assert len(set(one.server.descendants()) - before) == 2  # a worker of each
    assert one.server.stop() == 0


async def test_a_hangup_of_the_whole_group_ends_no_process(
    logged: Callable[[str], Logged], png: bytes, client: ClientSession
) -> None:
    """As when a service manager signals all that it started."""
    one = logged(f"[inference]\nworkers = 1\n{TRICK}")
    for pid in one.server.descendants():
        os.kill(pid, signal.SIGHUP)
    await one.reload(f"[inference]\nworkers = 1\n{TRICK}", TOLD)
    async with client.post(f"{one.server.url}/trick", data=png, headers=RAW) as response:
        assert response.status == 200
    assert one.server.stop() == 0


async def test_a_signal_to_stop_in_the_middle_of_a_reload_stops(
    logged: Callable[[str], Logged], png: bytes, client: ClientSession
) -> None:
    one = logged(f"[inference]\nworkers = 2\n{TRICK}")
    started = set(one.server.descendants())
    os.kill(one.server.pid, signal.SIGHUP)
    while set(one.server.descendants()) <= started:
        await asyncio.sleep(0.001)
    async with client.post(f"{one.server.url}/trick", data=png, headers=RAW) as response:
        assert response.status == 200
    assert await asyncio.to_thread(one.server.stop) == 0


async def test_what_was_reloaded_counts_when_it_stops(
    logged: Callable[[str], Logged], gate: Gate, png: bytes, client: ClientSession
) -> None:
    settings = f"drain_s = {{}}\n[inference]\nworkers = 1\ntimeout_s = 600\n{TRICK}gate = '{gate.folder}'\n"
    one = logged("[server]\n" + settings.format(600))
    held = asyncio.create_task(client.post(f"{one.server.url}/trick", data=png, headers=RAW))
    await asyncio.to_thread(gate.wait_for, 1)
    await one.reload("[server]\n" + settings.format(0.1), TOLD)
    os.kill(one.server.pid, signal.SIGTERM)
    assert await asyncio.to_thread(one.server.process.wait, PATIENCE_S) == 0
    assert "what was not done within 0.1 s of draining is given up" in one.log
    assert (await held).status == 503
