"""Read the markers of a JPEG as libjpeg does: segments are skipped whole, so that the markers of a thumbnail do not
count; other bytes are searched for the next marker. Returns size and passes and checks that all passes are complete.
"""

import re
from collections.abc import Iterator

from faceattr_aio.errors import TooComplex, UnreadableImage
from faceattr_aio.uploads.formats.header import Bytes, Header, number

_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset({0xC0, 0xC1})
"""Huffman-coded frames in which a scan has all coefficients of a block."""
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_BLOCK = (1 << 64) - 1
"""One bit for each coefficient of a block."""
_MAX_SEGMENTS = 2000
"""Ordinary pictures have a few dozen; hundreds with a large colour profile or panorama data."""
_WINDOW = 1 << 20
"""Bytes of one search, which holds the GIL."""


def read(data: Bytes) -> Header:
    """The header; the largest of several frames counts. Raises UnreadableImage when the end or a pass is missing, and
    TooComplex for too many segments.
    """
    width = height = scans = frame = 0
    missing: dict[int, int] = {}
    for marker, after in _segments(data):
        if marker in _FRAMES:
            frame = marker
            height = max(height, number(data, after + 3, 2, "big"))
            width = max(width, number(data, after + 5, 2, "big"))
            missing |= dict.fromkeys(_components(data, after + 7, 3), _BLOCK)
        elif marker == _START_OF_SCAN:
            scans += 1
            complete = _completed(data, after) if frame in _PROGRESSIVE else _BLOCK
            missing |= {each: missing.get(each, 0) & ~complete for each in _components(data, after + 2, 2)}
    if any(missing.values()):
        raise UnreadableImage("The JPEG is cut short: passes over the picture are missing.")
    return Header("jpeg", width, height, scans)


def end_of_only_scan(data: Bytes) -> int | None:
    """The end of the scan data in a sequential JPEG with a single scan; None for any other JPEG.

    Raises UnreadableImage and TooComplex like `read`.
    """
    segments = list(_segments(data))
    markers = [marker for marker, _ in segments]
    if markers.count(_START_OF_SCAN) != 1 or _SEQUENTIAL.isdisjoint(markers):
        return None
    _, after_next = segments[markers.index(_START_OF_SCAN) + 1]
    return after_next - 2


def _components(data: Bytes, count_at: int, size: int) -> list[int]:
    """The components that a frame or a scan lists, in `size` bytes each."""
    first = count_at + 1
    return [number(data, at, 1) for at in range(first, first + size * number(data, count_at, 1), size)]


def _completed(data: Bytes, after: int) -> int:
    """The coefficients that a scan of a progressive JPEG completes to their last bit."""
    end = after + number(data, after, 2, "big")
    low, high, bits = data[end - 3 : end]
    return 0 if bits & 0x0F else (2 << high) - (1 << low)


def _segments(data: Bytes) -> Iterator[tuple[int, int]]:
    """Each marker that starts a segment and the offset of its length; the end of the image is last."""
    position = 2
    count = 0
    while position < len(data):
        found = _MARKER.search(data, position, position + _WINDOW)
        if found is None:
            position += _WINDOW - 1  # a marker may cross the border of the window
            continue
        marker = data[found.end() - 1]
        yield marker, found.end()
        if marker == _END_OF_IMAGE:
            return
        count += 1
        if count == _MAX_SEGMENTS:
            raise TooComplex(f"The picture has more than {_MAX_SEGMENTS} segments; save it again.")
        position = found.end() + number(data, found.end(), 2, "big")
    raise UnreadableImage("The JPEG is cut short: its end is missing.")
