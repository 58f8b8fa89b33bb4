"""Draw a box and a label for each face on the picture."""

from typing import Any

import cv2
import numpy as np

from faceattr_aio.pipelines.faces import UNKNOWN
from faceattr_aio.pipelines.imaging import Picture, Pixels

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_COLOURS = {"female": (180, 90, 220), "male": (220, 140, 40)}
_PLAIN = (90, 160, 60)
_WHITE = (255, 255, 255)


def label(face: dict[str, Any]) -> str:
    """Return a text such as `Female (25-32)`, or the detector's confidence if no attribute was requested."""
    gender, age = face.get("gender"), face.get("age")
    if not (gender or age):
        return f"{face['confidence']:.0%}"
    words = [gender["label"].capitalize()] if gender else []
    if age:
        words.append(f"({age['bracket']})" if age["bracket"] != UNKNOWN else f"(about {age['years']:.0f})")
    return " ".join(words)


def draw(image: Picture, faces: list[dict[str, Any]]) -> Pixels:
    """Return a copy of the pixels with every face marked, the first face on top."""
    canvas = image.pixels.copy()
    for face in reversed(faces):
        _draw_face(canvas, face, image.scale)
    return canvas


def _draw_face(canvas: Pixels, face: dict[str, Any], scale: float) -> None:
    box = face["box"]
    x, y = round(box["x"] * scale), round(box["y"] * scale)
    right, bottom = round((box["x"] + box["width"]) * scale), round((box["y"] + box["height"]) * scale)
    colour = _COLOURS.get(face.get("gender", {}).get("label", ""), _PLAIN)
    stroke = max(1, round(max(canvas.shape) / 256))
    cv2.rectangle(canvas, (x, y), (right, bottom), colour, stroke, cv2.LINE_AA)
    _draw_label(canvas, label(face), x, y, colour)


def _draw_label(canvas: Pixels, text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Draw the text on a filled rectangle above the box, moved so that all of it is in the picture."""
    size = float(np.clip(max(canvas.shape) / 1000, 0.35, 2.0))
    stroke = max(1, round(size * 1.6))
    (wide, tall), below = cv2.getTextSize(text, _FONT, size, stroke)
    margin = max(2, tall // 3)
    height = tall + below + margin
    left = max(0, min(x, canvas.shape[1] - wide - 2 * margin))
    top = max(0, y - height)
    cv2.rectangle(canvas, (left, top), (left + wide + 2 * margin, top + height), colour, cv2.FILLED)
    cv2.putText(canvas, text, (left + margin, top + tall + margin // 2), _FONT, size, _WHITE, stroke, cv2.LINE_AA)
