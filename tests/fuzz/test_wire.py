"""Any bytes over a connection get a documented response or a closed connection in bounded time, and afterwards the
server uses the same resources as before.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse, IncompleteRead
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.bodies import Body, cuts, in_chunks, malformed, well_formed
from tests.fuzz.corpus import picture
from tests.fuzz.tally import EXAMPLES, Tally
from tests.fuzz.wholeness import ANSWER_S, FuzzedServer

DOCUMENTED = {200, 400, 404, 405, 406, 408, 413, 415, 417, 422, 503}
UPLOAD_S = 2.0
WARM_UP = 100
END = b"\r\n\r\n"
CONTROLS = bytes([*range(9), *range(10, 32), 127])
"""Control characters, which the HTTP parser of aiohttp refuses in every header."""


@dataclass(frozen=True)
class Sent:
    """The bytes of one connection, divided into pieces. `then` is how the client ends the connection."""

    head: bytes
    body: bytes
    positions: list[int]
    then: str = "waits"

    @property
    def pieces(self) -> Iterator[bytes]:
        return in_chunks(self.head + self.body, self.positions)


def head(*lines: bytes, start: bytes = b"POST /analyze HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: localhost", *lines]) + END


def chunked(body: bytes, positions: list[int]) -> bytes:
    pieces = (b"%x\r\n%s\r\n" % (len(piece), piece) for piece in in_chunks(body, positions))
    return b"".join(pieces) + b"0" + END


names = st.sampled_from(
    (
        b"Accept",
        b"Prefer",
        b"Expect",
        b"Content-Type",
        b"Content-Length",
        b"Content-Encoding",
        b"Transfer-Encoding",
        b"X-Request-ID",
        b"X-Forwarded-For",
        b"Forwarded",
        b"Connection",
        b"Upgrade",
        b"Host",
        b"Cookie",
        b"If-None-Match",
        b"Range",
        b"TE",
    )
)
values = st.one_of(
    st.binary(max_size=40).map(lambda value: value.translate(None, CONTROLS)),
    st.sampled_from(
        (
            b"",
            b"*/*",
            b"image/jpeg",
            b"image/png;q=0.1, application/json;q=0",
            b"wait=0",
            b"respond-async",
            b"100-continue",
            b"multipart/form-data",
            b"multipart/form-data; boundary=x",
            b"image/png",
            b"chunked",
            b"gzip, chunked",
            b"gzip",
            b"-1",
            b"0",
            b"5",
            b"+5",
            b"5, 5",
            b"1" * 30,
            b"99999999",
            b"close",
            b"keep-alive, upgrade",
            b"websocket",
            b"a" * 9000,
            "Grüße".encode(),
            b"1.2.3.4, unknown, ::1",
        )
    ),
)
lines = st.builds(lambda name, value: name + b": " + value, names, values)
bodies = st.one_of(
    st.binary(max_size=200), st.integers(0, 5000).map(picture), st.builds(lambda body: body.data, malformed())
)


starts = st.sampled_from(
    (
        *[b"POST /analyze HTTP/1.1"] * 8,
        b"POST /analyze HTTP/1.0",
        b"POST /analyze?max_faces=x&%ff=%00&detail HTTP/1.1",
        b"POST //analyze/../%2e HTTP/1.1",
        b"POST http://[::1/analyze HTTP/1.1",
        b"GET /analyze HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT localhost:1 HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"POST /analyze HTTP/9.9",
        b"POST \xff HTTP/1.1",
    )
)
endings = st.sampled_from(("waits", "waits", "waits", "waits", "hangs up", "resets"))


@st.composite
def any_bytes(draw: st.DrawFn) -> Sent:
    """Draw a valid head and any body, with a correct or a wrong length."""
    body, positions, then = draw(bodies), draw(cuts), draw(endings)
    kind = draw(st.sampled_from((b"image/png", b"application/octet-stream", b"multipart/form-data; boundary=x")))
    kind = b"Content-Type: " + kind
    match draw(st.sampled_from(("right", "right", "lie", "chunked", "not chunked"))):
        case "right":
            return Sent(head(kind, b"Content-Length: %d" % len(body)), body, positions, then)
        case "lie":
            length = draw(st.integers(0, len(body) + 1))
            return Sent(head(kind, b"Content-Length: %d" % length), body, positions, then)
        case "chunked":
            return Sent(head(kind, b"Transfer-Encoding: chunked"), chunked(body, positions), positions, then)
        case _:
            return Sent(head(kind, b"Transfer-Encoding: chunked"), body, positions, then)


@st.composite
def form(draw: st.DrawFn) -> Sent:
    """Draw a multipart body with its Content-Type; its parts are not pictures."""
    body: Body = draw(st.one_of(well_formed(), malformed()))
    kind = f"Content-Type: {body.content_type}".encode()
    positions, then = draw(cuts), draw(endings)
    if draw(st.booleans()):
        return Sent(head(kind, b"Transfer-Encoding: chunked"), chunked(body.data, positions), positions, then)
    return Sent(head(kind, b"Content-Length: %d" % len(body.data)), body.data, positions, then)


@st.composite
def weird_headers(draw: st.DrawFn) -> Sent:
    """Draw any headers before a body that may be a picture."""
    body: bytes = draw(bodies)
    start = draw(starts)
    weird = draw(st.lists(lines, max_size=4))
    if b"POST /analyze" not in start:
        weird = [line for line in weird if not line.startswith(b"Expect")]  # aiohttp answers it; 500 if not UTF-8
    length = [b"Content-Length: %d" % len(body), b"Content-Type: image/png"] if draw(st.booleans()) else []
    return Sent(head(*weird, *length, start=start), body, draw(cuts), draw(endings))


def converse(url: str, sent: Sent) -> str:
    """Return the status of the first final response, or how the connection ended. Fail after ANSWER_S."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), ANSWER_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):  # the server has closed it; the response may be buffered
            for piece in sent.pieces:
                connection.sendall(piece)
        if sent.then == "waits":
            return _answer(connection, sent.head.partition(b" ")[0].decode())
        if sent.then == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return sent.then


def converse_often(url: str, examples: int, tally: Tally) -> None:
    @settings(max_examples=examples)
    @given(sent=st.one_of(any_bytes(), form(), weird_headers()))
    def once(sent: Sent) -> None:
        tally.counts[converse(url, sent)] += 1

    once()


def _answer(connection: socket.socket, method: str) -> str:
    try:
        with HTTPResponse(connection, method=method) as response:
            response.begin()
            response.read()
    except (ConnectionError, IncompleteRead):
        return "closed"
    assert response.status in DOCUMENTED, f"status {response.status}"
    return str(response.status)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FuzzedServer]:
    server = FuzzedServer(tmp_path, UPLOAD_S)
    yield server
    server.kill()


async def test_any_request_is_answered_or_closed_and_leaves_no_resource_in_use(
    server: FuzzedServer, tally: Tally, png: bytes
) -> None:
    converse_often(server.url, WARM_UP, tally)
    before = await server.settled()
    converse_often(server.url, EXAMPLES, tally)
    after = await server.stop_and_check(before, png)
    tally.notes += [f"before: {before}", f"after: {after}"]
    assert server.faults() == []
