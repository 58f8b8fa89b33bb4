import json
from typing import Any

import pytest
from aiohttp import ClientSession
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from faceattr_aio import Config, errors, make_app
from faceattr_aio.schemas import Faces
from faceattr_aio.web.openapi import describe
from tests.conftest import Serve

KEY = "0123456789abcdef"
TRICK = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}


def config(**sections: Any) -> Config:
    return Config.model_validate(sections)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pipelines": {"faces": {}, "trick": TRICK}},
        {"pipelines": {"at_root": {**TRICK, "path": "/"}}},
        {"auth": {"keys": [KEY]}, "server": {"page": False, "metrics_port": 9100}, "image": {"formats": ["gif"]}},
    ],
)
def test_the_document_is_valid_for_any_settings(settings: dict[str, Any]) -> None:
    validate(describe(config(**settings)))


@pytest.mark.parametrize("server", [{}, {"page": False}, {"metrics_port": 9100}])
def test_the_document_describes_exactly_the_routes(server: dict[str, Any]) -> None:
    settings = config(server=server, pipelines={"faces": {}, "trick": TRICK})
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in make_app(settings).router.routes()
        if route.method != "HEAD" and route.resource and not route.resource.canonical.startswith("/page/")
    }
    described = {(method, path) for path, methods in describe(settings)["paths"].items() for method in methods}
    assert described == served - {("get", "")}


def test_every_failure_is_described_under_its_status() -> None:
    document = describe(config(auth={"keys": [KEY]}))
    responses = document["components"]["responses"]
    for name, failure in vars(errors).items():
        if not isinstance(failure, type) or not issubclass(failure, errors.FaceattrError):
            continue
        if "kind" in vars(failure) and name not in {"ReloadFailed", "UnknownJob"}:
            named = responses[str(failure.status)]["content"]["application/problem+json"]["examples"]
            assert failure.kind in named
            listed = document["paths"]["/analyze"]["post"]["responses"][str(failure.status)]
            assert listed == {"$ref": f"#/components/responses/{failure.status}"}


def test_the_document_requires_a_key_when_the_server_does() -> None:
    open_to_all, locked = (describe(config(auth=auth)) for auth in ({}, {"keys": [KEY]}))
    assert "security" not in open_to_all["paths"]["/analyze"]["post"]
    assert "401" not in open_to_all["paths"]["/analyze"]["post"]["responses"]
    assert locked["paths"]["/analyze"]["post"]["security"] == [{"bearer": []}, {"header": []}]
    assert "401" in locked["paths"]["/analyze"]["post"]["responses"]
    assert KEY not in json.dumps(locked)


def test_options_have_ranges_and_limits_come_from_the_settings() -> None:
    settings = config(upload={"max_bytes": 1000, "max_batch": 3}, image={"formats": ["png"]})
    operation = describe(settings)["paths"]["/analyze"]["post"]
    options = {one["name"]: one["schema"] for one in operation["parameters"] if "name" in one}
    assert list(options) == ["attributes", "min_confidence", "max_faces", "detail"]
    assert options["max_faces"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert operation["x-limits"] == {"formats": ("png",), "max_bytes": 1000}
    content = operation["requestBody"]["content"]
    assert list(content) == ["multipart/form-data", "image/png", "application/octet-stream"]
    assert content["multipart/form-data"]["schema"]["properties"]["image"]["maxItems"] == 3


@pytest.mark.pixels
async def test_real_answers_match_the_document(serve: Serve, client: ClientSession, png: bytes) -> None:
    url = await serve(make_app(config(inference={"workers": 1})))
    async with client.get(f"{url}/openapi.json") as response:
        document = await response.json()
    content = document["paths"]["/analyze"]["post"]["responses"]["200"]["content"]["application/json"]
    described = Draft202012Validator({**document, **content["schema"]})
    async with client.post(f"{url}/analyze", data=png, headers={"Content-Type": "image/png"}) as response:
        answer = await response.json()
    described.validate(answer)
    described.validate(content["example"])
    result = {name: answer[name] for name in ("image", "faces", "models")}
    assert Faces.model_validate_json(json.dumps(result)).model_dump(mode="json", exclude_unset=True) == result
    del answer["faces"][0]["box"]["x"]
    assert not described.is_valid(answer)
