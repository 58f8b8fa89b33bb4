"""The log: its destinations and formats, and that writing it never delays the program."""

import json
import logging
import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from faceattr_aio.cli.logs import BoundedHandler, set_up_log
from faceattr_aio.config.schema import LoggingConfig
from faceattr_aio.errors import StartError
from tests.conftest import StartServer
from tests.support.process import PATIENCE_S, ROOT, TRICK, environment
from tests.support.serving import RAW

ACCESS = "faceattr_aio.access"


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("any", logging.INFO, __file__, 1, text, (), None)


def test_drops_and_counts_lines_that_do_not_fit_into_the_queue() -> None:
    lines: queue.Queue[logging.LogRecord] = queue.Queue(2)
    handler = BoundedHandler(lines, flush_soon=lambda: pytest.fail("an INFO line was flushed"))
    for number in range(5):
        handler.handle(record(str(number)))
    assert [lines.get().getMessage() for _ in range(2)] == ["0", "1"]
    handler.handle(record("5"))
    assert [lines.get().getMessage() for _ in range(2)] == [
        "3 lines were dropped because they could not be written fast enough",
        "5",
    ]
    assert handler.dropped == 0


@pytest.mark.parametrize(("level", "flushes"), [(logging.INFO, 0), (logging.WARNING, 1), (logging.ERROR, 1)])
def test_warnings_and_errors_are_flushed(level: int, flushes: int) -> None:
    flushed: list[None] = []
    handler = BoundedHandler(queue.Queue(), flush_soon=lambda: flushed.append(None))
    handler.handle(logging.LogRecord("any", level, __file__, 1, "text", (), None))
    assert len(flushed) == flushes


def test_refuses_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"The log file .*/nowhere/a.log cannot be written: No such file"):
        set_up_log(LoggingConfig(file=tmp_path / "nowhere" / "a.log"))


async def test_in_json_each_line_is_an_object_with_the_request_record(
    start: StartServer, png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    server = start(f"[logging]\nformat = 'json'\nfile = '{tmp_path / 'a.log'}'\n{TRICK}")
    async with client.post(f"{server.url}/trick", data=png, headers=RAW | {"X-Request-ID": "mine"}) as response:
        assert response.status == 200
    assert server.stop() == 0
    lines = [json.loads(line) for line in (tmp_path / "a.log").read_text().splitlines()]
    (one,) = [line for line in lines if line["logger"] == ACCESS]
    assert (one["level"], one["request"]["id"], one["request"]["status"]) == ("INFO", "mine", 200)
    assert one["request"]["received_bytes"] == len(png)
    assert one["message"].startswith("POST /trick 200 ")
    assert set(one["request"]["stages_ms"]) == {"upload", "queue", "decode", "trick"}


async def test_rotates_files_by_size_and_keeps_the_configured_number(
    start: StartServer, client: ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    server = start(f"[logging]\nfile = '{path}'\nmax_bytes = 65536\nbackup_count = 2\n{TRICK}")
    for number in range(1000):  # 300 bytes each
        async with client.get(f"{server.url}/{number}{'x' * 250}") as response:
            assert response.status == 404
    assert server.stop() == 0
    assert sorted(file.name for file in tmp_path.glob("a.log*")) == ["a.log", "a.log.1", "a.log.2"]
    assert all(file.stat().st_size <= 65536 for file in tmp_path.glob("a.log*"))
    assert "/999xxx" in path.read_text()


async def test_each_process_writes_its_own_file(start: StartServer, tmp_path: Path) -> None:
    server = start(
        f"[server]\nprocesses = 2\n[inference]\nworkers = 2\n[logging]\nfile = '{tmp_path / 'a.log'}'\n{TRICK}"
    )
    assert server.stop() == 0
    assert sorted(file.name for file in tmp_path.glob("a*.log")) == ["a-0.log", "a-1.log", "a.log"]


FLOOD = """
import logging
from faceattr_aio.cli.logs import set_up_log
from faceattr_aio.config.schema import LoggingConfig
set_up_log(LoggingConfig())
for number in range(50_000):
    logging.info("%d %s", number, 100 * "x")
print("done", flush=True)
input()
"""


@pytest.fixture
def flooding() -> "Iterator[subprocess.Popen[str]]":
    """A program that has logged more than a pipe can hold, and exits after a line on standard input."""
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"  # although its log is not read
        yield process
        process.kill()


def test_a_reader_that_does_not_read_the_log_does_not_delay_the_program(flooding: "subprocess.Popen[str]") -> None:
    assert flooding.stdin is not None
    assert flooding.stderr is not None
    flooding.stdin.write("\n")
    flooding.stdin.close()
    lines = flooding.stderr.read().splitlines()
    assert 10_000 <= len(lines) < 50_000
    assert flooding.wait(PATIENCE_S) == 0


def test_a_reader_that_does_not_read_the_log_does_not_block_exit(flooding: "subprocess.Popen[str]") -> None:
    assert flooding.stdin is not None
    flooding.stdin.write("\n")
    flooding.stdin.close()
    assert flooding.wait(PATIENCE_S) == 0
