"""Describes requests as data: path, form field, raw body or JSON, weight, and the expected answer. Read from TOML."""

import json
import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from urllib3 import encode_multipart_formdata

PRESETS = Path(__file__).with_name("presets")
_HERE = b"\0the picture stands here\0"
_FRESH = 8
"""Random bytes after a picture, which no decoder reads and which change its hash."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Data):
    """The expected answer. `has` are dotted paths into its JSON, `length` the lengths of lists there."""

    status: int = 200
    type: str = ""
    least_bytes: int = 0
    has: tuple[str, ...] = ()
    length: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request, ready to be sent; only the share `sent` of the body is sent."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    sent: float = 1.0


class Template(_Data):
    """A request without its picture. The picture is sent in form field `field`, as `json`, in which {picture_url}
    stands for its address, or else as the raw body.
    """

    name: str
    path: str
    method: str = "POST"
    weight: Annotated[int, Field(ge=1)] = 1
    field: str = ""
    json_body: Annotated[dict[str, Any] | None, Field(alias="json")] = None
    headers: dict[str, str] = Field(default_factory=dict)
    send: Literal["picture", "nothing", "text", "zeros"] = "picture"
    zeros: int = 0
    sent: Annotated[float, Field(ge=0, le=1)] = 1.0
    fresh: bool = False
    check: Check = Check()

    @property
    def broken(self) -> bool:
        """An error is the expected answer, which does not count as goodput."""
        return self.check.status >= 400 or self.sent < 1  # noqa: PLR2004  # the first status of a failure

    def fill(self, picture: bytes, picture_url: str = "") -> Request:
        """Insert a picture into the request."""
        headers, body = self._body(self._content(picture), picture_url)
        return Request(self.name, self.method, self.path, {**headers, **self.headers}, body, self.sent)

    def _content(self, picture: bytes) -> bytes:
        match self.send:
            case "nothing":
                return b""
            case "text":
                return b"<html>This is not a picture.</html>"
            case "zeros":
                return bytes(self.zeros)
            case _:
                return picture + os.urandom(_FRESH) if self.fresh else picture

    def _body(self, content: bytes, picture_url: str) -> tuple[dict[str, str], bytes]:
        if self.json_body is not None:
            text = json.dumps(self.json_body).replace("{picture_url}", picture_url)
            return {"Content-Type": "application/json"}, text.encode()
        if self.field:
            before, after, content_type = _form(self.field)
            return {"Content-Type": content_type}, before + content + after
        return {"Content-Type": "application/octet-stream"}, content


@cache
def _form(field: str) -> tuple[bytes, bytes, str]:
    """The bytes before and after a file in a form with this one field, and the form's content type."""
    body, content_type = encode_multipart_formdata({field: ("picture.jpg", _HERE, "image/jpeg")})
    before, _, after = body.partition(_HERE)
    return before, after, content_type


class Preset(_Data):
    """The requests of one service, and the think time of a user."""

    about: str = ""
    think_s: tuple[float, float] = (0.0, 0.0)
    picture_url: str = ""
    requests: Annotated[tuple[Template, ...], Field(alias="request", min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [template.name for template in self.requests]
        if len(set(names)) < len(names):
            raise ValueError("two requests have the same name")
        return self

    def weights(self) -> list[int]:
        return [template.weight for template in self.requests]


def load_preset(name: str) -> Preset:
    """Load a preset by its name, or a TOML file by its path. Raises OSError, ValueError."""
    file = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    return Preset.model_validate(tomllib.loads(file.read_text()))
