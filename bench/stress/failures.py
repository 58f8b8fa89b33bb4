"""The failures that are caused under a steady load, and the measurement of their effect. Some of them must run in a
separate namespace, so that they do no harm outside.
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
from bench.stress import link, nginx_instances
from bench.stress.probes import Probe, Probes, send_probes, settled
from bench.support.served import QUIET, UNCACHED, Server, children, start_server
from bench.support.sleeper import SLEEP

LONGEST_S = 60.0
NARROW_KBIT = 1500
DELAY_S, RESETS = 0.05, 0.1
DISK = "size=4m"


@dataclass(frozen=True)
class Setting:
    """The settings of the server, the rate of requests, and the duration of each part: before, during and after."""

    config: str = ""
    path: str = "/analyze"
    rate: float = 10.0
    seconds: float = 5.0

    def with_workers(self, workers: int, more: str = "") -> str:
        return f"{UNCACHED}[inference]\nworkers = {workers}\nlimit = {8 * workers}\n{more}{self.config}"


SLEEPING = Setting(f"{SLEEP}seconds = 0.02\n", "/sleep", rate=40.0, seconds=1.0)
"""Settings without a net, for tests on a busy machine."""


class Outcome(BaseModel):
    """`lost` requests had no answer or a wrong one, `refused` ones were asked to retry; both count from the start of
    the failure. `settled_s`: time from its end to the end of the last request that was not accepted. `whole_s`: time
    until full recovery, if that is observable.
    """

    failure: str
    requests: int
    lost: int
    refused: int
    settled_s: float
    whole_s: float | None = None
    outcomes: dict[str, int]
    note: str = ""


def summarize(failure: str, probes: Sequence[Probe], fault: float, failure_ended: float, **more: object) -> Outcome:
    since = [probe for probe in probes if probe.ended >= fault]
    return Outcome.model_validate(
        {
            "failure": failure,
            "requests": len(since),
            "lost": sum(not probe.accepted and not probe.refused for probe in since),
            "refused": sum(probe.refused for probe in since),
            "settled_s": settled(probes, failure_ended),
            "outcomes": dict(Counter(probe.outcome for probe in since)),
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
    """The worker processes, which are the children of the fork server."""
    return {worker for child in server.children() for worker in children(child)}


def probing(url: str, setting: Setting) -> AbstractAsyncContextManager[Probes]:
    return send_probes(url + setting.path, PICTURE.read_bytes(), TYPE, setting.rate)


async def _after(found: Probes, setting: Setting) -> None:
    """Wait until requests are accepted again, and for some time more."""
    await found.until(round(setting.rate * setting.seconds), within_s=LONGEST_S)


async def worker(setting: Setting) -> Outcome:
    """Kill one of two workers, whatever it does."""
    with _served(setting.with_workers(2)) as server:
        async with probing(server.url, setting) as found:
            await _after(found, setting)
            before = workers(server)
            killed, fault = random.choice(sorted(before)), time.monotonic()
            os.kill(killed, signal.SIGKILL)
            async with asyncio.timeout(LONGEST_S):
                while len(now := workers(server)) < len(before) or killed in now:  # noqa: ASYNC110  # the state of other processes
                    await asyncio.sleep(0.01)
            whole = time.monotonic() - fault
            await _after(found, setting)
    return summarize("a worker killed", found.probes, fault, fault, whole_s=whole, note="recovered: two workers again")


async def instance(setting: Setting) -> Outcome:
    """Kill one of three instances with its requests in progress, and restart it later."""
    with (
        tempfile.TemporaryDirectory() as name,
        nginx_instances.start_instances(Path(name), setting.with_workers(1)) as (url, instances),
    ):
        async with probing(url, setting) as found:
            await _after(found, setting)
            lost, fault = random.choice(instances), time.monotonic()
            lost.kill()
            await _after(found, setting)
            returned = time.monotonic()
            lost.restart()
            await found.until(1, by=f":{lost.port}", within_s=LONGEST_S)
            whole = time.monotonic() - returned
            await _after(found, setting)
    note = "last error: from the loss; recovered: from the restart to its first answer"
    return summarize("one of three instances lost", found.probes, fault, fault, whole_s=whole, note=note)


async def slow(setting: Setting) -> Outcome:
    """Use a link with less bandwidth than the requests need; runs in a separate network namespace."""
    link.raise_link()
    with _served(setting.with_workers(2)) as server:
        async with probing(server.url, setting) as found:
            await _after(found, setting)
            fault = time.monotonic()
            with link.narrow(NARROW_KBIT):
                await asyncio.sleep(setting.seconds)
            failure_ended = time.monotonic()
            await _after(found, setting)
    return summarize(
        f"a network link of {NARROW_KBIT} kbit/s",
        found.probes,
        fault,
        failure_ended,
        note="last error: from the end of the failure",
    )


async def unreliable(setting: Setting) -> Outcome:
    """Delay data, and reset connections."""
    faults = link.LinkFaults()
    with _served(setting.with_workers(2)) as server:
        async with link.unreliable(server.url, faults) as url, probing(url, setting) as found:
            await _after(found, setting)
            fault = time.monotonic()
            faults.delay_s, faults.resets = DELAY_S, RESETS
            await asyncio.sleep(setting.seconds)
            faults.clear()
            failure_ended = time.monotonic()
            await _after(found, setting)
    return summarize(
        "an unreliable network link", found.probes, fault, failure_ended, note=f"{faults.cut} connections were reset"
    )


async def disk(setting: Setting) -> Outcome:
    """Fill the upload folder for some time; runs in a separate mount namespace."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", name], check=True)  # noqa: ASYNC221, S603, S607
        with _served(setting.with_workers(2, f"[upload]\ndir = '{name}'\n")) as server:
            async with probing(server.url, setting) as found:
                await _after(found, setting)
                fault, filler = time.monotonic(), Path(name) / "filler"
                while time.monotonic() < fault + setting.seconds:
                    _fill(filler)  # again, because uploads in progress release space
                    await asyncio.sleep(0.02)
                filler.unlink()
                failure_ended = time.monotonic()
                await _after(found, setting)
        subprocess.run(["umount", name], check=True)  # noqa: ASYNC221, S603, S607
    return summarize("a full disk", found.probes, fault, failure_ended, note="last error: from the end of the failure")


def _fill(file: Path) -> None:
    """Write until there is not space for one more byte."""
    with file.open("ab", buffering=0) as out:
        for size in (1 << 16, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue


@dataclass(frozen=True)
class Failure:
    """`space` is the kind of namespace that it needs, `programs` are the programs that it needs."""

    run: Callable[[Setting], Awaitable[Outcome]]
    space: str = ""
    programs: tuple[str, ...] = ()

    def missing(self) -> str:
        """The reason why it cannot run on this machine; empty if it can."""
        if self.space:
            return "" if link.permitted(self.space, *self.programs) else f"no permission for a {self.space} namespace"
        return "" if nginx_instances.installed() or "nginx" not in self.programs else "nginx is not installed"


FAILURES = {
    "worker": Failure(worker),
    "instance": Failure(instance, programs=("nginx",)),
    "slow": Failure(slow, "net", ("ip", "tc")),
    "unreliable": Failure(unreliable),
    "disk": Failure(disk, "mount", ("mount",)),
}
