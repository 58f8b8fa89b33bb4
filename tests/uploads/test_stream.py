import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.config.schema import UploadConfig
from faceattr_aio.errors import FaceattrError
from faceattr_aio.uploads.receive import Uploads
from faceattr_aio.uploads.spool import Spool
from faceattr_aio.uploads.stream import StreamingUpload
from tests.support.uploads import RAW, TYPE, body, chunks, part, stalled

LIMITS = UploadConfig(
    max_bytes=3000, max_part_bytes=2000, max_parts=3, max_batch=1, max_header_bytes=4096, timeout_s=30, min_rate=1
)
HEAD = b'Content-Disposition: form-data; name="image"\r\n\r\n'


@pytest.fixture
def uploads(spool: Spool) -> Uploads:
    return Uploads(LIMITS, spool, Limiter(2, 2, "uploads"))


async def receive(uploads: Uploads, data: AsyncIterator[bytes], content_type: str = TYPE) -> list[bytes | str]:
    """The content of each picture or the kind of its fault, and last the kind of the error that ended the body."""
    received: list[bytes | str] = []
    try:
        async with aclosing(StreamingUpload(uploads, data, content_type).pictures()) as pictures:
            async for picture in pictures:
                with picture.resources:
                    received.append(picture.fault.kind if picture.fault else picture.picture.path.read_bytes())
    except FaceattrError as error:
        received.append(f"end: {error.kind}")
    return received


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_returns_pictures_beyond_the_limits_of_one_request(size: int, uploads: Uploads) -> None:
    expected = [bytes([number]) * 700 for number in range(20)]
    assert await receive(uploads, chunks(body(*(part("image", one) for one in expected)), size)) == expected


async def test_an_empty_chunk_is_not_the_end(uploads: Uploads) -> None:
    async def with_gaps() -> AsyncIterator[bytes]:
        for chunk in (b"", part("image", b"a"), b"", body(part("image", b"b"))):
            yield chunk

    assert await receive(uploads, with_gaps()) == [b"a", b"b"]


async def test_a_raw_body_is_one_picture(uploads: Uploads) -> None:
    assert await receive(uploads, chunks(b"x" * 900, 100), RAW) == [b"x" * 900]


async def test_a_picture_is_complete_with_the_boundary_after_it(uploads: Uploads) -> None:
    upload = StreamingUpload(uploads, stalled(b"--XyZ\r\n" + HEAD, b"one\r\n--XyZ\r\n"), TYPE)
    async with asyncio.timeout(30), aclosing(upload.pictures()) as pictures:
        with (await anext(pictures)).resources:
            """Returned although nothing follows."""


async def test_reads_no_more_than_the_caller_asks_for(uploads: Uploads) -> None:
    read = list[int]()

    async def counted() -> AsyncIterator[bytes]:
        for number in range(5):
            read.append(number)
            yield part("image", b"x")

    async with aclosing(StreamingUpload(uploads, counted(), TYPE).pictures()) as pictures:
        with (await anext(pictures)).resources:
            assert read == [0, 1]  # the boundary after the first picture is in the second chunk


@pytest.mark.parametrize("size", [10, 100_000])
async def test_only_a_picture_that_is_too_large_is_refused(size: int, uploads: Uploads) -> None:
    data = body(part("image", b"a"), part("image", b"b" * 2001), part("image", b"c"))
    assert await receive(uploads, chunks(data, size)) == [b"a", "upload-too-large", b"c"]


@pytest.mark.parametrize("kind", ["image", "other"])
async def test_a_part_far_larger_than_a_picture_ends_the_body(kind: str, uploads: Uploads) -> None:
    data = body(part("image", b"a"), part(kind, b"x" * 100_000), part("image", b"c"))
    assert await receive(uploads, chunks(data, 1000)) == [b"a", "end: upload-too-large"]


async def test_other_parts_are_counted_between_pictures(uploads: Uploads) -> None:
    note, picture = part("note", b"n"), part("image", b"a")
    assert await receive(uploads, chunks(body(*[note, note, picture] * 5), 50)) == [b"a"] * 5
    too_many = body(picture, note, note, note, note, picture)
    assert await receive(uploads, chunks(too_many, 50)) == [b"a", "end: too-many-parts"]


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(
    "broken",
    [
        b"--XyZ\r\n",
        b"--XyZ\r\nbroken\r\n\r\n",
        b"--XyZ\r\n" + HEAD + b"cut",
        body(part("image", b"x", "Content-Transfer-Encoding: base64")),
    ],
)
async def test_returns_the_pictures_before_a_malformed_part(broken: bytes, size: int, uploads: Uploads) -> None:
    data = part("image", b"a") + part("image", b"b") + broken
    assert await receive(uploads, chunks(data, size)) == [b"a", b"b", "end: malformed-upload"]


@pytest.mark.parametrize(("data", "content_type"), [(b"", RAW), (body(part("x", b"y")), TYPE)])
async def test_refuses_a_body_without_a_picture(data: bytes, content_type: str, uploads: Uploads) -> None:
    assert await receive(uploads, chunks(data, 100), content_type) == ["end: no-image"]


async def test_does_not_wait_for_data_after_the_last_boundary(uploads: Uploads) -> None:
    assert await receive(uploads, stalled(body(part("image", b"a")))) == [b"a"]


@pytest.mark.parametrize(
    "begun",
    [(), (b"--XyZ\r\n" + HEAD,), (b"--XyZ\r\n" + HEAD, b"abc"), (b"--XyZ\r\n\r\n", b"skipped")],
    ids=["nothing", "its head", "a part of it", "another part"],
)
async def test_refuses_a_body_that_stalls_longer_than_the_timeout(begun: tuple[bytes, ...], spool: Spool) -> None:
    uploads = Uploads(LIMITS.model_copy(update={"timeout_s": 0.2}), spool, Limiter(2, 2))
    async with asyncio.timeout(30):
        data = stalled(part("image", b"a"), *begun)
        assert await receive(uploads, data) == ([b"a"] if begun else []) + ["end: upload-timeout"]


async def test_pauses_between_pictures_are_not_slow(spool: Spool) -> None:
    uploads = Uploads(LIMITS.model_copy(update={"timeout_s": 1.0}), spool, Limiter(2, 2))

    async def paused() -> AsyncIterator[bytes]:
        yield b"--XyZ\r\n"
        for _ in range(2):
            yield HEAD + b"a"
            yield b"b"
            await asyncio.sleep(0.6)  # within a picture
            yield b"c\r\n--XyZ\r\n"
            await asyncio.sleep(0.6)  # and before the next one; longer together than the timeout
        yield b"\r\n\r\n--XyZ--\r\n"

    assert await receive(uploads, paused()) == [b"abc"] * 2


async def test_the_timeout_shrinks_with_the_free_slots(spool: Spool) -> None:
    uploads = Uploads(LIMITS, spool, Limiter(1, 1))
    uploads.limiter.acquire()
    async with asyncio.timeout(20):  # of 30
        assert await receive(uploads, stalled(part("image", b"a"))) == ["end: upload-timeout"]


async def test_waits_for_space_in_the_spool(uploads: Uploads) -> None:
    spool = uploads.spool
    spool.reserve(spool.max_bytes - 1000)
    receiving = asyncio.create_task(receive(uploads, chunks(body(part("image", b"a" * 1900)), 500)))
    await asyncio.wait({receiving}, timeout=0.2)
    assert not receiving.done()
    spool.release(spool.max_bytes - 1000)
    async with asyncio.timeout(30):
        assert await receiving == [b"a" * 1900]


async def test_a_failure_of_the_disk_refuses_one_picture(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, fails = uploads.spool._open, iter([False, True, False])

    def open_sometimes() -> object:
        if next(fails):
            raise OSError(28, os.strerror(28))
        return opened()

    monkeypatch.setattr(uploads.spool, "_open", open_sometimes)
    data = body(*(part("image", one) for one in (b"a", b"b", b"c")))
    assert await receive(uploads, chunks(data, 50)) == [b"a", "storage", b"c"]


async def test_a_cancelled_caller_leaves_nothing(spool: Spool) -> None:
    uploads = Uploads(LIMITS.model_copy(update={"max_part_bytes": 1 << 20}), spool, Limiter(2, 2))
    begun = part("image", b"a") + b"--XyZ\r\n" + HEAD + b"x" * 300_000
    upload = StreamingUpload(uploads, stalled(begun), TYPE)
    async with aclosing(upload.pictures()) as pictures:
        with (await anext(pictures)).resources:
            waiting = asyncio.ensure_future(anext(pictures))
            async with asyncio.timeout(30):
                while spool.used < 300_000:  # part of the second picture is on disk
                    await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert spool.used == 0
