"""Checks that a response is documented and that each of its members is valid."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from faceattr_aio import errors

_KINDS = {
    kind.kind: kind.status
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.FaceattrError)
}
_STARTS = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG"}
_SECRETS = ("Traceback", 'File "', "/proc/", "/tmp", "cv2", "OpenCV", "aiohttp")  # noqa: S108  # looked for, not written to


def fault(status: int, headers: Mapping[str, str], body: bytes) -> str | None:
    """Return what is wrong with the response to a picture, or None."""
    try:
        _check(status, headers, body)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        return f"status {status}: {type(error).__name__}: {error}: {body[:500]!r}"
    return None


def _check(status: int, headers: Mapping[str, str], body: bytes) -> None:
    media_type = headers["Content-Type"].partition(";")[0]
    if status != 200:
        assert media_type == "application/problem+json"
        _check_problem(status, headers, json.loads(body))
    elif media_type == "application/json":
        _check_result(headers, json.loads(body, parse_constant=_refuse))
    else:
        assert body.startswith(_STARTS[media_type])


def _check_problem(status: int, headers: Mapping[str, str], problem: dict[str, Any]) -> None:
    kind = problem["type"].removeprefix("urn:faceattr:")
    assert _KINDS[kind] == status == problem["status"], "the status is not that of the problem type"
    assert problem["instance"] == headers["X-Request-ID"]
    assert problem["title"]
    assert problem["detail"].endswith("."), "the detail is not a sentence"
    assert not [secret for secret in _SECRETS if secret in problem["detail"]], "the detail contains internal names"
    if status == 503:
        assert kind == "overloaded"
        assert int(headers["Retry-After"]) >= 1
        assert problem["in_flight"] <= problem["limit"]
        assert problem["retry_after_ms"] >= 0


def _check_result(headers: Mapping[str, str], result: dict[str, Any]) -> None:
    assert set(result) == {"id", "image", "faces", "models", "cached"}
    assert result["id"] == headers["X-Request-ID"]
    image = result["image"]
    assert image["format"] in {"jpeg", "png", "webp"}
    for face in result["faces"]:
        box, age = face["box"], face["age"]
        assert 0 <= box["x"] < box["x"] + box["width"] <= image["width"], "the box is outside the picture"
        assert 0 <= box["y"] < box["y"] + box["height"] <= image["height"], "the box is outside the picture"
        assert 0 <= face["confidence"] <= 1
        assert 0 <= face["gender"]["probability"] <= 1
        assert 0 <= age["interval"][0] <= age["years"] <= age["interval"][1] <= 120


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
