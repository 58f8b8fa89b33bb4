"""Multipart bodies are read correctly, however they are divided into chunks."""

from collections.abc import Iterable
from email.message import Message
from email.parser import BytesParser

from hypothesis import given
from hypothesis import strategies as st

from faceattr_aio.errors import BatchTooLarge, FaceattrError, MalformedUpload, TooManyParts
from faceattr_aio.uploads.multipart import Multipart
from tests.fuzz.bodies import Body, cuts, in_chunks, malformed, well_formed
from tests.fuzz.tally import Tally

Outcome = list[bytes] | type[FaceattrError]


def read(chunks: Iterable[bytes], content_type: str) -> Outcome:
    """Return the pictures, or the class of the documented error."""
    pictures: list[bytes] = []
    try:
        parser = Multipart(content_type, max_parts=4, max_batch=3, max_header_bytes=4096)
        for chunk in chunks:
            for number, piece in parser.feed(chunk):
                pictures[number:] = [b"".join([*pictures[number:], piece])]
        parser.end()
    except (MalformedUpload, TooManyParts, BatchTooLarge) as error:
        return type(error)
    return pictures


def count(tally: Tally, outcome: Outcome) -> None:
    tally.counts[f"{len(outcome)} pictures" if isinstance(outcome, list) else outcome.__name__] += 1


def pictures_by_email_parser(body: Body) -> list[bytes]:
    message = BytesParser().parsebytes(f"Content-Type: {body.content_type}\r\n\r\n".encode() + body.data)
    parts = message.get_payload()
    if not isinstance(parts, list):
        return []
    found = []
    for part in parts:
        assert isinstance(part, Message)
        if part.get_param("name", header="content-disposition") in {"image", "file"}:
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            found.append(content)
    return found


@given(body=well_formed(), positions=cuts)
def test_the_pictures_of_a_well_formed_body_are_read(body: Body, positions: list[int], tally: Tally) -> None:
    outcome = read(in_chunks(body.data, positions), body.content_type)
    count(tally, outcome)
    if len(body.pictures) > 3:
        assert outcome is BatchTooLarge
    else:
        assert outcome == list(body.pictures) == pictures_by_email_parser(body)


@given(body=malformed(), positions=cuts)
def test_the_division_into_chunks_makes_no_difference(body: Body, positions: list[int], tally: Tally) -> None:
    outcome = read([body.data], body.content_type)
    count(tally, outcome)
    assert read(in_chunks(body.data, positions), body.content_type) == outcome
    assert read((bytes([byte]) for byte in body.data), body.content_type) == outcome


@given(
    content_type=st.one_of(
        st.text(st.characters(max_codepoint=127), max_size=90),
        st.text(st.characters(max_codepoint=127), max_size=90).map("multipart/form-data; boundary={}".format),
        st.text("=;\"'\\ aboundary*0%", max_size=60).map("multipart/form-data; {}".format),
    ),
    data=st.binary(max_size=60),
)
def test_any_content_type_is_read_or_gets_a_documented_error(content_type: str, data: bytes, tally: Tally) -> None:
    count(tally, read([data], content_type))
