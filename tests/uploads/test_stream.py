import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import FaceattrError
from faceattr_aio.uploads.receive import Limits, Uploads
from faceattr_aio.uploads.spool import Spool
from faceattr_aio.uploads.stream import StreamingUpload
from faceattr_aio.uploads.threads import IoThreads
from tests.uploads.test_multipart import TYPE, body, part

LIMITS = Limits(
    max_bytes=3000, max_part_bytes=2000, max_parts=3, max_batch=1, max_header_bytes=4096, timeout_s=30, min_rate=1
)
RAW = "image/jpeg"
HEAD = b'Content-Disposition: form-data; name="image"\r\n\r\n'


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with IoThreads(2) as threads:
        spool = Spool(tmp_path, 1 << 20, threads)
        spool.start()
        yield spool
    assert spool.used == 0


@pytest.fixture
def uploads(spool: Spool) -> Uploads:
    return Uploads(LIMITS, spool, Limiter(2, 2, "uploads"))


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def stalled(*data: bytes) -> AsyncIterator[bytes]:
    for chunk in data:
        yield chunk
    await asyncio.Event().wait()


async def take(uploads: Uploads, data: AsyncIterator[bytes], content_type: str = TYPE) -> list[bytes | str]:
    """What each picture has in it or why it is refused, and last why there are no more, if that is a failure."""
    taken: list[bytes | str] = []
    try:
        async with aclosing(StreamingUpload(uploads, data, content_type).pictures()) as pictures:
            async for arrival in pictures:
                with arrival.held:
                    taken.append(arrival.fault.kind if arrival.fault else arrival.picture.path.read_bytes())
    except FaceattrError as error:
        taken.append(f"end: {error.kind}")
    return taken


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_pictures_come_one_after_another_whatever_the_whole_would_be(size: int, uploads: Uploads) -> None:
    expected = [bytes([number]) * 700 for number in range(20)]
    assert await take(uploads, chunks(body(*(part("image", one) for one in expected)), size)) == expected


async def test_a_chunk_of_nothing_is_not_the_end(uploads: Uploads) -> None:
    async def with_gaps() -> AsyncIterator[bytes]:
        for chunk in (b"", part("image", b"a"), b"", body(part("image", b"b"))):
            yield chunk

    assert await take(uploads, with_gaps()) == [b"a", b"b"]


async def test_a_raw_body_is_one_picture(uploads: Uploads) -> None:
    assert await take(uploads, chunks(b"x" * 900, 100), RAW) == [b"x" * 900]


async def test_a_picture_has_arrived_with_the_boundary_behind_it(uploads: Uploads) -> None:
    arrivals = StreamingUpload(uploads, stalled(b"--XyZ\r\n" + HEAD, b"one\r\n--XyZ\r\n"), TYPE)
    async with asyncio.timeout(30), aclosing(arrivals.pictures()) as pictures:
        with (await anext(pictures)).held:
            """There it is, though nothing follows."""


async def test_nothing_is_read_that_nobody_asks_for(uploads: Uploads) -> None:
    read = list[int]()

    async def counted() -> AsyncIterator[bytes]:
        for number in range(5):
            read.append(number)
            yield part("image", b"x")

    async with aclosing(StreamingUpload(uploads, counted(), TYPE).pictures()) as pictures:
        with (await anext(pictures)).held:
            assert read == [0, 1]  # the boundary behind the first picture comes with the second


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_picture_that_is_too_large_costs_itself_alone(size: int, uploads: Uploads) -> None:
    data = body(part("image", b"a"), part("image", b"b" * 2001), part("image", b"c"))
    assert await take(uploads, chunks(data, size)) == [b"a", "upload-too-large", b"c"]


@pytest.mark.parametrize("kind", ["image", "other"])
async def test_what_is_far_larger_than_a_picture_ends_it(kind: str, uploads: Uploads) -> None:
    whole = body(part("image", b"a"), part(kind, b"x" * 100_000), part("image", b"c"))
    assert await take(uploads, chunks(whole, 1000)) == [b"a", "end: upload-too-large"]


async def test_other_parts_are_counted_from_picture_to_picture(uploads: Uploads) -> None:
    note, picture = part("note", b"n"), part("image", b"a")
    assert await take(uploads, chunks(body(*[note, note, picture] * 5), 50)) == [b"a"] * 5
    too_many = body(picture, note, note, note, note, picture)
    assert await take(uploads, chunks(too_many, 50)) == [b"a", "end: too-many-parts"]


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
async def test_pictures_before_what_is_broken_are_taken_in(broken: bytes, size: int, uploads: Uploads) -> None:
    data = part("image", b"a") + part("image", b"b") + broken
    assert await take(uploads, chunks(data, size)) == [b"a", b"b", "end: malformed-upload"]


@pytest.mark.parametrize(("data", "content_type"), [(b"", RAW), (body(part("x", b"y")), TYPE)])
async def test_a_body_without_a_picture_is_refused(data: bytes, content_type: str, uploads: Uploads) -> None:
    assert await take(uploads, chunks(data, 100), content_type) == ["end: no-image"]


async def test_what_follows_the_last_boundary_is_not_waited_for(uploads: Uploads) -> None:
    assert await take(uploads, stalled(body(part("image", b"a")))) == [b"a"]


@pytest.mark.parametrize(
    "begun",
    [(), (b"--XyZ\r\n" + HEAD,), (b"--XyZ\r\n" + HEAD, b"abc"), (b"--XyZ\r\n\r\n", b"skipped")],
    ids=["nothing", "its head", "a part of it", "another part"],
)
async def test_a_picture_is_waited_for_no_longer_than_an_upload(begun: tuple[bytes, ...], spool: Spool) -> None:
    uploads = Uploads(replace(LIMITS, timeout_s=0.2), spool, Limiter(2, 2))
    async with asyncio.timeout(30):
        data = stalled(part("image", b"a"), *begun)
        assert await take(uploads, data) == ([b"a"] if begun else []) + ["end: upload-timeout"]


async def test_who_makes_pauses_between_pictures_is_not_slow(spool: Spool) -> None:
    uploads = Uploads(replace(LIMITS, timeout_s=1.0), spool, Limiter(2, 2))

    async def paused() -> AsyncIterator[bytes]:
        yield b"--XyZ\r\n"
        for _ in range(2):
            yield HEAD + b"a"
            yield b"b"
            await asyncio.sleep(0.6)  # within a picture
            yield b"c\r\n--XyZ\r\n"
            await asyncio.sleep(0.6)  # and before the next, together longer than either may be
        yield b"\r\n\r\n--XyZ--\r\n"

    assert await take(uploads, paused()) == [b"abc"] * 2


async def test_the_less_room_is_left_the_sooner_the_next_picture_has_to_come(spool: Spool) -> None:
    uploads = Uploads(LIMITS, spool, Limiter(1, 1))
    uploads.limiter.acquire()
    async with asyncio.timeout(20):  # of 30
        assert await take(uploads, stalled(part("image", b"a"))) == ["end: upload-timeout"]


async def test_a_full_disk_is_waited_for(uploads: Uploads) -> None:
    spool = uploads.spool
    spool.reserve(spool.max_bytes - 1000)
    taking = asyncio.create_task(take(uploads, chunks(body(part("image", b"a" * 1900)), 500)))
    await asyncio.wait({taking}, timeout=0.2)
    assert not taking.done()
    spool.give_back(spool.max_bytes - 1000)
    async with asyncio.timeout(30):
        assert await taking == [b"a" * 1900]


async def test_a_disk_that_fails_costs_one_picture(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, fails = uploads.spool._open_unnamed, iter([False, True, False])

    def open_sometimes() -> object:
        if next(fails):
            raise OSError(28, os.strerror(28))
        return opened()

    monkeypatch.setattr(uploads.spool, "_open", open_sometimes)
    data = body(*(part("image", one) for one in (b"a", b"b", b"c")))
    assert await take(uploads, chunks(data, 50)) == [b"a", "storage", b"c"]


async def test_what_had_begun_is_given_back_when_nobody_goes_on(uploads: Uploads) -> None:
    begun = part("image", b"a") + b"--XyZ\r\n" + HEAD + b"x" * 1000
    arrivals = StreamingUpload(uploads, stalled(begun), TYPE)
    async with aclosing(arrivals.pictures()) as pictures:
        with (await anext(pictures)).held:
            waiting = asyncio.ensure_future(anext(pictures))
            await asyncio.wait({waiting}, timeout=0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
