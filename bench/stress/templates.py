"""Requests as data: path, form field, raw body or JSON, weight, and what the answer must be; read from TOML. Knows
neither who sends them nor when.
"""

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
"""Random bytes behind a picture, which no decoder reads and every hash sees."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Data):
    """What an answer must be. `has` are dotted paths into its JSON, `length` the lengths of lists there."""

    status: int = 200
    type: str = ""
    least_bytes: int = 0
    has: tuple[str, ...] = ()
    length: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent; of the body, no more than `sent` is to go out, a share."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    sent: float = 1.0


class Template(_Data):
    """A request but for its picture. It is sent in form field `field`, as `json`, in which {picture_url} stands for a
    picture's address, or else as the raw body.
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
        """Whether it asks for a refusal: the right answer is then not goodput."""
        return self.check.status >= 400 or self.sent < 1  # noqa: PLR2004  # the first status of a failure

    def fill(self, picture: bytes, picture_url: str = "") -> Request:
        """The request with this picture."""
        headers, body = self._body(self._content(picture), picture_url)
        return Request(self.name, self.method, self.path, {**headers, **self.headers}, body, self.sent)

    def _content(self, picture: bytes) -> bytes:
        match self.send:
            case "nothing":
                return b""
            case "text":
                return b"<html>This is no picture.</html>"
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
    """What goes before and behind a file in a form of that one field, and the form's type."""
    body, content_type = encode_multipart_formdata({field: ("picture.jpg", _HERE, "image/jpeg")})
    before, _, after = body.partition(_HERE)
    return before, after, content_type


class Preset(_Data):
    """The requests of one service, and how long a user thinks between two of them."""

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
    """One of ours by its name, or any TOML file by its path. Raises OSError, ValueError."""
    file = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    return Preset.model_validate(tomllib.loads(file.read_text()))
