"""The faces pipeline in a worker: decode, detect, classify and draw, with a self-test at the start."""

from pathlib import Path
from typing import Any

from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.faces import FaceOptions, FaceSettings, annotate
from faceattr_aio.pipelines.faces.attributes import load_attributes
from faceattr_aio.pipelines.faces.detectors import detect_in_tiles, load_detector
from faceattr_aio.pipelines.nets import self_test_error

Result = dict[str, Any]

TEST_PICTURE = Path(__file__).with_name("self-test.jpg")
"""160 x 160: Eileen Collins at 37 (NASA, public domain), her face in the centre."""
_CENTRE = range(60, 100)
_MIN_YEARS, _MAX_YEARS = 15, 60
_OTHERWISE = ", or choose another backend or detector"


class FacePipeline:
    """The loaded networks of one worker. Not thread-safe: each worker has its own."""

    def __init__(self, spec: LoadSpec) -> None:
        """Load the networks and run the self-test, which also warms them up.

        Raises:
            StartError: a network cannot be loaded here, or the self-test fails.

        """
        assert isinstance(spec.settings, FaceSettings)
        if spec.own_process:
            imaging.limit_threads()
        self.models = {name: file.sha256 for name, file in spec.files.items()}
        self._working_side = spec.working_side
        self._detector = load_detector(spec.settings, spec.files)
        self._attributes = load_attributes(spec.settings, spec.files)
        check_self_test(self.predict(TEST_PICTURE, FaceOptions(), Clock()))

    def predict(self, path: Path, options: FaceOptions, clock: Clock) -> Result:
        """Return the faces in the picture, the highest confidence first; docs/api.md lists the members.

        Raises UnreadableImage, TooComplex or TooManyPixels.
        """
        image = imaging.read(path, self._working_side)
        pixels = image.pixels
        clock.lap("decode")
        if options.detail == "high":
            found = detect_in_tiles(self._detector, pixels, options.min_confidence)
        else:
            found = self._detector.detect(pixels, options.min_confidence)
        found = [face for face in found if face.is_within(pixels)][: options.max_faces]
        clock.lap("detect")
        faces = [face.describe(image) | self._attributes.classify(pixels, face, options.attributes) for face in found]
        clock.lap("attributes")
        return {
            "image": {"width": image.width, "height": image.height, "format": image.format},
            "faces": faces,
            "models": {"detector": self._detector.name} | self._attributes.names(options.attributes),
        }

    def encode(self, result: Result, media_type: str, path: Path) -> bytes:
        """Return the picture, scaled to the working side, with boxes and labels, encoded as `media_type`."""
        image = imaging.read(path, self._working_side)
        return imaging.encode(annotate.draw(image, result["faces"]), media_type)

    def close(self) -> None:
        """Do nothing: the pipeline holds only memory."""


def check_self_test(result: Result) -> None:
    """Raise StartError if `result` cannot be right for the test picture."""
    faces = [face for face in result["faces"] if _is_in_the_centre(face["box"])]
    if not faces:
        raise self_test_error("no face is found", _OTHERWISE)
    gender, age = faces[0]["gender"], faces[0]["age"]
    if gender["label"] == "male" or not 0.5 <= gender["probability"] <= 1:  # noqa: PLR2004  # the likelier of two
        raise self_test_error(
            f"the gender is {gender['label']} with a probability of {gender['probability']}", _OTHERWISE
        )
    if not _MIN_YEARS <= age["years"] <= _MAX_YEARS:
        raise self_test_error(f"the age is {age['years']}", _OTHERWISE)


def _is_in_the_centre(box: dict[str, int]) -> bool:
    return box["x"] + box["width"] // 2 in _CENTRE and box["y"] + box["height"] // 2 in _CENTRE
