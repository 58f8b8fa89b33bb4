"""What came of pictures as the plain data that clients read: an answer, a list of answers, a problem (RFC 9457). Knows
neither HTTP nor how it came about.
"""

from collections.abc import Sequence

from faceattr_aio.batch import Outcome
from faceattr_aio.errors import FaceattrError
from faceattr_aio.pipeline import Reply

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


def answer(replies: Sequence[Outcome], identity: str) -> Document:
    """One picture's answer as it is, several as a list in which a failure is an entry."""
    if len(replies) == 1 and isinstance(replies[0], Reply):
        return {"id": identity, **_picture(replies[0])}
    return {"id": identity, "results": [entry(one, identity) for one in replies]}


def entry(outcome: Outcome, identity: str) -> Document:
    """What is told of one picture beside others."""
    return {"error": problem(outcome, identity)} if isinstance(outcome, FaceattrError) else _picture(outcome)


def _picture(reply: Reply) -> Document:
    return {**reply.result, "cached": reply.source == "hit"}
