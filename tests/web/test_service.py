"""The whole service with its real nets, asked by real clients."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
from PIL import Image

from tests.support.process import PATIENCE_S, Server, start_server

pytestmark = pytest.mark.pixels

BOX = {"x": 173, "y": 68, "width": 106, "height": 106}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(tmp_path_factory.mktemp("server"), "", {})
    yield server
    server.kill()


def is_the_astronaut(answer: dict[str, Any]) -> bool:
    (face,) = answer["faces"]
    near = all(abs(face["box"][key] - value) <= 0.1 * value for key, value in BOX.items())
    return near and face["gender"]["label"] == "female" and 25 <= face["age"]["years"] <= 40


def post(server: Server, query: str = "", **request: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/analyze{query}", timeout=PATIENCE_S, **request)


def test_the_astronaut_is_found_in_a_multipart_upload(server: Server, png: bytes) -> None:
    assert is_the_astronaut(post(server, files={"image": png}).json())


def test_the_astronaut_is_found_in_a_raw_body(server: Server, png: bytes) -> None:
    assert is_the_astronaut(post(server, content=png, headers={"Content-Type": "image/png"}).json())


def test_the_astronaut_is_found_in_a_chunked_body_of_unknown_length(server: Server, png: bytes) -> None:
    pieces = (png[start : start + 5000] for start in range(0, len(png), 5000))
    response = post(server, content=pieces, headers={"Content-Type": "application/octet-stream"})
    assert response.request.headers["Transfer-Encoding"] == "chunked"
    assert is_the_astronaut(response.json())


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_the_annotated_picture_has_the_requested_media_type(format_: str, server: Server, png: bytes) -> None:
    media_type = f"image/{format_.lower()}"
    response = requests.post(f"{server.url}/analyze", files={"file": png}, headers={"Accept": media_type}, timeout=60)
    assert response.headers["Content-Type"] == media_type
    with Image.open(io.BytesIO(response.content)) as picture:
        assert (picture.format, picture.size) == (format_, (512, 512))


def test_a_batch_is_answered_in_its_order(server: Server, png: bytes, jpeg: bytes) -> None:
    files = [("image", ("a", png)), ("image", ("b", jpeg[: len(jpeg) // 2])), ("file", ("c", jpeg))]
    first, second, third = post(server, "?attributes=age,gender", files=files).json()["results"]
    assert is_the_astronaut(first)
    assert second["error"]["type"] == "urn:faceattr:unreadable-image"
    assert is_the_astronaut(third)


def test_high_detail_finds_the_same_face_once(server: Server, png: bytes) -> None:
    response = post(server, "?detail=high", content=png, headers={"Content-Type": "image/png"})
    assert is_the_astronaut(response.json())


def test_the_response_has_the_stages_of_the_pipeline(server: Server, png: bytes) -> None:
    response = post(server, content=png, headers={"Content-Type": "image/png", "Cache-Control": "no-cache"})
    stages = [stage.partition(";")[0] for stage in response.headers["Server-Timing"].split(", ")]
    assert stages == ["upload", "queue", "decode", "detect", "attributes"]
