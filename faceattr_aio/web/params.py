"""What a request wants, as its headers tell: the form of the answer, the pipeline's options, by when, and whether what
is known already will do. Knows no pipeline, and not whether there is room.
"""

import base64
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiohttp import hdrs, web
from multidict import MultiMapping
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header

from faceattr_aio.errors import BadOption, NotAcceptable, UnsupportedMedia
from faceattr_aio.pipeline import JSON, NDJSON, Declaration, Options
from faceattr_aio.uploads.receive import is_accepted, is_multipart

CONTENT_DIGEST = "Content-Digest"
PREFER = "Prefer"
_SHA_256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):", re.ASCII)
"""RFC 9530; others than SHA-256 are passed over."""
_NOT_KNOWN = re.compile(r"\bno-(?:cache|store)\b", re.IGNORECASE)


@dataclass(frozen=True)
class RequestParams:
    """`deadline` is on the monotonic clock; `digest` the SHA-256 that the client tells of the picture, or nothing;
    `is_fresh` that the result is to be computed anew.
    """

    content_type: str
    media_type: str
    options: Options
    deadline: float
    digest: bytes
    is_fresh: bool


def parse_deadline(request: web.Request, since: float, longest_s: float) -> float:
    """By when the answer is wanted, on the clock of `since`."""
    return since + read_wait(header(request, PREFER), longest_s)


def accepts_stream(request: web.Request, declaration: Declaration) -> bool:
    """Whether the answer is wanted line by line, and can be."""
    accept = header(request, hdrs.ACCEPT)
    if NDJSON not in accept or JSON not in declaration.media_types:
        return False
    with suppress(NotAcceptable):  # as will be said to whoever may ask
        return choose_media_type(accept, (*declaration.media_types, NDJSON)) == NDJSON
    return False


def parse_params(
    request: web.Request,
    declaration: Declaration,
    deadline: float,
    media_type: str = "",
    others: frozenset[str] = frozenset(),
) -> RequestParams:
    """Raises FaceattrError for what nobody could fulfil; what Accept likes best, unless `media_type` is settled.
    `others` are in the query and no options of the pipeline.
    """
    content_type = header(request, hdrs.CONTENT_TYPE)
    media_type = media_type or choose_media_type(header(request, hdrs.ACCEPT), declaration.media_types)
    options = read_options(request.query, declaration.options, others)
    _check_content(request, content_type)
    digest = b"" if is_multipart(content_type) else _read_digest(request)
    is_fresh = bool(_NOT_KNOWN.search(request.headers.get(hdrs.CACHE_CONTROL, "")))
    return RequestParams(content_type, media_type, options, deadline, digest, is_fresh)


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


_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
"""Whole ones by RFC 7240; we also take less."""
_REMEMBERED = 64
"""Headers that need no second reading."""


@lru_cache(_REMEMBERED)
def choose_media_type(accept: str, offered: tuple[str, ...]) -> str:
    """The offered type that the Accept header likes best; the first offered when it likes several equally.

    Raises NotAcceptable (RFC 9110, section 12.5.1).
    """
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    liked = {media_type: _quality(media_type, ranges) for media_type in offered}
    best = max(offered, key=lambda media_type: liked[media_type])
    if liked[best] <= 0:
        raise NotAcceptable(f"The answer can be {', '.join(offered)}; Accept asks for {accept!r}.")
    return best


def _media_range(text: str) -> tuple[str, float]:
    name, parameters = parse_options_header(text.strip())
    try:
        quality = float(parameters.get(b"q", b"1"))
    except ValueError:
        quality = 0.0
    return name.decode("latin-1"), quality if 0 <= quality <= 1 else 0.0


def _quality(media_type: str, ranges: Iterable[tuple[str, float]]) -> float:
    """The quality of the most specific range that fits; 0 when none does."""
    family = media_type.partition("/")[0]
    specific = {"*/*": 1, f"{family}/*": 2, media_type: 3}
    fitting = [(specific[name], quality) for name, quality in ranges if name in specific]
    return max(fitting, default=(0, 0.0))[1]


def read_wait(prefer: str, default: float) -> float:
    """The seconds of `wait` in the Prefer header. What cannot be read is no preference (RFC 7240, section 2), and of
    several the first counts.
    """
    for preference in prefer.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().strip('"')
            return float(seconds) if _SECONDS.fullmatch(seconds) else default
    return default


def prefers_async(prefer: str) -> bool:
    """Whether the Prefer header asks to be answered later (RFC 7240, section 4.1)."""
    return any(one.partition(";")[0].strip().lower() == "respond-async" for one in prefer.split(","))


def read_options(query: MultiMapping[str], options: type[Options], others: frozenset[str] = frozenset()) -> Options:
    """The options in the query, in which there may be `others` that are not the pipeline's. Raises BadOption that names
    each wrong one and what is allowed.
    """
    repeated = {name for name in query if len(query.getall(name)) > 1}
    if repeated:
        raise BadOption(f"{', '.join(sorted(repeated))}: given more than once.")
    try:
        return options.model_validate({name: value for name, value in query.items() if name not in others})
    except ValidationError as error:
        raise BadOption("; ".join(_complaint(wrong, options) for wrong in error.errors()) + ".") from error


def _complaint(wrong: Any, options: type[Options]) -> str:
    name = str(wrong["loc"][0]) if wrong["loc"] else "options"
    if wrong["type"] == "extra_forbidden":
        return f"{name}: there is no such option; there are {', '.join(options.model_fields)}"
    return f"{name}: {wrong['msg'][0].lower()}{wrong['msg'][1:]}, not {wrong['input']!r}"
