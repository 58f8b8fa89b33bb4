"""Time from the start command to the first answer with faces.

python -m bench.startup --rounds 5
"""

import argparse
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.load.overload import PICTURE, TYPE
from bench.support.served import QUIET, start_server

LONGEST_S = 1.5
SETTINGS = "[inference]\nworkers = 2\n"


def measure(settings: str = SETTINGS) -> float:
    """Seconds until the first 200. The server prints its line as soon as all workers are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        server = start_server(Path(folder), settings, QUIET)
        try:
            request = urllib.request.Request(  # noqa: S310  # a server that this function started
                f"{server.url}/analyze", PICTURE.read_bytes(), {"Content-Type": TYPE}
            )
            with urllib.request.urlopen(request) as response:  # noqa: S310  # see above
                assert response.status == 200  # noqa: PLR2004  # an answer with faces
            return time.perf_counter() - began
        finally:
            server.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.startup")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    seconds = median(measure() for _ in range(rounds))
    print(f"the first answer after {seconds:.2f} s (limit {LONGEST_S} s)")
    return 0 if seconds < LONGEST_S else 1


if __name__ == "__main__":
    sys.exit(main())
