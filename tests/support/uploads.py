"""Multipart bodies and the chunks in which a body arrives."""

import asyncio
from collections.abc import AsyncIterator

TYPE = "multipart/form-data; boundary=XyZ"
RAW = "image/jpeg"


def part(name: str, data: bytes, *headers: str) -> bytes:
    """A part with its boundary before it."""
    lines = [f'Content-Disposition: form-data; name="{name}"; filename="a.jpg"', *headers]
    return b"--XyZ\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + data + b"\r\n"


def body(*parts: bytes) -> bytes:
    """The parts and the last boundary."""
    return b"".join(parts) + b"--XyZ--\r\n"


async def chunks(data: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    """The data in chunks of `size` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def stalled(*data: bytes) -> AsyncIterator[bytes]:
    """The chunks, and no end after them."""
    for chunk in data:
        yield chunk
    await asyncio.Event().wait()
