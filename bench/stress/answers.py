"""Classifies an answer: its kind, its outcome for statistics, and the seconds to wait if it has `Retry-After`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.stress.templates import Check, Template

Kind = Literal["accepted", "refused", "rejected", "failed"]
REFUSALS = (429, 503)
LONGEST_WAIT_S = 60.0
TIMED_OUT, RESET, UNREACHABLE = "timed out", "reset", "no connection"
_WORDS = {
    "TimeoutError": TIMED_OUT,
    "ConnectionRefusedError": UNREACHABLE,
    "ConnectionResetError": RESET,
    "BrokenPipeError": RESET,
    "HTTPConnectionClosed": RESET,
    "ServerDisconnectedError": RESET,
    "HTTPParseError": "no HTTP",
}


@dataclass(frozen=True)
class Answer:
    """`outcome` is a status or the name of a fault; `wait_s` is the value of Retry-After, or None."""

    kind: Kind
    outcome: str
    wait_s: float | None = None


def judge(template: Template, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Classify an answer."""
    if status in REFUSALS and template.check.status not in REFUSALS:
        return Answer("refused", str(status), _wait(headers))
    fault = _fault(template.check, status, headers, body)
    if fault:
        return Answer("failed", fault)
    return Answer("rejected" if template.broken else "accepted", str(status))


def no_answer(error: BaseException) -> Answer:
    """Classify a request without an answer. A client may have wrapped the cause, even twice."""
    reason: BaseException | None = error
    while reason is not None:
        if word := _WORDS.get(type(reason).__name__):
            return Answer("failed", word)
        reason = reason.__cause__ or reason.__context__
    return Answer("failed", type(error).__name__)


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After; None without one, or if it is a date, which is rare."""
    value = headers.get("Retry-After") or headers.get("retry-after") or ""
    return min(float(value), LONGEST_WAIT_S) if value.strip().isdecimal() else None


def _fault(check: Check, status: int, headers: Mapping[str, str], body: bytes) -> str:
    """The difference from the expected answer; empty if there is none."""
    content_type = headers.get("Content-Type") or headers.get("content-type") or ""
    if status != check.status:
        return str(status)
    if not content_type.startswith(check.type):
        return f"{status}, but {content_type or 'no type'}"
    if len(body) < check.least_bytes:
        return f"{status}, but too short"
    return _fault_in_json(check, status, body) if check.has or check.length else ""


def _fault_in_json(check: Check, status: int, body: bytes) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return f"{status}, but no JSON"
    for path in check.has:
        if _find(document, path) is None:
            return f"{status}, but without {path}"
    for path, length in check.length.items():
        found = _find(document, path)
        if not isinstance(found, list) or len(found) != length:
            return f"{status}, but {path} has not {length} items"
    return ""


def _find(document: Any, path: str) -> Any:
    """The value at a dotted path, in which a number is an index into a list; None if there is none."""
    for key in path.split("."):
        try:
            document = document[int(key)] if isinstance(document, list) else document[key]
        except (LookupError, TypeError, ValueError):
            return None
    return document
