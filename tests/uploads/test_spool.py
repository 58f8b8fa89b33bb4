import asyncio
import os
import select
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from faceattr_aio.errors import StartError, StorageUnavailable
from faceattr_aio.uploads.spool import IoThreads, Spool, sweep


@pytest.fixture(params=["unnamed", "named"])
def spool(request: pytest.FixtureRequest, tmp_path: Path, threads: IoThreads) -> Iterator[Spool]:
    """A spool of 1000 bytes with unnamed and with named files."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "named":
            patch.delattr(os, "O_TMPFILE")
        spool = Spool(tmp_path, 1000, threads)
        spool.start()
        yield spool
        spool.close()


async def test_written_data_can_be_read_by_path(spool: Spool) -> None:
    file = spool.open()
    await file.write(b"one ")
    file.complete(b"two")
    assert file.path.read_bytes() == b"one two"
    assert (file.size, spool.used) == (7, 7)
    file.close()


async def test_a_closed_file_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    file = spool.open()
    await file.write(b"x" * 500)
    file.close()
    assert spool.used == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"]
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_full_spool_refuses_and_recovers(spool: Spool) -> None:
    first, second = spool.open(), spool.open()
    await first.write(b"x" * 900)
    with pytest.raises(StorageUnavailable):
        await second.write(b"x" * 200)
    first.close()
    await second.write(b"x" * 200)
    second.close()
    assert spool.used == 0


def test_an_unnamed_file_is_not_in_the_folder(tmp_path: Path, threads: IoThreads) -> None:
    spool = Spool(tmp_path, 1000, threads)
    spool.start()
    file = spool.open()
    assert list(tmp_path.iterdir()) == []
    file.close()


async def test_a_full_disk_is_a_storage_failure(threads: IoThreads, tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 30, threads)
    spool.start()
    file = spool.open()
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, int(file.path.name))
    os.close(full)
    with pytest.raises(StorageUnavailable):
        await file.write(b"x" * 1_000_000)
    file.close()
    assert spool.used == 0


def test_a_missing_folder_is_a_start_error(tmp_path: Path, threads: IoThreads) -> None:
    with pytest.raises(StartError, match="cannot be stored in"):
        Spool(tmp_path / "nowhere", 1000, threads).start()


async def test_closing_waits_for_a_running_write_outside_the_event_loop(tmp_path: Path, threads: IoThreads) -> None:
    """Otherwise the descriptor could be reused while the thread still writes to it."""
    spool = Spool(tmp_path, 1 << 30, threads)
    spool.start()
    file = spool.open()
    descriptor = int(file.path.name)
    reading, full = os.pipe()
    os.dup2(full, descriptor)  # a disk on which writes block
    os.close(full)
    writing = asyncio.create_task(file.write(b"x" * 1_000_000))
    await asyncio.to_thread(select.select, [reading], [], [], 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    file.close()
    assert os.fstat(descriptor)
    received = 0
    while data := await asyncio.to_thread(os.read, reading, 1 << 16):
        received += len(data)
    assert received == 1_000_000  # everything was written before the descriptor was closed
    os.close(reading)


async def test_a_queued_write_does_not_reach_another_file(spool: Spool, threads: IoThreads) -> None:
    busy, resume = Event(), Event()

    def occupy() -> None:
        busy.set()
        resume.wait(10)

    for _ in range(2):
        threads.submit(occupy)
    await asyncio.to_thread(busy.wait, 10)
    file = spool.open()
    writing = asyncio.create_task(file.write(b"secret" * 100))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    file.close()
    other = spool.open()
    resume.set()
    await asyncio.to_thread(threads.submit(lambda: None).result)
    assert other.path.read_bytes() == b""
    other.close()


def test_removes_the_files_of_ended_processes_only(
    tmp_path: Path, threads: IoThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    left = tmp_path / "faceattr-spool-dead"
    left.mkdir()
    (left / "lock").touch()
    (left / "upload").write_bytes(b"left")
    other = tmp_path / "faceattr-spool-without-lock"
    other.mkdir()
    running = Spool(tmp_path, 1000, threads)
    running.start()
    assert not left.exists()
    file = running.open()
    sweep(tmp_path, "faceattr-spool-")
    assert other.exists()
    assert file.path.exists()
    file.close()
    running.close()
    assert sorted(tmp_path.iterdir()) == [other]
