"""What a server said, as its client has it: a document, or the failure that it tells of by its own type. Knows no HTTP
library.
"""

import json
from typing import Any

from faceattr_aio import errors
from faceattr_aio.errors import FaceattrError, NotNow

_KINDS = {one.kind: one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, FaceattrError)}
_STANDARD = {"type", "title", "status", "detail", "instance", "retry_after_ms"}


class Unreachable(NotNow):
    """Nobody answers at the address, or the connection broke."""

    status, kind, title = 503, "unreachable", "The server cannot be reached"


class UnexpectedAnswer(FaceattrError):
    """Not what a server of ours would say: a wrong address, or a proxy in between. `members` has the `status`."""

    status, kind, title = 502, "unexpected-answer", "The answer is not that of such a server"


def document_of(content: bytes, status: int) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UnexpectedAnswer(f"The answer {status} is no document of such a server.", status=status)
    return document


def failure_of(problem: dict[str, Any], retry_after: str) -> FaceattrError:
    """The failure that a problem document tells of; `retry_after_ms` goes over the header's whole seconds."""
    kind = _KINDS.get(str(problem.get("type", "")).removeprefix("urn:faceattr:"))
    detail = str(problem.get("detail", ""))
    if kind is None:
        return UnexpectedAnswer(detail, status=problem.get("status"))
    members = {name: value for name, value in problem.items() if name not in _STANDARD}
    if not issubclass(kind, NotNow):
        return kind(detail, **members)
    whole_s = float(retry_after) if retry_after.isdecimal() else 1.0
    return kind(detail, retry_after_s=problem.get("retry_after_ms", whole_s * 1e3) / 1e3, **members)
