"""What a header tells, and how a number in it is read. Knows no format."""

import mmap
from typing import Literal, NamedTuple

Bytes = bytes | mmap.mmap | memoryview
Order = Literal["little", "big"]


class Header(NamedTuple):
    """As stored, before any rotation: width and height in pixels, passes over the picture."""

    format: str
    width: int
    height: int
    scans: int = 1

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


def number(data: Bytes, start: int, size: int, order: Order = "little") -> int:
    """The unsigned number in `size` bytes from `start` on. Raises IndexError when the file ends before."""
    field = data[start : start + size]
    if len(field) < size:
        raise IndexError(f"the file ends before byte {start + size}")
    return int.from_bytes(field, order)
