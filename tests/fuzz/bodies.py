"""Strategies for multipart bodies: well-formed ones with known pictures, and malformed ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st

BOUNDARY_CHARACTERS = "abcXYZ019'()+_,-./:=?"
_NAMES = ("image", "file", "image", "note", "file", "Image", "", "image2")
_FIELDS = frozenset({"image", "file"})
_MAX_DATA = 300


@dataclass(frozen=True)
class Body:
    """A body and the pictures that it contains."""

    boundary: str
    data: bytes
    pictures: tuple[bytes, ...] = ()

    @property
    def content_type(self) -> str:
        return f'multipart/form-data; boundary="{self.boundary}"'


boundaries = st.text(BOUNDARY_CHARACTERS, min_size=1, max_size=70)


@st.composite
def well_formed(draw: st.DrawFn, most_parts: int = 4) -> Body:
    """Draw a body as browsers and HTTP libraries send it."""
    boundary = draw(boundaries)
    names = draw(st.lists(st.sampled_from(_NAMES), max_size=most_parts))
    contents = [draw(_contents(boundary)) for _ in names]
    delimiter = f"--{boundary}".encode()
    data = b"".join(
        delimiter + b"\r\n" + draw(_headers(name)) + b"\r\n" + content + b"\r\n"
        for name, content in zip(names, contents, strict=True)
    )
    data += delimiter + b"--" + draw(st.sampled_from((b"", b"\r\n", b"\r\nan epilogue")))
    pictures = (content for name, content in zip(names, contents, strict=True) if name in _FIELDS)
    return Body(boundary, data, tuple(pictures))


@st.composite
def malformed(draw: st.DrawFn) -> Body:
    """Draw a damaged well-formed body, or tokens of multipart bodies in any order among random bytes."""
    if draw(st.booleans()):
        good = draw(well_formed())
        position, length = draw(st.tuples(_positions, st.integers(0, 9)))
        position %= len(good.data) + 1
        damage = draw(st.one_of(st.binary(max_size=8), st.sampled_from(_pieces(good.boundary))))
        rest = b"" if draw(st.booleans()) else good.data[position + length :]
        return Body(good.boundary, good.data[:position] + damage + rest)
    boundary = draw(boundaries)
    pieces = st.one_of(st.sampled_from(_pieces(boundary)), st.binary(max_size=20))
    return Body(boundary, b"".join(draw(st.lists(pieces, max_size=30))))


_positions = st.integers(0, 10_000)
cuts = st.lists(_positions, max_size=12)


def in_chunks(data: bytes, positions: list[int]) -> Iterator[bytes]:
    """Cut the data at these positions, modulo its length."""
    edges = [0, *sorted({position % (len(data) + 1) for position in positions}), len(data)]
    for start, end in pairwise(edges):
        if end > start:
            yield data[start:end]


def _contents(boundary: str) -> st.SearchStrategy[bytes]:
    """Draw bytes that do not contain the boundary, often with parts of it and line ends."""
    special = (b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"-", b"--", b"\r\n--", f"\r\n--{boundary[:-1]}".encode(), b"\0")
    pieces = st.one_of(st.sampled_from(special), st.binary(max_size=30))
    contents = st.lists(pieces, max_size=10).map(lambda some: b"".join(some)[:_MAX_DATA])
    return contents.filter(lambda content: f"--{boundary}".encode() not in content)


def _headers(name: str) -> st.SearchStrategy[bytes]:
    quoted = st.sampled_from((f'name="{name}"', f"name={name}" if name else 'name=""'))
    files = st.text(
        st.characters(codec="utf-8", exclude_characters='"\\', categories=("L", "N", "P", "Zs")), max_size=20
    )
    filename = st.one_of(st.just(""), files.map(lambda file: f'; filename="{file}"'))
    kind = st.sampled_from(("", "Content-Type: image/png\r\n", "content-type: application/octet-stream\r\n"))
    encoding = st.sampled_from(("", "Content-Transfer-Encoding: binary\r\n", "Content-Transfer-Encoding: 8BIT\r\n"))
    title = st.sampled_from(("Content-Disposition", "content-disposition", "CONTENT-DISPOSITION"))
    return st.builds(
        lambda title, quoted, filename, kind, encoding: (
            f"{kind}{title}: form-data; {quoted}{filename}\r\n{encoding}".encode()
        ),
        title,
        quoted,
        filename,
        kind,
        encoding,
    )


def _pieces(boundary: str) -> tuple[bytes, ...]:
    delimiter = f"--{boundary}".encode()
    picture = b'Content-Disposition: form-data; name="image"'
    return (
        delimiter,
        delimiter + b"\r\n",
        delimiter + b"--",
        delimiter + b"--\r\n",
        delimiter + b" \t\r\n",
        delimiter + b"\n",
        delimiter[:-1],
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"\r",
        b"-",
        b"--\r\n",
        picture + b"\r\n\r\n",
        picture + b"\r\n" + picture + b"\r\n\r\n",
        b"Content-Disposition: form-data;\r\n name=image\r\n\r\n",
        b"Content-Disposition: form-data; name*=utf-8''image\r\n\r\n",
        b"Content-Disposition: \xff; name=\xff\r\n",
        b'Content-Disposition: form-data; name="image',
        b"Content-Disposition:;;;===;\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Type: multipart/mixed; boundary=" + boundary.encode() + b"\r\n",
        b": \r\n",
        b"no colon\r\n",
        b"A: " + b"b" * 5000 + b"\r\n",
        b"A: b\r\n" * 9,
        b"\0",
    )
