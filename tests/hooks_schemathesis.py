"""What schemathesis cannot know from the document alone: what a picture is."""

import cv2
import numpy as np
import schemathesis
from hypothesis import strategies as st

_PIXELS = [np.full((height, width, 3), shade, np.uint8) for height, width, shade in ((8, 8, 0), (30, 20, 128))]
PICTURES = st.sampled_from(
    [cv2.imencode(suffix, pixels)[1].tobytes() for suffix in (".jpg", ".png", ".webp") for pixels in _PIXELS]
)

schemathesis.openapi.format("binary", PICTURES)
for kind in ("image/jpeg", "image/png", "image/webp", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, PICTURES)
