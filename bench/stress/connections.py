"""Measures how many open connections this machine holds, and the memory of each in the server and in the kernel: for
this package's server, and for nginx in proxy of it.

    python -m bench.stress.connections --count 20000

Both ends are on this machine; the kernel's memory is reported for one end.
"""

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.stress.balancer import balanced, missing
from bench.support.served import QUIET, Server, environment, start_server
from bench.support.sleeper import SLEEP

COUNT = 20_000
WITHIN_S = 60.0
SPARE = 500
"""Descriptors that a process needs for other purposes."""
_HOLDERS = 4
_SERVER = f"[server]\nprocesses = {{processes}}\n[inference]\nworkers = {{processes}}\npool = 'thread'\n{SLEEP}"


@dataclass(frozen=True)
class Held:
    """`connections` of `wanted` were open at once, `reason` explains the difference; bytes are for each connection."""

    what: str
    wanted: int
    connections: int
    server_bytes: float
    kernel_bytes: float
    reason: str = ""

    def line(self) -> str:
        less = f" of {self.wanted}: {self.reason}" if self.connections < self.wanted else ""
        each = f"{self.server_bytes / 1e3:.1f} KB in the server, {self.kernel_bytes / 1e3:.1f} KB in the kernel"
        return f"{self.what}: {self.connections} connections open at once{less}; each takes {each}"


def descriptors() -> int:
    """Most descriptors of a process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def most_each() -> int:
    """Most connections of a process."""
    return max(1, descriptors() - SPARE)


def kernel_bytes() -> int:
    """Memory of the kernel in slabs and in buffers of TCP."""
    slab = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("Slab:"))
    tcp = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    pages = int(tcp.split()[tcp.split().index("mem") + 1])
    return int(slab.split()[1]) * 1024 + pages * os.sysconf("SC_PAGESIZE")


def hold(what: str, server: Server, count: int, within_s: float = WITHIN_S) -> Held:
    """Open the connections from several loopback addresses, each with about 28,000 ports; then close them."""
    before, kernel = server.proportional(), kernel_bytes()
    with _holders(server.url, count, within_s) as lines:
        opened = sum(int(line.split()[0]) for line in lines)
        reason = "; ".join(sorted({" ".join(line.split()[1:]) for line in lines} - {""}))
        inside, below = server.proportional() - before, (kernel_bytes() - kernel) / 2
    each = max(1, opened)
    return Held(what, count, opened, inside / each, max(0.0, below) / each, reason)


@contextmanager
def _holders(url: str, count: int, within_s: float) -> Iterator[list[str]]:
    """The line that each of some processes prints once it has opened its part of the connections."""
    to, base, rest = urlsplit(url), count // _HOLDERS, count % _HOLDERS
    with ExitStack() as stack:
        started = []
        for number in range(_HOLDERS):
            part = [str(to.hostname), str(to.port), str(base + (number < rest)), f"127.0.0.{number + 2}"]
            command = [sys.executable, "-m", "bench.stress.holding", *part, "--within", str(within_s)]
            process = subprocess.Popen(  # noqa: S603  # a module of this package
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
            )
            started.append(stack.enter_context(process))  # its exit closes the input and waits for the end
        yield [process.stdout.readline() if process.stdout else "" for process in started]


@contextmanager
def _ours(count: int) -> Iterator[Server]:
    """Start this package's server with enough processes for that many connections."""
    settings = _SERVER.format(processes=math.ceil(count / most_each()))
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w") as log:
        server = start_server(Path(name), settings, QUIET, None, log)
        try:
            yield server
        finally:
            server.kill_all()


def measure(count: int = COUNT) -> list[Held]:
    """Measure this package's server, and one process of nginx if it is installed."""
    with _ours(count) as server:
        held = [hold("faceattr_aio", server, count)]
    if missing() is None:
        with _ours(1) as server, tempfile.TemporaryDirectory() as name:
            cores, most = os.sched_getaffinity(0), min(count, most_each())
            with balanced([server.url], "least_conn", Path(name), cores, descriptors()) as proxy:
                held.append(hold("nginx", proxy, most))
    return held


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.connections")
    parser.add_argument("--count", type=int, default=COUNT)
    held = measure(parser.parse_args(arguments).count)
    print(f"{descriptors()} descriptors for each process")
    for one in held:
        print(one.line())
    return 0 if all(one.connections == one.wanted for one in held) else 1


if __name__ == "__main__":
    sys.exit(main())
