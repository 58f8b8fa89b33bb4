"""What can break under a steady load, and what is measured while it does. Knows not in which namespace it runs: some
of these do harm outside of one of their own.
"""

import asyncio
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from bench.load.overload import PICTURE, TYPE
from bench.stress import fleet, wire
from bench.stress.pulse import Beat, Pulse, pulse, settled
from bench.support.served import QUIET, UNCACHED, Server, children, start_server
from bench.support.sleeper import SLEEP

LONGEST_S = 60.0
NARROW_KBIT = 1500
DELAY_S, RESETS = 0.05, 0.1
DISK = "size=4m"


@dataclass(frozen=True)
class Setting:
    """What is served while it breaks, how many requests a second there are, and how long it is watched before, during
    and after.
    """

    config: str = ""
    path: str = "/analyze"
    rate: float = 10.0
    seconds: float = 5.0

    def with_workers(self, workers: int, more: str = "") -> str:
        return f"{UNCACHED}[inference]\nworkers = {workers}\nlimit = {8 * workers}\n{more}{self.config}"


SLEEPY = Setting(f"{SLEEP}seconds = 0.02\n", "/sleep", rate=40.0, seconds=1.0)
"""Without a net, for machines that have better things to do."""


class Outcome(BaseModel):
    """`lost` had no answer or a wrong one, `refused` were told to come back, both from the fault on. `settled_s` is
    from when the trouble was over until the last request that was not accepted had ended; `whole_s` until everything
    was there again, if that can be seen.
    """

    trouble: str
    requests: int
    lost: int
    refused: int
    settled_s: float
    whole_s: float | None = None
    outcomes: dict[str, int]
    note: str = ""


def tell(trouble: str, beats: Sequence[Beat], fault: float, mended: float, **more: object) -> Outcome:
    since = [beat for beat in beats if beat.ended >= fault]
    return Outcome.model_validate(
        {
            "trouble": trouble,
            "requests": len(since),
            "lost": sum(not beat.accepted and not beat.refused for beat in since),
            "refused": sum(beat.refused for beat in since),
            "settled_s": settled(beats, mended),
            "outcomes": dict(Counter(beat.outcome for beat in since)),
            **more,
        }
    )


@contextmanager
def _served(config: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w") as log:
        server = start_server(Path(name), config, QUIET, log=log)
        try:
            yield server
        finally:
            server.kill()


def workers(server: Server) -> set[int]:
    """The worker processes: what the fork server has started."""
    return {worker for child in server.children() for worker in children(child)}


def beating(url: str, setting: Setting) -> AbstractAsyncContextManager[Pulse]:
    return pulse(url + setting.path, PICTURE.read_bytes(), TYPE, setting.rate)


async def _after(found: Pulse, setting: Setting) -> None:
    """Watches it until it goes well, and for a while more."""
    await found.until(round(setting.rate * setting.seconds), within_s=LONGEST_S)


async def worker(setting: Setting) -> Outcome:
    """Any of two, whatever it is at."""
    with _served(setting.with_workers(2)) as server:
        async with beating(server.url, setting) as found:
            await _after(found, setting)
            before = workers(server)
            killed, fault = random.choice(sorted(before)), time.monotonic()
            os.kill(killed, signal.SIGKILL)
            async with asyncio.timeout(LONGEST_S):
                while len(now := workers(server)) < len(before) or killed in now:  # noqa: ASYNC110  # other processes
                    await asyncio.sleep(0.01)
            whole = time.monotonic() - fault
            await _after(found, setting)
    return tell("a worker killed", found.beats, fault, fault, whole_s=whole, note="until there were two again")


async def instance(setting: Setting) -> Outcome:
    """One of three, with all it was at; it comes back after a while."""
    with tempfile.TemporaryDirectory() as name, fleet.fleet(Path(name), setting.with_workers(1)) as (url, instances):
        async with beating(url, setting) as found:
            await _after(found, setting)
            lost, fault = random.choice(instances), time.monotonic()
            lost.kill()
            await _after(found, setting)
            returned = time.monotonic()
            lost.restart()
            await found.until(1, by=f":{lost.port}", within_s=LONGEST_S)
            whole = time.monotonic() - returned
            await _after(found, setting)
    note = "settled from the loss on; whole from the restart until it answered again"
    return tell("one of three instances lost", found.beats, fault, fault, whole_s=whole, note=note)


async def slow(setting: Setting) -> Outcome:
    """A link with less bandwidth than is asked of it; runs in a network namespace of its own."""
    wire.raise_link()
    with _served(setting.with_workers(2)) as server:
        async with beating(server.url, setting) as found:
            await _after(found, setting)
            fault = time.monotonic()
            with wire.narrow(NARROW_KBIT):
                await asyncio.sleep(setting.seconds)
            mended = time.monotonic()
            await _after(found, setting)
    return tell(f"a wire of {NARROW_KBIT} kbit/s", found.beats, fault, mended, note="settled from its mending on")


async def unreliable(setting: Setting) -> Outcome:
    """Delays, and connections that are reset."""
    weather = wire.Weather()
    with _served(setting.with_workers(2)) as server:
        async with wire.unreliable(server.url, weather) as url, beating(url, setting) as found:
            await _after(found, setting)
            fault = time.monotonic()
            weather.delay_s, weather.resets = DELAY_S, RESETS
            await asyncio.sleep(setting.seconds)
            weather.clear()
            mended = time.monotonic()
            await _after(found, setting)
    return tell("an unreliable wire", found.beats, fault, mended, note=f"{weather.cut} connections were cut")


async def disk(setting: Setting) -> Outcome:
    """No room for uploads, for a while; runs in a mount namespace of its own."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", name], check=True)  # noqa: ASYNC221, S603, S607
        with _served(setting.with_workers(2, f"[upload]\ndir = '{name}'\n")) as server:
            async with beating(server.url, setting) as found:
                await _after(found, setting)
                fault, filler = time.monotonic(), Path(name) / "filler"
                while time.monotonic() < fault + setting.seconds:
                    _fill(filler)  # again: uploads that were under way have given back their room
                    await asyncio.sleep(0.02)
                filler.unlink()
                mended = time.monotonic()
                await _after(found, setting)
        subprocess.run(["umount", name], check=True)  # noqa: ASYNC221, S603, S607
    return tell("a full disk", found.beats, fault, mended, note="settled from when there was room again")


def _fill(file: Path) -> None:
    """Until there is no room, not for a byte."""
    with file.open("ab", buffering=0) as out:
        for size in (1 << 16, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue


@dataclass(frozen=True)
class Trouble:
    """`space` is the kind of namespace that it needs, `programs` what has to be installed."""

    run: Callable[[Setting], Awaitable[Outcome]]
    space: str = ""
    programs: tuple[str, ...] = ()

    def missing(self) -> str:
        """Why it cannot be had here; nothing if it can."""
        if self.space:
            return "" if wire.permitted(self.space, *self.programs) else f"no {self.space} namespace of one's own"
        return "" if fleet.installed() or "nginx" not in self.programs else "nginx is not installed"


TROUBLES = {
    "worker": Trouble(worker),
    "instance": Trouble(instance, programs=("nginx",)),
    "slow": Trouble(slow, "net", ("ip", "tc")),
    "unreliable": Trouble(unreliable),
    "disk": Trouble(disk, "mount", ("mount",)),
}
