"""Requests as data, and the classification of their answers."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from pydantic import ValidationError

from bench.stress.answers import Answer, judge, no_answer
from bench.stress.pictures import make_folder, read_folder
from bench.stress.templates import PRESETS, Check, Preset, Template, load_preset
from tests.conftest import Serve

PLAIN = Template(name="plain", path="/", check=Check(type="application/json", has=("faces.0.age",)))
JSON = {"Content-Type": "application/json; charset=utf-8"}


def judged(status: int, body: object, **headers: str) -> Answer:
    return judge(PLAIN, status, {**JSON, **headers}, json.dumps(body).encode())


@pytest.mark.parametrize("name", sorted(file.stem for file in PRESETS.glob("*.toml")))
def test_every_preset_is_readable_and_has_a_valid_request(name: str) -> None:
    preset = load_preset(name)
    assert preset.about
    assert any(not template.broken for template in preset.requests) or name == "hostile"


def test_rejects_a_preset_with_a_duplicate_name_or_an_unknown_key() -> None:
    once = {"name": "a", "path": "/"}
    with pytest.raises(ValidationError, match="same name"):
        Preset.model_validate({"request": [once, once]})
    with pytest.raises(ValidationError, match="wieght"):
        Preset.model_validate({"request": [{**once, "wieght": 3}]})


def test_a_form_has_the_picture_in_its_field() -> None:
    request = Template(name="form", path="/x", field="file").fill(b"PICTURE")
    boundary = request.headers["Content-Type"].partition("boundary=")[2].encode()
    assert request.body.startswith(b"--" + boundary)
    assert b'name="file"' in request.body
    assert b"\r\n\r\nPICTURE\r\n--" in request.body


def test_fresh_pictures_differ_after_their_end_only() -> None:
    template = Template(name="raw", path="/", fresh=True)
    first, second = template.fill(b"PICTURE").body, template.fill(b"PICTURE").body
    assert first != second
    assert first[:7] == second[:7] == b"PICTURE"


def test_a_json_body_has_the_address_of_the_picture() -> None:
    template = Template.model_validate({"name": "json", "path": "/", "json": {"image_url": "{picture_url}"}})
    request = template.fill(b"ignored", "http://127.0.0.1/p.jpg")
    assert json.loads(request.body) == {"image_url": "http://127.0.0.1/p.jpg"}
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(("send", "size"), [("nothing", 0), ("zeros", 1000), ("picture", 7)])
def test_makes_the_given_body(send: str, size: int) -> None:
    template = Template.model_validate({"name": "x", "path": "/", "send": send, "zeros": 1000})
    assert len(template.fill(b"PICTURE").body) == size


def test_accepts_the_expected_answer() -> None:
    assert judged(200, {"faces": [{"age": 31}]}) == Answer("accepted", "200")


def test_checks_more_than_the_status() -> None:
    assert judged(200, {"faces": []}) == Answer("failed", "200, but without faces.0.age")
    assert judge(PLAIN, 200, JSON, b"<html>") == Answer("failed", "200, but no JSON")
    assert judge(PLAIN, 200, {"Content-Type": "text/html"}, b"") == Answer("failed", "200, but text/html")
    small = Template(name="picture", path="/", check=Check(least_bytes=1024))
    assert judge(small, 200, {}, bytes(1023)) == Answer("failed", "200, but too short")
    count = Template(name="count", path="/", check=Check(length={"landmarks": 543}))
    assert judge(count, 200, {}, b'{"landmarks": [1]}').kind == "failed"


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_is_not_a_failure_and_has_its_retry_after(status: int) -> None:
    assert judged(status, {}, **{"Retry-After": "3"}) == Answer("refused", str(status), 3.0)
    assert judged(status, {}) == Answer("refused", str(status), None)
    assert judged(status, {}, **{"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}).wait_s is None


def test_a_broken_request_must_be_rejected_and_its_success_is_a_failure() -> None:
    broken = Template(name="empty", path="/", check=Check(status=400))
    assert judge(broken, 400, {}, b"") == Answer("rejected", "400")
    assert judge(broken, 200, {}, b"") == Answer("failed", "200")


def chained(*errors: Exception) -> Exception:
    for error, reason in pairwise(errors):
        error.__context__ = reason
    return errors[0]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TimeoutError(), "timed out"),
        (ConnectionResetError(), "reset"),
        (ConnectionRefusedError(), "no connection"),
        (chained(ValueError("wrapped"), TimeoutError()), "timed out"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_missing_answer_has_a_reason(error: Exception, outcome: str) -> None:
    assert no_answer(error) == Answer("failed", outcome)


async def as_specified(request: web.Request) -> web.Response:
    """The services of specifications 001 to 003."""
    match request.path:
        case "/predict":
            return web.json_response({"landmarks": [[0.0, 0.0]] * 543})
        case "/api/convert":
            return web.Response(body=bytes(2000), content_type="image/png")
        case _:
            return web.Response(status=200 if (await request.json()).get("image_url") else 400)


def requests_of(name: str) -> Iterator[Template]:
    yield from load_preset(name).requests


@pytest.mark.parametrize("name", ["spec001", "spec002", "spec003"])
async def test_requests_of_the_specifications_run_against_their_services(
    name: str, serve: Serve, client: ClientSession
) -> None:
    app = web.Application()
    app.router.add_post("/{any:.*}", as_specified)
    url = await serve(app)
    for template in requests_of(name):
        request = template.fill(b"PICTURE", "http://127.0.0.1/p.jpg")
        async with client.post(url + request.path, data=request.body, headers=request.headers) as response:
            answer = judge(template, response.status, response.headers, await response.read())
        assert answer.kind == ("rejected" if template.broken else "accepted"), (template.name, answer)


def test_makes_pictures_in_several_sizes_and_rejects_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no picture in"):
        read_folder(tmp_path)
    pictures = read_folder(make_folder(tmp_path, (64, 256)))
    assert [picture.name for picture in pictures] == ["portrait-256.jpg", "portrait-64.jpg"]
    assert len(pictures[0].data) > len(pictures[1].data)
