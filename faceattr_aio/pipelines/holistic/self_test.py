"""A person whose landmarks are known, for each worker to try before it takes work: what was loaded may be whole and
still not compute what it should on this machine. Knows no net.
"""

from pathlib import Path
from typing import Any

from faceattr_aio.errors import StartError

PICTURE = Path(__file__).with_name("self-test.jpg")
"""160 x 160: Eileen Collins (NASA, public domain), from the chest up."""
_KNOWN = {"pose": (0, 0.45, 0.26), "face": (1, 0.43, 0.25)}
"""The tip of the nose: its number in each part, and its place."""
_NEAR = 0.03


def check(result: dict[str, Any]) -> None:
    """Raises StartError when this is no answer for the picture."""
    for part, (number, x, y) in _KNOWN.items():
        points = result["landmarks"][part]
        if not points:
            raise _failed(f"no {part} is found")
        if max(abs(points[number]["x"] - x), abs(points[number]["y"] - y)) > _NEAR:
            raise _failed(f"the nose of the {part} is elsewhere")


def _failed(said: str) -> StartError:
    return StartError(
        f"The models do not work here: in a picture whose answer is known, {said}. Run 'faceattr-aio models verify'."
    )
