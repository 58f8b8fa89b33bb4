"""A generator of the size of the published ones in a worker: its memory, and its effect on other pipelines."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from bench.load.pipelines import selfie
from bench.support.generator import write_generator
from tests.support.process import PATIENCE_S, Server, start_server

MIB = 1 << 20
MOST_BYTES = 700 * MIB
"""Limit for a worker, with a picture of 512 x 384."""


@pytest.fixture(scope="module")
def drawer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("drawer") / "drawer.onnx")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, drawer: Path) -> Iterator[Server]:
    """A server with two workers, of which conversions use one at most."""
    files = f'styles = []\nfiles = {{ mine = "{drawer}", same = "{drawer}" }}\n'
    anime = f"[image]\nworking_side = 1024\n[pipelines.anime]\nshare = 0.5\nmax_side = 1024\n{files}"
    inference = "[inference]\nworkers = 2\nlimit = 4\ntimeout_s = 60\n"
    config = f"[cache]\nbackend = 'none'\n{inference}[pipelines.faces]\n{anime}"
    server = start_server(tmp_path_factory.mktemp("server"), config, {})
    yield server
    server.kill()


def test_the_generator_has_the_size_of_the_published_ones(drawer: Path) -> None:
    assert drawer.stat().st_size == pytest.approx(8_649_739, rel=0.02)


def test_draws_a_selfie_of_a_megabyte_within_the_memory_limit(server: Server, tmp_path: Path) -> None:
    data = selfie_of(tmp_path)
    assert 900_000 < len(data) <= 1_000_000
    for query in ("?max_side=512", "?style=same&max_side=512"):
        response = httpx.post(f"{server.url}/api/convert{query}", files={"image": data}, timeout=PATIENCE_S)
        drawn = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR)
        assert drawn is not None
        assert max(drawn.shape) == 512
    assert max(_peak(pid) for pid in server.descendants()) < MOST_BYTES


def test_rejects_a_picture_that_needs_too_much_memory_without_losing_a_worker(
    server: Server, tmp_path: Path, jpeg: bytes
) -> None:
    workers = server.descendants()
    response = httpx.post(
        f"{server.url}/api/convert?max_side=1024", files={"image": selfie_of(tmp_path)}, timeout=PATIENCE_S
    )
    assert (response.status_code, response.json()["type"]) == (422, "urn:faceattr:too-many-pixels")
    response = httpx.post(f"{server.url}/api/convert?max_side=64", files={"image": jpeg}, timeout=PATIENCE_S)
    assert response.status_code == 200
    assert server.descendants() == workers


async def test_constant_conversions_do_not_delay_faces(server: Server, jpeg: bytes) -> None:
    async def post(client: httpx.AsyncClient, path: str) -> tuple[int, float]:
        began = time.monotonic()
        response = await client.post(f"{server.url}{path}", files={"image": jpeg})
        return response.status_code, time.monotonic() - began

    over = asyncio.Event()

    async def flood(client: httpx.AsyncClient) -> list[int]:
        found = []
        while not over.is_set():
            status, _ = await post(client, "/api/convert?max_side=512")
            found.append(status)
            await asyncio.sleep(0.05 if status == 503 else 0)
        return found

    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        floods = [asyncio.create_task(flood(client)) for _ in range(8)]
        faces = [await post(client, "/analyze") for _ in range(25)]
        over.set()
        converted = [status for found in await asyncio.gather(*floods) for status in found]
    assert [status for status, _ in faces] == [200] * 25
    assert {200, 503} == set(converted)
    assert max(seconds for _, seconds in faces) < 1.0  # a conversion takes longer


def selfie_of(folder: Path) -> bytes:
    selfie(folder)
    return (folder / "selfie.jpg").read_bytes()


def _peak(pid: int) -> int:
    return 1024 * int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])
