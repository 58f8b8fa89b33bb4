"""Bulk analysis into a table in a separate process that is killed several times."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet

from bench.speed import bulk
from tests.support.cli import analyze
from tests.support.process import ROOT, environment

pytestmark = pytest.mark.pixels
FILES, GOOD, KILLS = 2_500, 20, 4
SMALL_PARTS = "import faceattr_aio.cli.parquet as p; p._MAX_ROWS = 300; import faceattr_aio.cli as c; "


def jsonl(path: Path) -> list[str]:
    return [json.loads(line)["file"] for line in path.read_text().splitlines()]


def in_csv(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [row["file"] for row in csv.DictReader(file)]


def in_parquet(path: Path) -> list[str]:
    files: list[str] = parquet.read_table(path, columns=["file"])["file"].to_pylist()
    return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files, most of which are not pictures and need no inference."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(FILES):
        within = folder / str(number % 20)
        within.mkdir(exist_ok=True)
        (within / f"{number}.jpg").write_text("not a picture")
    for number in range(GOOD):
        shutil.copy(ROOT / "docs" / "astronaut.jpg", folder / f"good-{number}.jpg")
    return folder


def begin(folder: Path, table: Path) -> "subprocess.Popen[bytes]":
    code = f"{SMALL_PARTS}raise SystemExit(c.main({['analyze', str(folder), '--out', str(table), '--workers', '1']}))"
    return subprocess.Popen([sys.executable, "-c", code], env=environment(), stderr=subprocess.DEVNULL)


def size(table: Path) -> int:
    if table.is_dir():
        return sum(part.stat().st_size for part in table.glob("part-*.parquet"))
    return table.stat().st_size if table.exists() else 0


@pytest.mark.parametrize(("kind", "read"), [("jsonl", jsonl), ("csv", in_csv), ("parquet", in_parquet)])
def test_every_file_has_exactly_one_row_after_kills(
    kind: str, read: Callable[[Path], list[str]], folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / f"table.{kind}"
    for _ in range(KILLS):
        before, process = size(table), begin(folder, table)
        while process.poll() is None and size(table) <= before:
            time.sleep(0.002)  # until it has written a row
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = begin(folder, table)
    assert process.wait(110) == 1
    files = read(table)
    assert len(files) == len(set(files)) == FILES + GOOD
    assert not list(tmp_path.glob("**/*.new"))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are compared with two")
def test_measures_throughput_and_the_pipeline_alone() -> None:
    measured = bulk.measure(workers=1, files=(20, 60), seconds=0.5)
    assert measured.rate > 0
    assert measured.ceiling > 0
    assert len(list(bulk.report(measured))) == 2


def test_stops_without_a_row_when_the_server_is_unreachable(
    tmp_path: Path, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.jsonl"
    url = f"http://127.0.0.1:{unused_tcp_port}"
    (tmp_path / "one.jpg").write_bytes(b"")
    status, _, err = analyze(capsys, tmp_path, "--out", table, "--server", url)
    assert status == 2
    assert "Run the same command to continue." in err
    assert table.read_bytes() == b""
