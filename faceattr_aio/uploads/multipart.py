"""A multipart body, chunk by chunk: which parts carry a picture, and their bytes. Bounded in parts and in headers, so
that no body can hold the event loop. Knows no HTTP and no files.
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from faceattr_aio.errors import BatchTooLarge, FaceattrError, MalformedUpload, TooManyParts

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELDS = frozenset({b"image", b"file"})
_MAX_BOUNDARY = 70
"""Characters, RFC 2046, section 5.1.1."""
_MAX_HEADERS = 8
"""Of one part."""
_PLAIN_ENCODINGS = frozenset({b"", b"binary", b"8bit", b"7bit"})

Piece = tuple[int, bytes]
"""The number of the picture, from 0, and the next bytes of it; none in its first piece."""


class Multipart:
    """Feed it the body; it yields the pieces of the parts named `image` or `file` and skips the others."""

    def __init__(self, content_type: str, max_parts: int, max_batch: int, max_header_bytes: int) -> None:
        """Raises MalformedUpload when `content_type` has no usable boundary."""
        self._max_parts, self._max_batch = max_parts, max_batch
        self._parts = self._pictures = 0
        self._in_picture = self._begun = False
        self.complete = 0
        """Pictures whose end has come."""
        self.ended = False
        """Whether the last boundary has come: what follows is nothing."""
        self._header = (bytearray(), bytearray())
        self._disposition = self._encoding = b""
        self._pieces: list[Piece] = []
        self._parser = MultipartParser(
            _boundary(content_type),
            self._callbacks(),
            max_header_count=_MAX_HEADERS,
            max_header_size=max_header_bytes,
        )

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """The pieces in the next chunk. Raises MalformedUpload, TooManyParts or BatchTooLarge."""
        self._parse(chunk)
        pieces, self._pieces = self._pieces, []
        yield from pieces

    def end(self) -> None:
        """The body is over. Raises MalformedUpload when its last boundary did not come."""
        if not self.ended:
            raise MalformedUpload("The multipart body ends before its last boundary.")

    def _parse(self, chunk: bytes) -> None:
        if not self._begun:  # the parser would skip more than newlines, as far as they come in one chunk with them
            chunk = chunk.lstrip(b"\r\n")
            self._begun = bool(chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedUpload.from_exception(error, "The multipart body is malformed.") from error

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        self._in_picture = False
        self._disposition = self._encoding = b""
        if self._parts > self._max_parts:
            raise TooManyParts(f"The upload has more than {self._max_parts} parts.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _end_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._header = (bytearray(), bytearray())
        match name.lower():
            case b"content-disposition":
                self._disposition = value
            case b"content-transfer-encoding":
                self._encoding = value.strip().lower()

    def _end_headers(self) -> None:
        _, parameters = parse_options_header(self._disposition.decode("latin-1"))
        self._in_picture = parameters.get(b"name") in FIELDS
        if not self._in_picture:
            return
        if self._encoding not in _PLAIN_ENCODINGS:
            raise MalformedUpload("A part has a Content-Transfer-Encoding; send the picture's bytes as they are.")
        if self._pictures == self._max_batch:
            raise BatchTooLarge(f"The upload has more than {self._max_batch} pictures.")
        self._pieces.append((self._pictures, b""))
        self._pictures += 1

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_picture:
            self._pieces.append((self._pictures - 1, data[start:end]))

    def _end_part(self) -> None:
        self.complete = self._pictures

    def _end(self) -> None:
        self.ended = True


class UnboundedMultipart(Multipart):
    """One of any number of pictures; `max_parts` is how many others may come before the next of them. What is wrong
    with it is told at its end, after the pictures before.
    """

    def __init__(self, content_type: str, max_parts: int, max_header_bytes: int) -> None:
        super().__init__(content_type, max_parts, sys.maxsize, max_header_bytes)
        self._fault: FaceattrError | None = None

    def end(self) -> None:
        """Raises MalformedUpload or TooManyParts."""
        if self._fault:
            raise self._fault
        super().end()

    def _parse(self, chunk: bytes) -> None:
        try:
            super()._parse(chunk)
        except FaceattrError as fault:
            self._fault, self.ended = fault, True

    def _end_headers(self) -> None:
        super()._end_headers()
        if self._in_picture:
            self._parts = 0


def _boundary(content_type: str) -> bytes:
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary", b"")
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
        raise MalformedUpload(f"The Content-Type has no boundary of 1 to {_MAX_BOUNDARY} ASCII characters.")
    return boundary
