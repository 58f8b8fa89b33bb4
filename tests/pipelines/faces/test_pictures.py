"""Every picture of the catalogue, uploaded to a real server: the exact response, and the memory it takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from faceattr_aio.pipelines.imaging import Pixels
from tests.conftest import StartServer
from tests.pipelines.faces.conftest import BOX, overlap
from tests.support import catalogue
from tests.support.catalogue import DEFAULT, FORMATS, plain
from tests.support.pictures import Maker, Table, cut, flipped
from tests.support.process import PATIENCE_S, Server, start_server

pytestmark = pytest.mark.pixels

WORKERS = "[inference]\nworkers = 2\n"
OPEN = f"{WORKERS}[image]\nformats = {list(FORMATS)}\nmax_pixels = 1_000_000\n"
"""Accepts every format, and fewer pixels, which also limits the memory of a worker."""
MIB = 1 << 20
Answer = tuple[int, int | str]
"""The status, and the number of faces or the kind of the problem."""


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(tmp_path_factory.mktemp("default"), WORKERS, {})
    yield server
    server.kill()


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(tmp_path_factory.mktemp("open"), OPEN, {})
    yield server
    server.kill()


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=PATIENCE_S) as http:
        yield http


@pytest.fixture(scope="module")
def ask(http: httpx.Client) -> "Ask":
    return Ask(http)


class Ask:
    """A client that reads the responses."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def document(self, server: Server, data: bytes) -> Any:
        headers = {"Content-Type": "application/octet-stream"}
        response = self._http.post(f"{server.url}/analyze", content=data, headers=headers)
        document = response.json()
        assert document.get("status", 200) == response.status_code
        return document

    def answer(self, server: Server, data: bytes) -> Answer:
        return summary(self.document(server, data))

    def answers(self, server: Server, pictures: list[bytes]) -> list[Answer]:
        """Send several pictures in one request."""
        files = [("image", data) for data in pictures]
        results = self._http.post(f"{server.url}/analyze?attributes=", files=files).json()["results"]
        return [summary(result.get("error", result)) for result in results]

    def is_shown(self, server: Server, data: bytes, size: int = 512) -> None:
        """Assert that the one face is found in its place in the picture as shown."""
        document = self.document(server, data)
        (face,) = document["faces"]
        assert overlap(face["box"], BOX) > 0.9
        assert (document["image"]["width"], document["image"]["height"]) == (size, size)


def summary(document: Any) -> Answer:
    if "faces" in document:
        return 200, len(document["faces"])
    return document["status"], document["type"].removeprefix("urn:faceattr:")


def answers(*tables: tuple[Table, Answer]) -> pytest.MarkDecorator:
    rows = [pytest.param(make, answer, id=name) for table, answer in tables for name, make in table.items()]
    return pytest.mark.parametrize(("make", "expected"), rows)


def makers(table: Table) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", table.values(), ids=table)


@makers(catalogue.SHOWN)
def test_the_face_is_found_in_the_picture_as_shown(make: Maker, ask: Ask, default: Server, astronaut: Pixels) -> None:
    ask.is_shown(default, make(astronaut))


@makers(catalogue.SHOWN_WHEN_ASKED_FOR)
def test_the_face_is_found_in_the_formats_that_were_asked_for(
    make: Maker, ask: Ask, open_to_all: Server, astronaut: Pixels
) -> None:
    ask.is_shown(open_to_all, make(astronaut))


@answers(
    ({"nothing": catalogue.as_it_is(b"")}, (400, "no-image")),
    (catalogue.BLANK, (200, 0)),
    (catalogue.NO_PICTURES, (415, "unsupported-media")),
    ({name: plain(name) for name in FORMATS if name not in DEFAULT}, (415, "unsupported-media")),
    (catalogue.DAMAGED, (422, "unreadable-image")),
    (catalogue.FORGED, (422, "too-many-pixels")),
    (catalogue.COMPLEX, (422, "too-complex")),
)
def test_each_other_picture_has_its_response(
    make: Maker, expected: Answer, ask: Ask, default: Server, astronaut: Pixels
) -> None:
    assert ask.answer(default, make(astronaut)) == expected


@answers(
    (catalogue.BLANK_WHEN_ASKED_FOR, (200, 0)),
    (catalogue.NO_PICTURES, (415, "unsupported-media")),
    (catalogue.DAMAGED_WHEN_ASKED_FOR, (422, "unreadable-image")),
    (catalogue.FORGED_WHEN_ASKED_FOR, (422, "too-many-pixels")),
)
def test_each_other_picture_has_its_response_when_all_formats_are_accepted(
    make: Maker, expected: Answer, ask: Ask, open_to_all: Server, astronaut: Pixels
) -> None:
    assert ask.answer(open_to_all, make(astronaut)) == expected


@pytest.mark.parametrize("name", [*FORMATS, "progressive"])
def test_a_picture_cut_at_any_tenth_is_unreadable(name: str, ask: Ask, open_to_all: Server, astronaut: Pixels) -> None:
    make = catalogue.SHOWN["progressive jpeg"] if name == "progressive" else plain(name)
    pieces = [cut(make(astronaut), tenth / 10) for tenth in range(1, 10)]
    assert {ask.answer(open_to_all, piece) for piece in pieces} == {(422, "unreadable-image")}


@pytest.mark.parametrize("name", FORMATS)
def test_flipped_bits_are_a_picture_or_a_refusal(name: str, ask: Ask, open_to_all: Server, astronaut: Pixels) -> None:
    """200 flips each; no worker is lost."""
    whole = plain(name)(np.ascontiguousarray(astronaut[20:180, 140:300]))
    bits = np.random.default_rng(7).integers(0, 8 * len(whole), 200)
    bits[:40] = np.arange(0, 800, 20)  # the header too
    damaged = [flipped(whole, bit) for bit in bits]
    workers = open_to_all.descendants()
    outcomes = [each for at in range(0, 200, 8) for each in ask.answers(open_to_all, damaged[at : at + 8])]
    assert len(outcomes) == 200
    assert {status for status, _ in outcomes} <= {200, 415, 422}
    assert open_to_all.descendants() == workers
    ask.is_shown(open_to_all, plain(name)(astronaut))


@pytest.mark.parametrize("value", ["", "50e6", "1"])
def test_a_limit_in_the_environment_neither_stops_the_workers_nor_applies(
    value: str, ask: Ask, start: StartServer, astronaut: Pixels
) -> None:
    server = start("[inference]\nworkers = 1\n", OPENCV_IO_MAX_IMAGE_PIXELS=value)
    ask.is_shown(server, plain("png")(astronaut))


def test_a_picture_refused_by_its_header_takes_no_memory(
    ask: Ask, default: Server, open_to_all: Server, astronaut: Pixels
) -> None:
    for server, tables in (
        (default, [catalogue.FORGED, catalogue.COMPLEX]),
        (open_to_all, [catalogue.FORGED_WHEN_ASKED_FOR]),
    ):
        bombs = [make(astronaut) for table in tables for make in table.values()]
        ask.is_shown(server, plain("png")(astronaut))
        before = forget_peaks(server)
        for data in bombs:
            assert ask.answer(server, data)[0] == 422
        grown = {pid: peak_of(pid) - size for pid, size in before.items()}
        assert max(grown.values()) < 10 * MIB
        assert list(before) == [server.pid, *server.descendants()]


def forget_peaks(server: Server) -> dict[int, int]:
    """Reset the peaks of the server and all its processes; return the bytes in memory of each."""
    processes = [server.pid, *server.descendants()]
    for pid in processes:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return {pid: peak_of(pid) for pid in processes}


def peak_of(pid: int) -> int:
    """Return the peak of the resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
