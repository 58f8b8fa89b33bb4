"""Reading of bodies in chunks, and discarding of the bodies of refused requests."""

import asyncio
from collections.abc import Iterable
from unittest.mock import Mock

import pytest
from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.test_utils import make_mocked_request

from faceattr_aio.errors import MalformedUpload
from faceattr_aio.web.body import Lingering, read_chunks


def stream(chunks: Iterable[bytes], *, ended: bool = True) -> StreamReader:
    """A body of which these chunks have arrived."""
    content = StreamReader(Mock(), limit=1 << 16, loop=asyncio.get_running_loop())
    content.begin_http_chunk_receiving()
    for chunk in chunks:
        content.feed_data(chunk)
        content.end_http_chunk_receiving()
    if ended:
        content.feed_eof()
    return content


def refused(chunks: Iterable[bytes], *, ended: bool = False) -> web.Request:
    """A request that was answered when these chunks of its body had arrived."""
    return make_mocked_request("POST", "/", payload=stream(chunks, ended=ended), protocol=Mock())


async def read_all(content: StreamReader) -> bytes:
    return b"".join([chunk async for chunk in read_chunks(content)])


async def test_the_whole_body_is_read() -> None:
    assert await read_all(stream([b"abc", b"d" * 1000, b""])) == b"abc" + b"d" * 1000


async def test_an_empty_body_ends_for_every_request() -> None:
    assert [await read_all(EMPTY_PAYLOAD) for _ in range(3)] == [b""] * 3


@pytest.mark.parametrize(("size", "number"), [(1, 999), (16, 3000), (17, 1000)])
async def test_small_chunks_are_accepted(size: int, number: int) -> None:
    assert await read_all(stream([b"x" * size] * number)) == b"x" * size * number


@pytest.mark.parametrize("size", [1, 15])
async def test_a_thousand_chunks_of_a_few_bytes_are_refused(size: int) -> None:
    body = stream([b"x" * size] * 3000)
    with pytest.raises(MalformedUpload, match="chunks of less than 16 bytes"):
        await read_all(body)
    assert body.read_nowait() == b"x" * size * 2000


async def test_other_tasks_run_while_a_buffered_body_is_read() -> None:
    iterations = 0

    async def others() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await read_all(stream([b"x" * 100] * 960))
    task.cancel()
    assert iterations >= 960 / 16


async def until_waiting(lingering: Lingering, bodies: int) -> None:
    """Wait until this number of bodies is being discarded; fail after 10 seconds."""
    async with asyncio.timeout(10):
        while lingering.count < bodies:
            await asyncio.sleep(0)


async def test_a_body_that_ends_is_discarded() -> None:
    lingering = Lingering(limit=1, seconds=30, max_bytes=1000)
    request = refused([b"x" * 100])
    discarding = asyncio.create_task(lingering.discard(request))
    await until_waiting(lingering, 1)
    request.content.feed_data(b"x" * 900)
    request.content.feed_eof()
    assert await discarding
    assert lingering.count == 0


@pytest.mark.parametrize(
    ("chunks", "seconds"),
    [([b"x" * 1001], 30), ([b"x"] * 1000, 30), ([b"x"], 0)],
    ids=["too large", "small chunks", "too slow"],
)
async def test_a_body_that_is_too_large_or_too_slow_is_not_discarded(chunks: list[bytes], seconds: float) -> None:
    lingering = Lingering(limit=1, seconds=seconds, max_bytes=1000)
    async with asyncio.timeout(10):
        assert not await lingering.discard(refused(chunks))
    assert lingering.count == 0


async def test_no_more_bodies_than_the_limit_are_discarded_at_a_time() -> None:
    lingering = Lingering(limit=2, seconds=30, max_bytes=1000)
    requests = [refused([]) for _ in range(2)]
    discarding = [asyncio.create_task(lingering.discard(request)) for request in requests]
    await until_waiting(lingering, 2)
    assert not await lingering.discard(refused([]))
    assert await lingering.discard(refused([b"whole"], ended=True))  # the whole body has arrived
    requests[0].content.feed_eof()
    assert await discarding[0]
    again = asyncio.create_task(lingering.discard(refused([])))
    await until_waiting(lingering, 2)
    lingering.stop()
    assert not any(await asyncio.gather(discarding[1], again))
    assert not await lingering.discard(refused([]))


async def test_a_client_that_disconnected_does_not_count() -> None:
    lingering = Lingering(limit=1, seconds=30, max_bytes=1000)
    left = refused([])
    discarding = asyncio.create_task(lingering.discard(left))
    await until_waiting(lingering, 1)
    left.protocol.transport = None
    next_one = asyncio.create_task(lingering.discard(refused([])))
    assert not await discarding
    await until_waiting(lingering, 1)
    lingering.stop()
    lingering.stop()
    assert not await next_one
