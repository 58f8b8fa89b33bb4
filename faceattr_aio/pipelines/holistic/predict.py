"""The holistic pipeline in a worker: decode, check sharpness, find landmarks, draw; with a self-test at the start."""

from pathlib import Path
from typing import Any

import cv2

from faceattr_aio.errors import TooBlurred
from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.holistic import HolisticOptions, HolisticSettings, annotate, model_names
from faceattr_aio.pipelines.holistic.person import load_finder
from faceattr_aio.pipelines.holistic.skeleton import describe
from faceattr_aio.pipelines.imaging import Pixels
from faceattr_aio.pipelines.nets import self_test_error

Result = dict[str, Any]

TEST_PICTURE = Path(__file__).with_name("self-test.jpg")
"""160 x 160: Eileen Collins (NASA, public domain), from the chest up."""
_NOSES = {"pose": (0, 0.45, 0.26), "face": (1, 0.43, 0.25)}
"""The tip of the nose in the test picture: its index in each part, x and y."""
_TOLERANCE = 0.03


class HolisticPipeline:
    """The loaded networks of one worker. Not thread-safe: each worker has its own."""

    def __init__(self, spec: LoadSpec) -> None:
        """Load the networks and run the self-test, which also warms them up.

        Raises:
            StartError: OpenVINO cannot be imported, or the self-test fails.

        """
        assert isinstance(spec.settings, HolisticSettings)
        if spec.own_process:
            imaging.limit_threads()
        self.models = {name: file.sha256 for name, file in spec.files.items()}
        self._working_side = spec.working_side
        self._min_sharpness = spec.settings.min_sharpness
        self._person = load_finder(spec.files)
        for options in (HolisticOptions(complexity=complexity, min_sharpness=0) for complexity in (0, 1)):
            check_self_test(self.predict(TEST_PICTURE, options, Clock()))

    def predict(self, path: Path, options: HolisticOptions, clock: Clock) -> Result:
        """Return the landmarks of the most visible person; docs/holistic.md lists the members.

        Raises TooBlurred, UnreadableImage, TooComplex or TooManyPixels.
        """
        image = imaging.read(path, min(options.working_side, self._working_side))
        clock.lap("decode")
        check_sharpness(image.pixels, self._min_sharpness if options.min_sharpness is None else options.min_sharpness)
        person = self._person.find(image.pixels, options.parts, options.complexity, clock)
        height, width = image.pixels.shape[:2]
        return {
            "image": {"width": image.width, "height": image.height, "format": image.format},
            **describe(person, options.parts, width, height),
            "models": model_names(options.parts),
        }

    def encode(self, result: Result, media_type: str, path: Path) -> bytes:
        """Return the picture, scaled to the server's working side, with the skeleton, encoded as `media_type`."""
        image = imaging.read(path, self._working_side)
        return imaging.encode(annotate.draw(image.pixels, result["landmarks"]), media_type)

    def close(self) -> None:
        """Do nothing: the pipeline holds only memory."""


def sharpness(pixels: Pixels) -> float:
    """Return the variance of the Laplacian: 0 for a picture of one colour, several hundred for a sharp photo."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def check_sharpness(pixels: Pixels, minimum: float) -> None:
    """Raise TooBlurred if the sharpness is below `minimum`; compute nothing if that is 0."""
    if minimum and (found := sharpness(pixels)) < minimum:
        detail = f"The picture's sharpness is {found:.1f}, below the minimum of {minimum:g}."
        raise TooBlurred(detail, sharpness=round(found, 1))


def check_self_test(result: Result) -> None:
    """Raise StartError if `result` cannot be right for the test picture."""
    for part, (number, x, y) in _NOSES.items():
        points = result["landmarks"][part]
        if not points:
            raise self_test_error(f"no {part} is found")
        if max(abs(points[number]["x"] - x), abs(points[number]["y"] - y)) > _TOLERANCE:
            raise self_test_error(f"the nose of the {part} is in the wrong place")
