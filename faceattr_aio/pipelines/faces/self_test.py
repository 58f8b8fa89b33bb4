"""A face whose answer is known, for each worker to try before it takes work: what was loaded may be whole and still not
compute what it should on this machine. Knows no net.
"""

from pathlib import Path
from typing import Any

from faceattr_aio.errors import StartError

PICTURE = Path(__file__).with_name("self-test.jpg")
"""160 x 160: Eileen Collins at 37 (NASA, public domain), her face in the middle of it."""
_MIDDLE = range(60, 100)
_YEARS = 15, 60


def check(result: dict[str, Any]) -> None:
    """Raises StartError when this is no answer for the picture."""
    faces = [face for face in result["faces"] if _is_in_the_middle(face["box"])]
    if not faces:
        raise _failed("no face is found in it")
    gender, age = faces[0]["gender"], faces[0]["age"]
    if gender["label"] == "male" or not 0.5 <= gender["probability"] <= 1:  # noqa: PLR2004  # the likelier of two
        raise _failed(f"the gender is {gender['label']} with a probability of {gender['probability']}")
    if not _YEARS[0] <= age["years"] <= _YEARS[1]:
        raise _failed(f"the age is {age['years']}")


def _is_in_the_middle(box: dict[str, int]) -> bool:
    return box["x"] + box["width"] // 2 in _MIDDLE and box["y"] + box["height"] // 2 in _MIDDLE


def _failed(said: str) -> StartError:
    return StartError(
        f"The models do not work here: of a picture whose answer is known, {said}. "
        "Run 'faceattr-aio models verify', or choose another backend or detector."
    )
