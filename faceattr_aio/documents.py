"""What came of pictures as the plain data that clients read: an answer, a list of answers, a problem (RFC 9457). Knows
neither HTTP nor how it came about.
"""

from collections.abc import Sequence

from faceattr_aio.batch import Outcome
from faceattr_aio.errors import FaceattrError

Document = dict[str, object]


def problem(error: FaceattrError, identity: str) -> Document:
    """The problem document of a failure."""
    return {
        "type": f"urn:faceattr:{error.kind}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": identity,
        **error.members,
    }


def entry(outcome: Outcome, identity: str) -> Document:
    """What is told of one picture among several."""
    if isinstance(outcome, FaceattrError):
        return {"error": problem(outcome, identity)}
    return {**outcome.result, "cached": outcome.source == "hit"}


def answer(entries: Sequence[Document], identity: str) -> Document:
    """One picture's answer as it is, several as a list."""
    return {"id": identity, **(entries[0] if len(entries) == 1 else {"results": list(entries)})}
