"""What a request wants, as its headers tell: the form of the answer, the pipeline's options, by when, and whether what
is known already will do. Knows no pipeline, and not whether there is room.
"""

import base64
import re
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import hdrs, web

from faceattr_aio.errors import NotAcceptable, UnsupportedMedia
from faceattr_aio.negotiation import choose_media_type, read_options, read_wait
from faceattr_aio.pipeline import JSON, NDJSON, Declaration, Options
from faceattr_aio.upload import is_accepted, is_multipart

CONTENT_DIGEST = "Content-Digest"
PREFER = "Prefer"
_SHA_256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):", re.ASCII)
"""RFC 9530; others than SHA-256 are passed over."""
_NOT_KNOWN = re.compile(r"\bno-(?:cache|store)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Wishes:
    """`deadline` is on the monotonic clock; `digest` the SHA-256 that the client tells of the picture, or nothing;
    `is_fresh` that the result is to be computed anew.
    """

    content_type: str
    media_type: str
    options: Options
    deadline: float
    digest: bytes
    is_fresh: bool


def read_deadline(request: web.Request, since: float, longest_s: float) -> float:
    """By when the answer is wanted, on the clock of `since`."""
    return since + read_wait(header(request, PREFER), longest_s)


def wants_stream(request: web.Request, declaration: Declaration) -> bool:
    """Whether the answer is wanted line by line, and can be."""
    accept = header(request, hdrs.ACCEPT)
    if NDJSON not in accept or JSON not in declaration.media_types:
        return False
    with suppress(NotAcceptable):  # as will be said to whoever may ask
        return choose_media_type(accept, (*declaration.media_types, NDJSON)) == NDJSON
    return False


def read_wishes(
    request: web.Request,
    declaration: Declaration,
    deadline: float,
    media_type: str = "",
    others: frozenset[str] = frozenset(),
) -> Wishes:
    """Raises FaceattrError for what nobody could fulfil; what Accept likes best, unless `media_type` is settled.
    `others` are in the query and no options of the pipeline.
    """
    content_type = header(request, hdrs.CONTENT_TYPE)
    media_type = media_type or choose_media_type(header(request, hdrs.ACCEPT), declaration.media_types)
    options = read_options(request.query, declaration.options, others)
    _check_content(request, content_type)
    digest = b"" if is_multipart(content_type) else _read_digest(request)
    is_fresh = bool(_NOT_KNOWN.search(request.headers.get(hdrs.CACHE_CONTROL, "")))
    return Wishes(content_type, media_type, options, deadline, digest, is_fresh)


def header(request: web.Request, name: str) -> str:
    """All lines of a header as one, in ASCII: what is not becomes a question mark."""
    return ",".join(request.headers.getall(name, [])).encode("ascii", "replace").decode()


def _check_content(request: web.Request, content_type: str) -> None:
    if not is_accepted(content_type):
        raise UnsupportedMedia(
            "Send multipart/form-data with a part named 'image', "
            "or the picture itself as image/* or application/octet-stream."
        )
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise UnsupportedMedia("A body with a Content-Encoding is not accepted; send it as it is.")


def _read_digest(request: web.Request) -> bytes:
    found = _SHA_256.search(header(request, CONTENT_DIGEST)) if CONTENT_DIGEST in request.headers else None
    return base64.b64decode(found[1]) if found else b""
