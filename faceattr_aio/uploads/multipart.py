"""Incremental parser of multipart bodies. Limits the number of parts and the size of their headers, so that no body can
block the event loop.
"""

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
    """Return the pieces of the parts named `image` or `file`; skip all other parts.

    An error ends the body: `feed` returns the pieces before it, `end` raises it. Without `max_batch` the body may have
    any number of pictures, and `max_parts` limits the other parts between two of them.
    """

    def __init__(self, content_type: str, max_parts: int, max_header_bytes: int, max_batch: int | None = None) -> None:
        """Raises MalformedUpload when `content_type` has no valid boundary."""
        boundary = parse_content_type(content_type)[1].get(b"boundary", b"")
        if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
            raise MalformedUpload(f"The Content-Type has no boundary of 1 to {_MAX_BOUNDARY} ASCII characters.")
        self._max_parts, self._max_batch = max_parts, max_batch
        self._parts = self._pictures = 0
        self._in_picture = self._begun = False
        self.complete = 0
        """Pictures followed by another part."""
        self.ended = False
        """True after the last boundary or an error. Later data is ignored."""
        self.fault: FaceattrError | None = None
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
        """Parse the next chunk and return the pieces in it."""
        if self.ended:
            return []
        if not self._begun:  # the parser itself skips more than newlines when they are in one chunk
            chunk = chunk.lstrip(b"\r\n")
            self._begun = bool(chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            self._fail(MalformedUpload.from_exception(error, "The multipart body is malformed."))
        except FaceattrError as fault:
            self._fail(fault)
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> None:
        """Call at the end of the body. Raises MalformedUpload (also without a last boundary), TooManyParts or
        BatchTooLarge.
        """
        if self.fault:
            raise self.fault
        if not self.ended:
            raise MalformedUpload("The multipart body ends before its last boundary.")

    def _fail(self, fault: FaceattrError) -> None:
        self.fault, self.ended = fault, True

    def _begin_part(self) -> None:
        self.complete = self._pictures
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
        if self._max_batch is None:
            self._parts = 0
        elif self._pictures == self._max_batch:
            raise BatchTooLarge(f"The upload has more than {self._max_batch} pictures.")
        self._pieces.append((self._pictures, b""))
        self._pictures += 1

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_picture:
            self._pieces.append((self._pictures - 1, data[start:end]))


def _append(target: bytearray, data: bytes, start: int, end: int) -> None:
    target += data[start:end]
