"""A real server for fuzzing, and checks that afterwards it uses the same resources as before: processes, memory,
descriptors, slots.
"""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from faceattr_aio.uploads.receive import CHUNK
from tests.support.process import PATIENCE_S, Server, start_server

WORKERS, LIMIT = 2, 4
ANSWER_S = 10.0
"""The setting `inference.timeout_s`: no response may take longer."""
_SERVER_GROWTH, _WORKER_GROWTH = 10 << 20, 50 << 20
_MIB = 1 << 20


@dataclass(frozen=True)
class Holdings:
    """Memory in bytes and number of descriptors of each process, by process id; the server is the first."""

    memory: Mapping[int, int]
    descriptors: Mapping[int, int]

    def __str__(self) -> str:
        server, *others = (f"{size / _MIB:.1f}" for size in self.memory.values())
        return f"server {server} MiB, processes {' '.join(others)} MiB"


class FuzzedServer:
    """`faceattr-aio serve` in `folder`. Its limits of uploads and of the spool are as low as the limit of slots, so
    that a leak makes a request fail.
    """

    def __init__(self, folder: Path, upload_s: float) -> None:
        self.spool = folder / "spool"
        self.spool.mkdir()
        upload = f"[upload]\ndir = '{self.spool}'\nmax_in_progress = {LIMIT}\ntimeout_s = {upload_s}\n"
        upload += f"max_bytes = {_MIB}\nmax_spool_bytes = {LIMIT * _MIB}\n"
        inference = f"[inference]\nworkers = {WORKERS}\nlimit = {LIMIT}\ntimeout_s = {ANSWER_S}\n"
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.process: Server = start_server(folder, f"[server]\ndrain_s = 5\n{inference}{upload}", {}, log=log)
        self.url = f"{self.process.url}/analyze"
        self._unused = self.holdings()

    def holdings(self) -> Holdings:
        pids = [self.process.pid, *self.process.descendants()]
        return Holdings({pid: _resident(pid) for pid in pids}, {pid: _descriptors(pid) for pid in pids})

    async def settled(self) -> Holdings:
        """Wait until the connections are closed and return the holdings. Fail unless processes and descriptors are the
        same as before the first connection.
        """
        await _until(lambda: self.holdings().descriptors == self._unused.descriptors)
        holdings = self.holdings()
        assert holdings.descriptors == self._unused.descriptors, "other processes, or descriptors left open"
        return holdings

    def faults(self) -> list[str]:
        """Return lines of the log that report an error."""
        markers = ("Traceback", " ERROR ")
        return [line for line in self._log.read_text(errors="replace").splitlines() if any(map(line.count, markers))]

    async def stop_and_check(self, before: Holdings, picture: bytes) -> Holdings:
        """Check that the server holds what it held before and that every slot is free; stop it; return the holdings."""
        after = await self.settled()
        assert list(self.spool.iterdir()) == []
        await self._fill_every_slot(picture)
        await _until(lambda: not self._grown(before))
        assert self._grown(before) == {}
        self._stop_idle()
        return after

    def kill(self) -> None:
        self.process.kill()

    async def _fill_every_slot(self, picture: bytes) -> None:
        """Start an upload for each upload slot, and then finish them, which needs each slot for work."""
        go_on = asyncio.Event()
        before = len(self.process.open_files())

        async def halves() -> AsyncIterator[bytes]:
            yield picture + bytes(CHUNK)  # shorter uploads are kept in memory
            await go_on.wait()

        async def upload(client: ClientSession) -> int:
            async with client.post(self.url, data=halves(), headers={"Content-Type": "image/png"}) as response:
                return response.status

        async with ClientSession() as client:
            uploads = [asyncio.create_task(upload(client)) for _ in range(LIMIT)]
            await _until(lambda: len(self.process.open_files()) == before + LIMIT)
            assert len(self.process.open_files()) == before + LIMIT, "not every upload slot is free"
            go_on.set()
            assert await asyncio.gather(*uploads) == [200] * LIMIT, "not every slot is free"

    def _grown(self, before: Holdings) -> dict[int, int]:
        """Return the growth in bytes of each process that has grown too much."""
        grown = {pid: size - before.memory[pid] for pid, size in self.holdings().memory.items()}
        server = self.process.pid
        return {
            pid: size for pid, size in grown.items() if size > (_SERVER_GROWTH if pid == server else _WORKER_GROWTH)
        }

    def _stop_idle(self) -> None:
        """Stop the server. With a slot in use it would wait for it and log that draining took too long."""
        assert self.process.stop() == 0
        assert "draining took more than" not in self._log.read_text(errors="replace"), "a slot was not released"


async def _until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true, for ten seconds at most, and return in any case."""
    for _ in range(round(PATIENCE_S / 6 / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
