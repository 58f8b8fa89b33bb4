"""The behaviour that every pipeline has in common: the same requests to each pipeline of a real server."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench.support.generator import write_generator
from faceattr_aio.config.schema import BUILT_IN, Config
from faceattr_aio.pipeline import JSON, NDJSON
from tests.support import catalogue
from tests.support.process import PATIENCE_S, Server, start_server

PIPELINES: dict[str, dict[str, Any]] = {
    "faces": {},
    "holistic": {},
    "anime": {"styles": (), "files": {"mine": "drawer.onnx"}},
    "steady": {"factory": "tests.support.pipelines:Steady", "path": "/steady"},
    "trick": {"factory": "tests.support.pipelines:Trick", "path": "/trick"},
}
ENTRIES = Config.model_validate({"pipelines": PIPELINES}).pipelines
EACH = pytest.mark.parametrize("name", PIPELINES)
BOUND = 1_000_000
RAW = {"Content-Type": "image/png"}


def answers_json(name: str) -> bool:
    return JSON in ENTRIES[name].declaration.media_types


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    drawer = write_generator(folder / "drawer.onnx", 2)
    config = f"""
[inference]
workers = 1
[upload]
max_bytes = {BOUND}
[image]
max_pixels = 1000000
[pipelines.faces]
[pipelines.holistic]
[pipelines.anime]
styles = []
files = {{ mine = "{drawer}" }}
[pipelines.steady]
factory = "tests.support.pipelines:Steady"
path = "/steady"
[pipelines.trick]
factory = "tests.support.pipelines:Trick"
path = "/trick"
"""
    server = start_server(folder, config, {})
    yield server
    server.kill()


def ask(server: Server, name: str, method: str = "POST", query: str = "", **request: Any) -> httpx.Response:
    return httpx.request(method, f"{server.url}{ENTRIES[name].path}{query}", timeout=PATIENCE_S, **request)


def kind(response: httpx.Response) -> tuple[int, str]:
    """Return status and type of a failure, and check the members that every failure has."""
    problem = response.json()
    assert response.headers["Content-Type"].partition(";")[0] == "application/problem+json"
    assert (problem["status"], problem["instance"]) == (response.status_code, response.headers["X-Request-ID"])
    return response.status_code, problem["type"].removeprefix("urn:faceattr:")


def test_every_built_in_pipeline_is_tested() -> None:
    assert set(BUILT_IN) <= set(PIPELINES)


@EACH
def test_a_picture_is_answered_in_every_declared_type(name: str, server: Server, png: bytes) -> None:
    media_types = ENTRIES[name].declaration.media_types
    for accept in (*media_types, "*/*"):
        headers = {"Accept": accept, "X-Request-ID": "mine", "Cache-Control": "no-cache"}
        response = ask(server, name, files={"image": png}, headers=headers)
        assert response.status_code == 200
        assert response.headers["Content-Type"].partition(";")[0] == (
            accept if accept in media_types else media_types[0]
        )
        assert (response.headers["X-Request-ID"], response.headers["Cache-Control"]) == ("mine", "no-store")
        stages = [stage.partition(";")[0] for stage in response.headers["Server-Timing"].split(", ")]
        assert stages[:3] == ["upload", "queue", "decode"]


@EACH
def test_a_raw_body_is_answered_like_a_form(name: str, server: Server, png: bytes) -> None:
    assert ask(server, name, content=png, headers=RAW).status_code == 200


@EACH
def test_other_media_types_are_refused(name: str, server: Server, png: bytes) -> None:
    refused = ["text/html", "image/*;q=0, application/json;q=0", *([] if answers_json(name) else [JSON])]
    for accept in refused:
        assert kind(ask(server, name, files={"image": png}, headers={"Accept": accept})) == (406, "not-acceptable")


@EACH
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_only_post_is_allowed(method: str, name: str, server: Server) -> None:
    response = ask(server, name, method)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


@EACH
def test_an_unknown_or_repeated_option_is_refused_with_the_known_ones(name: str, server: Server, png: bytes) -> None:
    option, *_ = ENTRIES[name].declaration.options.model_fields
    for query in ("?colour=red", f"?{option}=1&{option}=2"):
        response = ask(server, name, query=query, files={"image": png})
        assert kind(response) == (400, "bad-option")
        assert option in response.json()["detail"]


@EACH
def test_an_upload_without_a_usable_picture_has_the_documented_failure(
    name: str, server: Server, jpeg: bytes, astronaut: Any
) -> None:
    if name in {"faces", "holistic", "anime"}:  # the others do not decode
        damaged = ask(server, name, files={"image": jpeg[: len(jpeg) // 2]})
        assert kind(damaged) == (422, "unreadable-image")
    forged = next(iter(catalogue.FORGED.values()))(astronaut)
    assert kind(ask(server, name, files={"image": forged})) == (422, "too-many-pixels")
    assert kind(ask(server, name, files={"image": b"no picture"})) == (415, "unsupported-media")
    assert kind(ask(server, name, files={"image": b""})) == (400, "no-image")
    assert kind(ask(server, name, files={"other": jpeg})) == (400, "no-image")
    assert kind(ask(server, name, content=b"{}", headers={"Content-Type": JSON})) == (415, "unsupported-media")


@EACH
def test_an_upload_that_is_too_large_is_refused(name: str, server: Server) -> None:
    response = ask(server, name, content=b"x" * (BOUND + 1), headers=RAW)
    assert kind(response) == (413, "upload-too-large")


@EACH
def test_a_deadline_out_of_reach_is_refused_at_once(name: str, server: Server, png: bytes) -> None:
    response = ask(server, name, files={"image": png}, headers={"Prefer": "wait=0.0001"})
    assert kind(response) == (503, "deadline")
    assert int(response.headers["Retry-After"]) >= 1


@EACH
def test_several_pictures_are_answered_as_a_list_in_json_only(name: str, server: Server, png: bytes) -> None:
    files = [("image", ("a", png)), ("image", ("b", b"no picture"))]
    response = ask(server, name, files=files)
    if not answers_json(name):
        assert kind(response) == (406, "not-acceptable")
        return
    first, second = response.json()["results"]
    assert first["cached"] in {True, False}
    assert second["error"]["status"] == 415


@pytest.mark.parametrize("name", [name for name in PIPELINES if answers_json(name)])
def test_a_repeatable_result_is_cached_and_returned_unchanged(name: str, server: Server, png: bytes) -> None:
    first, second = (ask(server, name, files={"image": png}).json() for _ in range(2))
    assert second["cached"] is ENTRIES[name].declaration.repeatable
    for answer in (first, second):
        del answer["id"], answer["cached"]
    assert first == second
    fresh = ask(server, name, files={"image": png}, headers={"Cache-Control": "no-cache"})
    assert fresh.json()["cached"] is False


@EACH
def test_pictures_stages_and_requests_are_counted_by_pipeline(name: str, server: Server, png: bytes) -> None:
    ask(server, name, files={"image": png}, headers={"Cache-Control": "no-cache"})
    metrics = httpx.get(f"{server.url}/metrics").text
    route = ENTRIES[name].path
    answered = f'http_request_method="POST",http_response_status_code="200",http_route="{route}"'
    for start in (
        f'faceattr_pictures_total{{pipeline="{name}"}}',
        f'faceattr_stage_duration_seconds_count{{pipeline="{name}",stage="decode"}}',
        f'http_server_request_duration_seconds_count{{error_type="",{answered}}}',
    ):
        counts = [float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(start)]
        assert counts
        assert counts[0] >= 1


@EACH
def test_the_openapi_document_matches_the_declaration(name: str, server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    operation = document["paths"][ENTRIES[name].path]["post"]
    declaration = ENTRIES[name].declaration
    assert operation["x-pipeline"] == operation["operationId"] == name
    lines = (NDJSON,) if JSON in declaration.media_types else ()  # where one answer can be one of many
    assert tuple(operation["responses"]["200"]["content"]) == (*declaration.media_types, *lines)
    options = [one["name"] for one in operation["parameters"] if one.get("in") == "query"]
    assert options == list(declaration.options.model_fields)
    assert {"400", "406", "413", "415", "422", "503", "504"} <= set(operation["responses"])
