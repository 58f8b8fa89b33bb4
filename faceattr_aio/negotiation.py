"""What the client wants: the form of the answer (Accept), how soon (Prefer), and the pipeline's options (query).
Knows no pipeline.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from multidict import MultiMapping
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header

from faceattr_aio.errors import BadOption, NotAcceptable
from faceattr_aio.pipeline import Options

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
