"""How sharp a picture is, and the refusal of one that is not sharp enough. Knows no net."""

import cv2

from faceattr_aio.errors import TooBlurred
from faceattr_aio.pipelines.imaging import Pixels


def sharpness(pixels: Pixels) -> float:
    """The variance of the Laplacian: 0 for a picture of one colour, some hundreds and more for a sharp photo."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def refuse_blurred(pixels: Pixels, least: float) -> None:
    """Raises TooBlurred for pixels less sharp than that; looks at none when it is 0."""
    if least and (found := sharpness(pixels)) < least:
        raise TooBlurred(
            f"The picture's sharpness is {found:.1f}, and at least {least:g} is asked for.", sharpness=round(found, 1)
        )
