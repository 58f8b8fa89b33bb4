"""The pipeline in a real server, together with faces."""

import io
from collections.abc import Iterator
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from tests.support.process import PATIENCE_S, Server, start_server

pytestmark = pytest.mark.pixels

CONFIG = "[inference]\nworkers = 1\n[pipelines.faces]\n[pipelines.holistic]\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(tmp_path_factory.mktemp("server"), CONFIG, {})
    yield server
    server.kill()


def post(server: Server, query: str = "", **request: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/predict{query}", timeout=PATIENCE_S, **request)


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"].startswith("application/problem+json")
    return response.status_code, response.json()["type"]


def is_the_astronaut(answer: dict[str, Any]) -> bool:
    return len(answer["landmarks"]["face"]) == 468 and answer["landmarks"]["pose"][0]["name"] == "nose"


def test_the_astronaut_is_found_in_a_multipart_upload(server: Server, png: bytes) -> None:
    response = post(server, files={"file": png})
    assert is_the_astronaut(response.json())
    assert response.json()["id"] == response.headers["X-Request-ID"]


def test_a_raw_body_is_answered_with_the_requested_parts(server: Server, png: bytes) -> None:
    response = post(server, "?parts=face&complexity=0", content=png, headers={"Content-Type": "image/png"})
    assert list(response.json()["landmarks"]) == ["face"]
    stages = [stage.partition(";")[0] for stage in response.headers["Server-Timing"].split(", ")]
    assert stages == ["upload", "queue", "decode", "pose", "face"]


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_the_drawn_picture_has_the_requested_type(format_: str, server: Server, png: bytes) -> None:
    media_type = f"image/{format_.lower()}"
    response = post(server, files={"image": png}, headers={"Accept": media_type})
    assert response.headers["Content-Type"] == media_type
    with Image.open(io.BytesIO(response.content)) as picture:
        assert (picture.format, picture.size) == (format_, (512, 512))


def test_a_batch_is_answered_in_order(server: Server, png: bytes, jpeg: bytes) -> None:
    files = [("image", ("a", png)), ("image", ("b", jpeg[: len(jpeg) // 2])), ("file", ("c", jpeg))]
    first, second, third = post(server, files=files).json()["results"]
    assert is_the_astronaut(first)
    assert second["error"]["type"] == "urn:faceattr:unreadable-image"
    assert is_the_astronaut(third)


def test_failures_have_the_documented_types(server: Server, png: bytes) -> None:
    files = {"file": png}
    assert problem(post(server, "?parts=foot", files=files)) == (400, "urn:faceattr:bad-option")
    assert problem(post(server, files=files, headers={"Accept": "text/html"})) == (406, "urn:faceattr:not-acceptable")
    assert problem(post(server, files={"file": b"no picture"})) == (415, "urn:faceattr:unsupported-media")
    blurred = post(server, "?min_sharpness=100000", files=files)
    assert problem(blurred) == (422, "urn:faceattr:too-blurred")
    assert blurred.json()["sharpness"] > 100


def test_faces_and_people_are_found_and_counted_by_one_server(server: Server, png: bytes) -> None:
    found = httpx.post(f"{server.url}/analyze", files={"file": png}, timeout=PATIENCE_S).json()["faces"]
    assert len(found) == 1
    post(server, files={"file": png})
    metrics = httpx.get(f"{server.url}/metrics").text
    counts = dict(line.split() for line in metrics.splitlines() if line.startswith("faceattr_") and "{" not in line)
    assert float(counts["faceattr_faces_total"]) == 1
    assert float(counts["faceattr_people_total"]) >= 1


def test_responses_match_the_openapi_document(server: Server, png: bytes) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    content = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    described = Draft202012Validator({**document, **content["schema"]})
    described.validate(content["example"])
    nobody = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    answers = [post(server, files={"file": data}).json() for data in (png, nobody)]
    for answer in answers:
        described.validate(answer)
    assert [answer["reason"] for answer in answers] == [None, "no-person"]
    del answers[0]["landmarks"]["pose"][0]["x"]
    assert not described.is_valid(answers[0])
