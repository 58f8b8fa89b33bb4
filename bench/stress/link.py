"""Bad network links: a proxy that delays and resets, and a link with little bandwidth in a separate namespace."""

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
class LinkFaults:
    """The faults of the link now: delays each chunk by up to `delay_s`, resets the connection at a share of chunks."""

    delay_s: float = 0.0
    resets: float = 0.0
    cut: int = 0
    """Connections that were reset so far."""

    def clear(self) -> None:
        self.delay_s = self.resets = 0.0

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Copy from one end to the other. Raises ConnectionError."""
        while data := await source.read(_CHUNK):
            if random.random() < self.resets:
                self.cut += 1
                raise ConnectionResetError
            await asyncio.sleep(random.uniform(0, self.delay_s))
            sink.write(data)
            await sink.drain()
        raise ConnectionError  # the other direction ends with it


@asynccontextmanager
async def unreliable(url: str, faults: LinkFaults) -> AsyncIterator[str]:
    """Yield the address of a proxy to that server."""
    target, carrying = urlsplit(url), set[asyncio.Task[None]]()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(target.hostname, target.port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(faults.carry(reader, back))
                both.create_task(faults.carry(there, writer))
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
    """Configure the loopback link. Raises CalledProcessError."""
    subprocess.run(["tc", "qdisc", *words], check=True)  # noqa: S603, S607  # a system program


@contextmanager
def narrow(kilobits: int) -> Iterator[None]:
    """Limit the loopback link to that bandwidth. Use it only in a separate network namespace: see `inside`."""
    tc("add", "dev", "lo", "root", "tbf", "rate", f"{kilobits}kbit", "burst", "16kb", "latency", "400ms")
    try:
        yield
    finally:
        tc("del", "dev", "lo", "root")


def raise_link() -> None:
    """Bring up the loopback link of a new namespace, with packets of the size of a real network."""
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1500", "up"], check=True)  # noqa: S607  # a system program


def inside(kind: str) -> list[str]:
    """The words before a command that run it in a separate namespace of this kind: `net` or `mount`."""
    return ["unshare", f"--{kind}", "--map-root-user"]


def permitted(kind: str, *programs: str) -> bool:
    """Return whether such a namespace can be created here, and these programs are installed."""
    if any(shutil.which(program) is None for program in ("unshare", *programs)):
        return False
    return subprocess.run([*inside(kind), "true"], check=False, capture_output=True).returncode == 0  # noqa: S603
