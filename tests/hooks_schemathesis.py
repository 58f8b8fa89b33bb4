"""Hooks for schemathesis: pictures as bodies, which it cannot generate from the document."""

import cv2
import numpy as np
import schemathesis
from hypothesis import strategies as st

from faceattr_aio.config.schema import Config

MOST_PARTS = Config().upload.max_parts
_PIXELS = [np.full((height, width, 3), shade, np.uint8) for height, width, shade in ((8, 8, 0), (30, 20, 128))]
PICTURES = st.sampled_from(
    [cv2.imencode(suffix, pixels)[1].tobytes() for suffix in (".jpg", ".png", ".webp") for pixels in _PIXELS]
)

schemathesis.openapi.format("binary", PICTURES)
for kind in ("image/jpeg", "image/png", "image/webp", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, PICTURES)


@schemathesis.hook
def filter_body(context: schemathesis.HookContext, body: object) -> bool:  # noqa: ARG001  # schemathesis passes it by name
    """Skip forms that no schema can exclude: more than `max_parts` parts when each picture counts as one, or a list in
    another field.
    """
    if not isinstance(body, dict) or not isinstance(body.get("image"), list):
        return True
    if any(isinstance(value, list) for name, value in body.items() if name != "image"):
        return False
    return len(body) > MOST_PARTS or len(body) - 1 + len(body["image"]) <= MOST_PARTS
