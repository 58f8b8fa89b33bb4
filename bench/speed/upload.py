"""Throughput of uploads through the real server to its upload folder, with their CPU time and memory: by size, by form,
on disk and on tmpfs. The pipeline does nothing. The server has one core, with its worker; the load has another. A
picture is a small JPEG followed by noise, which no decoder reads.

    python -m bench.upload --rounds 3 --seconds 1.5

Memory is the peak of the server's own process minus its size before the first request. Files on tmpfs also use memory,
which belongs to no process and is not counted.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.load.overload import PICTURE, TYPE, served
from bench.support.served import Server, resident
from bench.support.sleeper import SLEEP

SIZES_MB = (0.07, 1.0, 10.0, 100.0)
FOLDERS = [folder for folder in (tempfile.gettempdir(), "/dev/shm") if Path(folder).is_dir()]  # noqa: S108  # the tmpfs of the machine
CLIENTS = 4
SETTINGS = f"""
[inference]
workers = 1
limit = {2 * CLIENTS}
{SLEEP}seconds = 0
[upload]
max_bytes = 200000000
"""
"""The upload folder is appended."""
_PIECE = 1 << 16
_PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="picture.jpg"\r\n\r\n'


@dataclass(frozen=True)
class Body:
    """The content, in one piece or in several, and its headers."""

    headers: Mapping[str, str]
    content: bytes | Sequence[bytes]


class Measured(NamedTuple):
    """MB/s and CPU for the bytes of the pictures; peak memory minus that of a new server."""

    mb_s: float
    cpu_ms_per_mb: float
    held_mb: float


def raw(picture: bytes) -> Body:
    return Body({"Content-Type": TYPE}, picture)


def multipart(picture: bytes) -> Body:
    return Body({"Content-Type": "multipart/form-data; boundary=b"}, _PART + picture + b"\r\n--b--\r\n")


def chunked(picture: bytes) -> Body:
    pieces = [picture[start : start + _PIECE] for start in range(0, len(picture), _PIECE)]
    return Body({"Content-Type": TYPE, "Transfer-Encoding": "chunked"}, pieces)


FORMS: tuple[Callable[[bytes], Body], ...] = (raw, multipart, chunked)
FORMATS = (".0f", ".2f", ".1f")
"""Formats of the fields of Measured."""
Point = tuple[float, str, str]
"""Megabytes, form, folder."""


def picture_of(megabytes: float) -> bytes:
    """A JPEG of that size."""
    whole = PICTURE.read_bytes()
    return whole + random.Random(1).randbytes(max(0, round(megabytes * 1e6) - len(whole)))


def send(url: str, body: Body, seconds: float) -> int:
    """Upload over one connection, again and again, until the time is over. Return the number of uploads."""
    end, sent = time.perf_counter() + seconds, 0
    in_chunks = not isinstance(body.content, bytes)
    with closing(HTTPConnection(urlsplit(url).netloc)) as connection:
        while time.perf_counter() < end:
            connection.request("POST", "/sleep", body.content, body.headers, encode_chunked=in_chunks)
            response = connection.getresponse()
            answer = response.read()
            assert response.status == 200, answer  # noqa: PLR2004  # stored and answered
            sent += 1
    return sent


def measure(server: Server, body: Body, megabytes: float, seconds: float, fresh: int) -> Measured:
    """Upload with several clients at the same time; `fresh` is the resident memory of the new server."""
    server.forget_peak()
    before, began = server.cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        sent = megabytes * sum(threads.map(lambda _: send(server.url, body, seconds), range(CLIENTS)))
    spent = time.perf_counter() - began
    return Measured(sent / spent, (server.cpu_s() - before) * 1e3 / sent, (server.peak() - fresh) / 1e6)


def measure_all(rounds: int, seconds: float, sizes: Sequence[float] = SIZES_MB) -> dict[Point, list[Measured]]:
    """Every folder has a new server in each round, which receives the small pictures first."""
    pictures = {megabytes: picture_of(megabytes) for megabytes in sizes}
    measured: dict[Point, list[Measured]] = {}
    for folder in FOLDERS * rounds:
        with served(f"{SETTINGS}dir = '{folder}'\n") as server:
            fresh = resident(server.pid)
            for megabytes, picture in pictures.items():
                for form in FORMS:
                    one = measure(server, form(picture), megabytes, seconds, fresh)
                    measured.setdefault((megabytes, form.__name__, folder), []).append(one)
    return measured


def report(measured: Mapping[Point, Sequence[Measured]]) -> Iterator[str]:
    """A Markdown table of medians over the rounds; cells with several figures have one for each folder."""
    folders = ", ".join(FOLDERS)
    yield f"| MB | form | MB/s: {folders} | CPU ms for a MB: {folders} | MB of memory for {CLIENTS} at a time |"
    yield "|---|---|---|---|---|"
    for megabytes, form in dict.fromkeys((megabytes, form) for megabytes, form, _ in measured):
        of_each = [map(median, zip(*measured[megabytes, form, folder], strict=True)) for folder in FOLDERS]
        figures = zip(FORMATS, zip(*of_each, strict=True), strict=True)
        cells = (", ".join(f"{one:{places}}" for one in each) for places, each in figures)
        yield f"| {' | '.join([f'{megabytes:g}', form, *cells])} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.upload")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="duration of each measurement")
    chosen = parser.parse_args(arguments)
    for line in report(measure_all(chosen.rounds, chosen.seconds)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
