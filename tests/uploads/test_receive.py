import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import (
    Draining,
    NoImage,
    Overloaded,
    StorageUnavailable,
    UnreadableImage,
    UploadTimeout,
    UploadTooLarge,
)
from faceattr_aio.uploads.receive import CHUNK, Limits, Uploads
from faceattr_aio.uploads.spool import Spool, SpoolFile
from faceattr_aio.uploads.threads import IoThreads
from tests.uploads.test_multipart import TYPE, body, part

LIMITS = Limits(
    max_bytes=1 << 20, max_part_bytes=1 << 20, max_parts=4, max_batch=3, max_header_bytes=4096, timeout_s=30, min_rate=1
)
RAW = "image/jpeg"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with IoThreads(2) as threads:
        spool = Spool(tmp_path, 1 << 22, threads)
        spool.start()
        yield spool


@pytest.fixture
def uploads(spool: Spool) -> Uploads:
    return Uploads(LIMITS, spool, Limiter(2, 2, "uploads"))


async def chunks(data: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def stalled(data: bytes) -> AsyncIterator[bytes]:
    yield data
    await asyncio.Event().wait()


async def receive(uploads: Uploads, data: AsyncIterator[bytes], content_type: str = RAW) -> list[bytes]:
    with ExitStack() as files:
        received = await uploads.receive(data, content_type, files)
        return [file.path.read_bytes() for file in received]


def nothing_is_left(uploads: Uploads) -> bool:
    return uploads.limiter.in_flight == 0 and uploads.spool.used == 0


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 1 << 20])
async def test_a_raw_body_is_one_picture(size: int, uploads: Uploads) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert await receive(uploads, chunks(data)) == [data]
    assert nothing_is_left(uploads)


async def test_a_multipart_body_has_its_pictures_in_order(uploads: Uploads) -> None:
    data = body(part("image", b"a" * 300_000), part("note", b"n"), part("image", b""), part("file", b"c"))
    assert await receive(uploads, chunks(data), TYPE) == [b"a" * 300_000, b"", b"c"]
    assert nothing_is_left(uploads)


@pytest.mark.parametrize(("data", "content_type"), [(b"", RAW), (body(part("x", b"y")), TYPE)])
async def test_a_body_without_a_picture_is_refused(data: bytes, content_type: str, uploads: Uploads) -> None:
    with pytest.raises(NoImage):
        await receive(uploads, chunks(data), content_type)
    assert nothing_is_left(uploads)


async def test_a_body_over_the_limit_is_refused_within_a_chunk_of_it(uploads: Uploads) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1 << 16
            yield b"x" * (1 << 16)

    with pytest.raises(UploadTooLarge):
        await receive(uploads, endless())
    assert taken <= LIMITS.max_bytes + (1 << 16)
    assert nothing_is_left(uploads)


async def test_parts_that_are_skipped_count_as_well(spool: Spool) -> None:
    uploads = Uploads(replace(LIMITS, max_bytes=5000), spool, Limiter(2, 2))
    data = body(part("image", b"x"), part("note", b"n" * 6000))
    with pytest.raises(UploadTooLarge, match="The request"):
        await receive(uploads, chunks(data, 1000), TYPE)
    assert nothing_is_left(uploads)


async def test_a_body_of_just_the_limit_is_taken(uploads: Uploads) -> None:
    assert len((await receive(uploads, chunks(b"x" * LIMITS.max_bytes)))[0]) == LIMITS.max_bytes


async def test_a_part_over_its_own_limit_is_refused(spool: Spool) -> None:
    uploads = Uploads(replace(LIMITS, max_part_bytes=1000), spool, Limiter(2, 2))
    assert await receive(uploads, chunks(body(part("image", b"x" * 1000))), TYPE) == [b"x" * 1000]
    with pytest.raises(UploadTooLarge, match="A part"):
        await receive(uploads, chunks(body(part("image", b"x" * 1001))), TYPE)
    assert nothing_is_left(uploads)


def test_an_announced_length_over_the_limit_is_refused_without_reading(uploads: Uploads) -> None:
    uploads.check(LIMITS.max_bytes)
    uploads.check(None)
    with pytest.raises(UploadTooLarge):
        uploads.check(LIMITS.max_bytes + 1)


async def test_a_body_that_stalls_is_cut_at_the_deadline(spool: Spool) -> None:
    uploads = Uploads(replace(LIMITS, timeout_s=0.2), spool, Limiter(2, 2))
    with pytest.raises(UploadTimeout):
        await receive(uploads, stalled(b"x" * 100_000))
    assert nothing_is_left(uploads)


async def test_a_body_below_the_minimum_rate_is_cut_long_before_the_deadline(spool: Spool) -> None:
    uploads = Uploads(replace(LIMITS, min_rate=1000), spool, Limiter(2, 2))
    started = asyncio.get_running_loop().time()
    with pytest.raises(UploadTimeout):
        await receive(uploads, stalled(b"x" * 2500))
    assert 2.4 <= asyncio.get_running_loop().time() - started < 20
    assert nothing_is_left(uploads)


@pytest.mark.parametrize(("held", "patience_s"), [(0, 2.0), (4, 2.0), (6, 1.0), (7, 0.5), (8, 0.2)])
def test_the_less_room_is_left_the_sooner_a_body_has_to_come(held: int, patience_s: float, spool: Spool) -> None:
    uploads = Uploads(LIMITS, spool, Limiter(8, 8))
    for _ in range(held):
        uploads.limiter.acquire()
    assert uploads.time_allowed_s(0) == patience_s


async def test_a_slow_disk_is_not_the_clients_fault(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(replace(LIMITS, timeout_s=0.3), spool, Limiter(2, 2))
    complete = SpoolFile.complete

    def complete_slowly(file: SpoolFile, data: bytes) -> None:
        time.sleep(0.6)
        complete(file, data)

    monkeypatch.setattr(SpoolFile, "complete", complete_slowly)
    assert await receive(uploads, chunks(b"x" * 1000)) == [b"x" * 1000]


async def test_no_more_uploads_than_allowed_at_a_time(uploads: Uploads) -> None:
    running = [asyncio.create_task(receive(uploads, stalled(b"x"))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="uploads are in flight"):
        await receive(uploads, chunks(b"x"))
    with pytest.raises(Overloaded):
        uploads.check(None)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert nothing_is_left(uploads)


async def test_a_picture_that_is_refused_has_its_fault_and_the_others_have_none(spool: Spool) -> None:
    def inspect(path: Path) -> None:
        if path.read_bytes() == b"bad":
            raise UnreadableImage

    uploads = Uploads(LIMITS, spool, Limiter(2, 2), inspect)
    data = body(part("image", b"good"), part("image", b"bad"), part("image", b"x" * 2 * CHUNK))
    with ExitStack() as files:
        received = await uploads.receive(chunks(data), TYPE, files)
        assert [type(file.fault) for file in received] == [type(None), UnreadableImage, type(None)]
    assert nothing_is_left(uploads)


async def test_an_upload_that_is_cancelled_while_it_is_looked_at_is_closed_afterwards(spool: Spool) -> None:
    looking, go_on = threading.Event(), threading.Event()
    seen = list[bytes]()

    def inspect(path: Path) -> None:
        looking.set()
        go_on.wait(10)
        seen.append(path.read_bytes())

    uploads = Uploads(LIMITS, spool, Limiter(2, 2), inspect)
    task = asyncio.create_task(receive(uploads, chunks(b"picture")))
    await asyncio.to_thread(looking.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not nothing_is_left(uploads)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [b"picture"]
    assert nothing_is_left(uploads)


@pytest.mark.parametrize("wait", [0, 1, 2, 5, 20])
async def test_a_cancelled_upload_leaves_nothing(wait: int, uploads: Uploads) -> None:
    task = asyncio.create_task(receive(uploads, stalled(b"x" * 600_000)))
    for _ in range(wait):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nothing_is_left(uploads)


async def test_an_abort_ends_uploads_in_progress_at_once(uploads: Uploads) -> None:
    task = asyncio.create_task(receive(uploads, stalled(b"x" * 100)))  # in time for as many seconds
    await asyncio.sleep(0.01)
    uploads.abort()
    with pytest.raises(Draining):
        await asyncio.wait_for(task, 5)
    with pytest.raises(Draining):
        await receive(uploads, chunks(b"x"))
    assert nothing_is_left(uploads)


async def test_a_full_spool_is_a_storage_failure(tmp_path: Path) -> None:
    with IoThreads(1) as threads:
        spool = Spool(tmp_path, 1000, threads)
        spool.start()
        uploads = Uploads(LIMITS, spool, Limiter(2, 2))
        with pytest.raises(StorageUnavailable):
            await receive(uploads, chunks(b"x" * 2000))
        assert nothing_is_left(uploads)
