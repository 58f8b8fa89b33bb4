import time

import pytest

from faceattr_aio.errors import BatchTooLarge, FaceattrError, MalformedUpload, TooManyParts
from faceattr_aio.uploads.multipart import Multipart
from tests.support.uploads import TYPE, body, part


def parse(data: bytes, step: int = 1 << 16, content_type: str = TYPE) -> list[bytes]:
    """Parse a body in chunks of `step` bytes and return its pictures."""
    parser, pictures = Multipart(content_type, max_parts=4, max_batch=2, max_header_bytes=4096), list[bytes]()
    for start in range(0, len(data), step):
        for number, piece in parser.feed(data[start : start + step]):
            pictures[number:] = [b"".join([*pictures[number:], piece])]
    parser.end()
    return pictures


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_returns_the_pictures_for_any_size_of_the_chunks(step: int) -> None:
    data = body(part("image", b"one\r\n--Xy"), part("note", b"skipped"), part("file", b"\r\n\r\ntwo"))
    assert parse(data, step) == [b"one\r\n--Xy", b"\r\n\r\ntwo"]


def test_an_empty_part_is_a_picture_of_no_bytes() -> None:
    assert parse(body(part("image", b""))) == [b""]


def test_a_body_of_other_parts_has_no_pictures() -> None:
    assert parse(body(part("other", b"x"))) == []


def test_ignores_data_after_the_last_boundary() -> None:
    assert parse(body(part("image", b"x")) + b"epilogue" * 100) == [b"x"]


@pytest.mark.parametrize("step", [1, 2, 1000])
def test_skips_only_newlines_before_the_first_boundary(step: int) -> None:
    data = body(part("image", b"x"))
    assert parse(b"\r\n\n\r" + data, step) == [b"x"]
    with pytest.raises(MalformedUpload):
        parse(b"\r\na preamble\r\n" + data, step)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        b"--other\r\n",
        part("image", b"cut"),
        part("image", b"cut")[:-2],
        part("image", b"x")[:40],
        b"--XyZ\r\nno colon\r\n\r\nx\r\n--XyZ--\r\n",
        b"--XyZ\r\nA: " + b"b" * 9000 + b"\r\n\r\nx\r\n--XyZ--\r\n",
        b"--XyZ\r\n" + b"A: b\r\n" * 200 + b"\r\nx\r\n--XyZ--\r\n",
        b"\r\n" * 100_000,
        part("image", b"x", "Content-Transfer-Encoding: base64") + b"--XyZ--\r\n",
    ],
    ids=[
        "empty",
        "no boundary",
        "other boundary",
        "no last boundary",
        "cut in a boundary",
        "cut in a header",
        "no colon",
        "long header",
        "many headers",
        "newlines",
        "base64",
    ],
)
@pytest.mark.parametrize("step", [5, 1 << 16])
def test_refuses_a_malformed_body(data: bytes, step: int) -> None:
    with pytest.raises(MalformedUpload):
        parse(data, step)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 71}",
        "multipart/form-data; boundary=é",
    ],
)
def test_refuses_an_invalid_boundary(content_type: str) -> None:
    with pytest.raises(MalformedUpload, match="no boundary of 1 to 70"):
        parse(b"", content_type=content_type)


def test_refuses_too_many_parts_and_too_many_pictures() -> None:
    with pytest.raises(TooManyParts):
        parse(body(*[part("note", b"")] * 5))
    with pytest.raises(BatchTooLarge):
        parse(body(*[part("image", b"")] * 3))


@pytest.mark.parametrize(
    "data",
    [
        part("x", b"") * 20_000,
        b"\r\n" * 2_500_000,
        b"x" * 5_000_000,
        b"--XyZ\r\n" + b"\r" * 5_000_000,
        b"-" * 5_000_000,
    ],
    ids=["parts", "newlines", "junk", "carriage returns", "hyphens"],
)
def test_no_body_blocks_the_event_loop(data: bytes) -> None:
    parser, longest = Multipart(TYPE, max_parts=4, max_batch=2, max_header_bytes=4096), 0.0
    try:
        for start in range(0, len(data), 1 << 16):
            began = time.perf_counter()
            list(parser.feed(data[start : start + (1 << 16)]))
            longest = max(longest, time.perf_counter() - began)
    except FaceattrError:
        pass
    assert longest < 0.5
