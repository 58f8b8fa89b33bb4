"""Opens connections, each answered once and kept, prints their number, and holds them until its standard input ends.

python -m bench.stress.holding 127.0.0.1 5000 10000 127.0.0.2
"""

import argparse
import resource
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

_ASK = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
_PATIENCE_S = 10.0


def open_one(to: tuple[str, int], source: str) -> socket.socket:
    """Open a connection and request /livez. Raises OSError if there is no answer."""
    with ExitStack() as failing:
        opened = failing.enter_context(socket.create_connection(to, _PATIENCE_S, (source, 0)))
        opened.sendall(_ASK)
        if b" 200 " not in opened.recv(4096):
            raise ConnectionError("The connection was opened but got no answer.")
        failing.pop_all()
    return opened


def open_many(to: tuple[str, int], source: str, most: int, within_s: float) -> tuple[list[socket.socket], str]:
    """Open connections up to `most`; return them, and the reason if there are fewer."""
    held: list[socket.socket] = []
    end = time.monotonic() + within_s
    try:
        while len(held) < most and time.monotonic() < end:
            held.append(open_one(to, source))
    except OSError as error:
        return held, str(error)
    return held, "" if len(held) == most else "the time limit was reached"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stress.holding")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("source")
    parser.add_argument("--within", type=float, default=60.0)
    chosen = parser.parse_args(arguments)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held, reason = open_many((chosen.host, chosen.port), chosen.source, chosen.count, chosen.within)
    print(len(held), reason, flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
