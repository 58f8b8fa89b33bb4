"""Incremental parser of multipart bodies. Limits the number of parts and the size of their headers, so that no body can
block the event loop.
"""

import sys
from functools import lru_cache, partial

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from faceattr_aio.errors import BatchTooLarge, FaceattrError, MalformedUpload, TooManyParts

FIELDS = frozenset({b"image", b"file"})
"""Names of the parts that hold a picture."""
_MAX_BOUNDARY = 70
"""Characters; RFC 2046, section 5.1.1."""
_MAX_HEADERS = 8
"""Headers of one part."""
_PLAIN_ENCODINGS = frozenset({b"", b"binary", b"8bit", b"7bit"})

Piece = tuple[int, bytes]
"""Index of the picture in the body, from 0, and its next bytes; the first piece of a picture is empty."""

parse_content_type = lru_cache(64)(parse_options_header)
"""Split a Content-Type into the media type in lower case and its parameters."""


class Multipart:
    """Return the pieces of the parts named `image` or `file`; skip all other parts."""

    def __init__(self, content_type: str, max_parts: int, max_batch: int, max_header_bytes: int) -> None:
        """Raises MalformedUpload when `content_type` has no valid boundary."""
        boundary = parse_content_type(content_type)[1].get(b"boundary", b"")
        if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
            raise MalformedUpload(f"The Content-Type has no boundary of 1 to {_MAX_BOUNDARY} ASCII characters.")
        self._max_parts, self._max_batch = max_parts, max_batch
        self._parts = self._pictures = 0
        self._in_picture = self._begun = False
        self.ended = False
        """Whether the last boundary was parsed. Data after it is ignored."""
        self._names, self._values = bytearray(), bytearray()  # of the headers of a part, separated by CR
        self._pieces: list[Piece] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_begin": partial(self._names.append, ord("\r")),
                "on_header_field": partial(_append, self._names),
                "on_header_value": partial(_append, self._values),
                "on_header_end": partial(self._values.append, ord("\r")),
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_end": partial(setattr, self, "ended", True),
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=max_header_bytes,
        )

    def feed(self, chunk: bytes) -> list[Piece]:
        """Parse the next chunk and return the pieces in it. Raises MalformedUpload, TooManyParts or BatchTooLarge."""
        if not self._begun:  # the parser itself skips more than newlines when they are in one chunk
            chunk = chunk.lstrip(b"\r\n")
            self._begun = bool(chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedUpload.because(error, "The multipart body is malformed.") from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> None:
        """Call at the end of the body. Raises MalformedUpload when the last boundary is missing."""
        if not self.ended:
            raise MalformedUpload("The multipart body ends before its last boundary.")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise TooManyParts(f"The upload has more than {self._max_parts} parts.")
        self._names.clear()
        self._values.clear()

    def _end_headers(self) -> None:
        names, values = bytes(self._names).lower().split(b"\r")[1:], bytes(self._values).split(b"\r")
        headers = dict(zip(names, values, strict=False))
        disposition = headers.get(b"content-disposition", b"").decode("latin-1")
        self._in_picture = parse_options_header(disposition)[1].get(b"name") in FIELDS
        if not self._in_picture:
            return
        if headers.get(b"content-transfer-encoding", b"").strip().lower() not in _PLAIN_ENCODINGS:
            raise MalformedUpload("A part has a Content-Transfer-Encoding; send the bytes of the picture unencoded.")
        if self._pictures == self._max_batch:
            raise BatchTooLarge(f"The upload has more than {self._max_batch} pictures.")
        self._pieces.append((self._pictures, b""))
        self._pictures += 1

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_picture:
            self._pieces.append((self._pictures - 1, data[start:end]))


class UnboundedMultipart(Multipart):
    """A multipart body with any number of pictures. `max_parts` limits the other parts between two pictures. An error
    in the body is raised by `end`, after the pictures before it were returned.
    """

    def __init__(self, content_type: str, max_parts: int, max_header_bytes: int) -> None:
        super().__init__(content_type, max_parts, sys.maxsize, max_header_bytes)
        self.complete = 0
        """Number of pictures whose last byte was parsed."""
        self._fault: FaceattrError | None = None
        self._parser.set_callback("part_end", self._end_part)

    def feed(self, chunk: bytes) -> list[Piece]:
        """Parse the next chunk and return the pieces in it, up to the first error."""
        try:
            return super().feed(chunk)
        except FaceattrError as fault:
            self._fault, self.ended = fault, True
            return self._pieces

    def end(self) -> None:
        """Call at the end of the body. Raises MalformedUpload or TooManyParts."""
        if self._fault:
            raise self._fault
        super().end()

    def _end_headers(self) -> None:
        super()._end_headers()
        if self._in_picture:
            self._parts = 0

    def _end_part(self) -> None:
        self.complete = self._pictures


def _append(target: bytearray, data: bytes, start: int, end: int) -> None:
    target += data[start:end]
