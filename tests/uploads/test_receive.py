import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.config.schema import UploadConfig
from faceattr_aio.errors import (
    DeadlineExceeded,
    Draining,
    MalformedUpload,
    NoImage,
    Overloaded,
    StorageUnavailable,
    UnreadableImage,
    UploadTimeout,
    UploadTooLarge,
)
from faceattr_aio.uploads.receive import CHUNK, Uploads
from faceattr_aio.uploads.spool import IoThreads, Spool, SpoolFile
from tests.support.uploads import RAW, TYPE, body, chunks, part, stalled

LIMITS = UploadConfig(
    max_bytes=1 << 20, max_part_bytes=1 << 20, max_parts=4, max_batch=3, max_header_bytes=4096, timeout_s=30, min_rate=1
)


@pytest.fixture
def uploads(spool: Spool) -> Uploads:
    return Uploads(LIMITS, spool, Limiter(2, 2, "uploads"))


async def receive(uploads: Uploads, data: AsyncIterator[bytes], content_type: str = RAW) -> list[bytes]:
    """Receive a body, close its files and return their contents."""
    with ExitStack() as resources:
        received = await uploads.receive(data, content_type, resources)
        return [file.path.read_bytes() for file in received]


def nothing_is_left(uploads: Uploads) -> bool:
    """Return True when no slot and no space is in use."""
    return uploads.limiter.in_flight == 0 and uploads.spool.used == 0


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 1 << 20])
async def test_a_raw_body_is_one_picture(size: int, uploads: Uploads) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert await receive(uploads, chunks(data)) == [data]
    assert nothing_is_left(uploads)


async def test_returns_the_pictures_of_a_multipart_body_in_order(uploads: Uploads) -> None:
    data = body(part("image", b"a" * 300_000), part("note", b"n"), part("image", b""), part("file", b"c"))
    assert await receive(uploads, chunks(data), TYPE) == [b"a" * 300_000, b"", b"c"]
    assert nothing_is_left(uploads)


@pytest.mark.parametrize(("data", "content_type"), [(b"", RAW), (body(part("x", b"y")), TYPE)])
async def test_refuses_a_body_without_a_picture(data: bytes, content_type: str, uploads: Uploads) -> None:
    with pytest.raises(NoImage):
        await receive(uploads, chunks(data), content_type)
    assert nothing_is_left(uploads)


async def test_stops_reading_within_a_chunk_of_the_limit(uploads: Uploads) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 16
            yield b"x" * (1 << 16)

    with pytest.raises(UploadTooLarge):
        await receive(uploads, endless())
    assert sent <= LIMITS.max_bytes + (1 << 16)
    assert nothing_is_left(uploads)


async def test_stops_reading_at_a_malformed_part(uploads: Uploads) -> None:
    async def malformed() -> AsyncIterator[bytes]:
        yield part("image", b"x")
        yield b"--XyZ\r\nno colon\r\n\r\n"
        pytest.fail("more was read")

    with pytest.raises(MalformedUpload):
        await receive(uploads, malformed(), TYPE)
    assert nothing_is_left(uploads)


async def test_skipped_parts_count_towards_the_limit(spool: Spool) -> None:
    uploads = Uploads(LIMITS.model_copy(update={"max_bytes": 5000}), spool, Limiter(2, 2))
    data = body(part("image", b"x"), part("note", b"n" * 6000))
    with pytest.raises(UploadTooLarge, match="The request"):
        await receive(uploads, chunks(data, 1000), TYPE)
    assert nothing_is_left(uploads)


async def test_accepts_a_body_of_exactly_the_limit(uploads: Uploads) -> None:
    assert len((await receive(uploads, chunks(b"x" * LIMITS.max_bytes)))[0]) == LIMITS.max_bytes


async def test_refuses_a_part_above_the_limit_of_parts(spool: Spool) -> None:
    uploads = Uploads(LIMITS.model_copy(update={"max_part_bytes": 1000}), spool, Limiter(2, 2))
    assert await receive(uploads, chunks(body(part("image", b"x" * 1000))), TYPE) == [b"x" * 1000]
    with pytest.raises(UploadTooLarge, match="A part"):
        await receive(uploads, chunks(body(part("image", b"x" * 1001))), TYPE)
    assert nothing_is_left(uploads)


def test_refuses_a_content_length_above_the_limit(uploads: Uploads) -> None:
    uploads.check(LIMITS.max_bytes)
    uploads.check(None)
    with pytest.raises(UploadTooLarge):
        uploads.check(LIMITS.max_bytes + 1)


async def test_refuses_a_stalled_body_after_the_timeout(spool: Spool) -> None:
    uploads = Uploads(LIMITS.model_copy(update={"timeout_s": 0.2}), spool, Limiter(2, 2))
    async with asyncio.timeout(5):
        with pytest.raises(UploadTimeout):
            await receive(uploads, stalled(b"x" * 100_000))
    assert nothing_is_left(uploads)


async def test_refuses_a_body_below_the_minimum_rate_before_the_timeout(spool: Spool) -> None:
    uploads = Uploads(LIMITS.model_copy(update={"min_rate": 1000}), spool, Limiter(2, 2))
    started = asyncio.get_running_loop().time()
    with pytest.raises(UploadTimeout):
        await receive(uploads, stalled(b"x" * 2500))
    assert 2.4 <= asyncio.get_running_loop().time() - started < 20
    assert nothing_is_left(uploads)


async def test_ends_at_the_deadline_of_the_request(uploads: Uploads) -> None:
    now = asyncio.get_running_loop().time()
    with ExitStack() as resources, pytest.raises(DeadlineExceeded):
        await uploads.receive(stalled(b"x" * 100), RAW, resources, deadline=now + 0.1)
    assert asyncio.get_running_loop().time() - now < 1
    assert nothing_is_left(uploads)


@pytest.mark.parametrize(("in_use", "allowed_s"), [(0, 2.0), (4, 2.0), (6, 1.0), (7, 0.5), (8, 0.2)])
def test_the_grace_period_shrinks_with_the_free_slots(in_use: int, allowed_s: float, spool: Spool) -> None:
    uploads = Uploads(LIMITS, spool, Limiter(8, 8))
    for _ in range(in_use):
        uploads.limiter.acquire()
    assert uploads.time_allowed_s(0) == allowed_s


async def test_time_spent_writing_is_not_counted(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(LIMITS.model_copy(update={"timeout_s": 0.3}), spool, Limiter(2, 2))
    complete = SpoolFile.complete

    def complete_slowly(file: SpoolFile, data: bytes) -> None:
        time.sleep(0.6)
        complete(file, data)

    monkeypatch.setattr(SpoolFile, "complete", complete_slowly)
    assert await receive(uploads, chunks(b"x" * 1000)) == [b"x" * 1000]


async def test_limits_the_uploads_in_progress(uploads: Uploads) -> None:
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


async def test_only_a_refused_picture_has_a_fault(spool: Spool) -> None:
    def inspect(path: Path) -> None:
        if path.read_bytes() == b"bad":
            raise UnreadableImage

    uploads = Uploads(LIMITS, spool, Limiter(2, 2), inspect)
    data = body(part("image", b"good"), part("image", b"bad"), part("image", b"x" * 2 * CHUNK))
    with ExitStack() as resources:
        received = await uploads.receive(chunks(data), TYPE, resources)
        assert [type(file.fault) for file in received] == [type(None), UnreadableImage, type(None)]
    assert nothing_is_left(uploads)


async def test_a_cancelled_upload_is_closed_after_its_inspection(spool: Spool) -> None:
    started, resume = threading.Event(), threading.Event()
    inspected = list[bytes]()

    def inspect(path: Path) -> None:
        started.set()
        resume.wait(10)
        inspected.append(path.read_bytes())

    uploads = Uploads(LIMITS, spool, Limiter(2, 2), inspect)
    task = asyncio.create_task(receive(uploads, chunks(b"picture")))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not nothing_is_left(uploads)
    resume.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inspected == [b"picture"]
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


async def test_abort_ends_uploads_in_progress(uploads: Uploads) -> None:
    task = asyncio.create_task(receive(uploads, stalled(b"x" * 100)))  # in time for 100 s
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
