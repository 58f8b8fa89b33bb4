"""Bad wires: a proxy that delays and resets, and a link with hardly any bandwidth in a network namespace of its own.
Knows nothing of what goes over them.
"""

import asyncio
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

_CHUNK = 1 << 16


@dataclass
class Weather:
    """What the wire does now: delays each piece by up to `delay_s`, cuts the connection at a share of them."""

    delay_s: float = 0.0
    resets: float = 0.0
    cut: int = 0
    """Connections that it has cut so far."""

    def clear(self) -> None:
        self.delay_s = self.resets = 0.0

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """From end to end, piece by piece. Raises ConnectionError."""
        while data := await source.read(_CHUNK):
            if random.random() < self.resets:
                self.cut += 1
                raise ConnectionResetError
            await asyncio.sleep(random.uniform(0, self.delay_s))
            sink.write(data)
            await sink.drain()
        raise ConnectionError  # the other direction ends with it


@asynccontextmanager
async def unreliable(url: str, weather: Weather) -> AsyncIterator[str]:
    """The address of a proxy to that server."""
    target, carrying = urlsplit(url), set[asyncio.Task[None]]()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(target.hostname, target.port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(weather.carry(reader, back))
                both.create_task(weather.carry(there, writer))
        except* ConnectionError:
            pass
        finally:
            writer.transport.abort()
            back.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.create_task(carry(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)


def tc(*words: str) -> None:
    """Tells the kernel about the loopback link. Raises CalledProcessError."""
    subprocess.run(["tc", "qdisc", *words], check=True)  # noqa: S603, S607  # Debian's own


@contextmanager
def narrow(kilobits: int) -> Iterator[None]:
    """So many kilobits a second over loopback. Only in a network namespace of one's own: see `inside`."""
    tc("add", "dev", "lo", "root", "tbf", "rate", f"{kilobits}kbit", "burst", "16kb", "latency", "400ms")
    try:
        yield
    finally:
        tc("del", "dev", "lo", "root")


def raise_link() -> None:
    """Brings up the loopback link of a new namespace, with packets as long as a real wire's."""
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1500", "up"], check=True)  # noqa: S607  # Debian's own


def inside(kind: str) -> list[str]:
    """What goes before a command to run it in a namespace of its own: `net` or `mount`."""
    return ["unshare", f"--{kind}", "--map-root-user"]


def permitted(kind: str, *programs: str) -> bool:
    """Whether such a namespace can be made here, and these programs are there."""
    if any(shutil.which(program) is None for program in ("unshare", *programs)):
        return False
    return subprocess.run([*inside(kind), "true"], check=False, capture_output=True).returncode == 0  # noqa: S603
