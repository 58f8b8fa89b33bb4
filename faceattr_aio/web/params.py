"""Parses headers and query: media type, options, deadline, digest, cache control."""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from aiohttp import hdrs, web
from multidict import MultiMapping
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header

from faceattr_aio.errors import BadOption, NotAcceptable, UnsupportedMedia
from faceattr_aio.pipeline import JSON, NDJSON, Declaration, Options
from faceattr_aio.uploads.receive import is_accepted, is_multipart

CONTENT_DIGEST = "Content-Digest"
PREFER = "Prefer"
PREFERENCE_APPLIED = "Preference-Applied"
_SHA_256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):", re.ASCII)
"""RFC 9530. Digests by other algorithms are ignored."""
_NO_CACHE = re.compile(r"\bno-(?:cache|store)\b", re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
"""Integers by RFC 7240, section 4.3; a fraction is accepted as well."""
_CACHED_HEADERS = 64
"""Size of the cache of parsed Accept headers."""


@dataclass(frozen=True)
class RequestParams:
    """The parsed headers and query of one request.

    `deadline` is on the monotonic clock, `digest` is the SHA-256 of `Content-Digest` or empty, `no_cache` is true when
    Cache-Control asks for a fresh result.
    """

    content_type: str
    media_type: str
    options: Options
    deadline: float
    digest: bytes
    no_cache: bool

    @classmethod
    def parse(
        cls, request: web.Request, declaration: Declaration, deadline: float, fixed: str = "", other: Iterable[str] = ()
    ) -> Self:
        """Parse the headers and the query.

        Args:
            request: the request; its body is not read.
            declaration: the pipeline's options and media types.
            deadline: on the monotonic clock.
            fixed: the media type of the answer, or empty to choose it by the Accept header.
            other: names in the query that are not options of the pipeline.

        Raises:
            NotAcceptable, BadOption, UnsupportedMedia: the request cannot be served as it is.

        """
        content_type = header(request, hdrs.CONTENT_TYPE)
        media_type = fixed or choose_media_type(header(request, hdrs.ACCEPT), declaration.media_types)
        options = parse_options(request.query, declaration.options, other)
        _check_content(request, content_type)
        sent = CONTENT_DIGEST in request.headers and not is_multipart(content_type)
        match = _SHA_256.search(header(request, CONTENT_DIGEST)) if sent else None
        digest = base64.b64decode(match[1]) if match else b""
        control = header(request, hdrs.CACHE_CONTROL) if hdrs.CACHE_CONTROL in request.headers else ""
        return cls(content_type, media_type, options, deadline, digest, no_cache=bool(_NO_CACHE.search(control)))


def wait_of(request: web.Request, default: float) -> float:
    """Return the seconds of `Prefer: wait` of the request, or the default."""
    return parse_wait(header(request, PREFER), default)


def accepts_stream(request: web.Request, declaration: Declaration) -> bool:
    """Return whether Accept prefers NDJSON and the pipeline has JSON results."""
    try:
        chosen = choose_media_type(header(request, hdrs.ACCEPT), (*declaration.media_types, NDJSON))
    except NotAcceptable:  # raised again when the request is parsed
        return False
    return chosen == NDJSON and JSON in declaration.media_types


def prefers_job(request: web.Request, declaration: Declaration) -> bool:
    """Return whether Prefer has respond-async and Accept takes JSON. Raises NotAcceptable."""
    offered = declaration.media_types
    return prefers_async(request) and choose_media_type(header(request, hdrs.ACCEPT), offered) == JSON


def prefers_async(request: web.Request) -> bool:
    """Return whether the Prefer header has respond-async (RFC 7240, section 4.1)."""
    preferences = header(request, PREFER).split(",")
    return any(one.partition(";")[0].strip().lower() == "respond-async" for one in preferences)


def header(request: web.Request, name: str) -> str:
    """Return all values of a header joined by commas, in ASCII; other characters become question marks."""
    return ",".join(request.headers.getall(name, ())).encode("ascii", "replace").decode()


@lru_cache(_CACHED_HEADERS)
def choose_media_type(accept: str, offered: tuple[str, ...]) -> str:
    """Return the offered type with the highest quality in Accept; the first offered one of several with the same.

    Raises NotAcceptable (RFC 9110, section 12.5.1).
    """
    ranges = [_parse_range(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    qualities = {media_type: _quality(media_type, ranges) for media_type in offered}
    best = max(offered, key=lambda media_type: qualities[media_type])
    if qualities[best] <= 0:
        raise NotAcceptable(f"The answer can be {', '.join(offered)}; Accept asks for {accept!r}.")
    return best


def _parse_range(text: str) -> tuple[str, float]:
    name, parameters = parse_options_header(text.strip())
    try:
        quality = float(parameters.get(b"q", b"1"))
    except ValueError:
        quality = 0.0
    return name.decode("latin-1"), quality if 0 <= quality <= 1 else 0.0


def _quality(media_type: str, ranges: Iterable[tuple[str, float]]) -> float:
    """Return the quality of the most specific range that matches; 0 when none does."""
    family = media_type.partition("/")[0]
    precedence = {"*/*": 1, f"{family}/*": 2, media_type: 3}
    matching = [(precedence[name], quality) for name, quality in ranges if name in precedence]
    return max(matching, default=(0, 0.0))[1]


def parse_wait(prefer: str, default: float) -> float:
    """Return the seconds of `wait` in a Prefer header.

    A value that cannot be parsed is ignored (RFC 7240, section 2); the first of several counts.
    """
    for preference in prefer.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().strip('"')
            return float(seconds) if _SECONDS.fullmatch(seconds) else default
    return default


def parse_options(query: MultiMapping[str], options: type[Options], other: Iterable[str] = ()) -> Options:
    """Return the options in the query; the names in `other` are not options.

    Raises BadOption with the name and the range of each invalid one.
    """
    if query and (repeated := {name for name in query if len(query.getall(name)) > 1}):
        raise BadOption(f"{', '.join(sorted(repeated))}: given more than once.")
    try:
        return options.model_validate({name: query[name] for name in query.keys() - other} if query else {})
    except ValidationError as error:
        raise BadOption("; ".join(_describe(wrong, options) for wrong in error.errors()) + ".") from error


def _describe(wrong: Any, options: type[Options]) -> str:
    name = str(wrong["loc"][0]) if wrong["loc"] else "options"
    if wrong["type"] == "extra_forbidden":
        return f"{name}: there is no such option; the options are {', '.join(options.model_fields)}"
    return f"{name}: {wrong['msg'][0].lower()}{wrong['msg'][1:]}, not {wrong['input']!r}"


def _check_content(request: web.Request, content_type: str) -> None:
    if not is_accepted(content_type):
        raise UnsupportedMedia(
            "Send multipart/form-data with a part named 'image', "
            "or the picture itself as image/* or application/octet-stream."
        )
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise UnsupportedMedia("A body with a Content-Encoding is not accepted; send it without one.")
