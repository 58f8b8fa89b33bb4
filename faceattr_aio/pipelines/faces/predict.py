"""The worker's half: one picture in, its faces out, in the order of work. Knows no server and no other pipeline."""

from pathlib import Path
from typing import Any

from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.faces import FaceOptions, FaceSettings, annotate, self_test
from faceattr_aio.pipelines.faces.detector import Detection, detect_small
from faceattr_aio.pipelines.faces.loading import load_attributes, load_detector

Result = dict[str, Any]


class FacePipeline:
    """Loaded nets of one worker. Not safe for threads: each worker has its own."""

    def __init__(self, plan: LoadSpec) -> None:
        """Raises StartError when what was loaded cannot be used here, or fails its self-test, which also warms it."""
        assert isinstance(plan.settings, FaceSettings)
        if plan.own_process:
            imaging.limit_threads()
        self.models = {name: file.sha256 for name, file in plan.files.items()}
        self._working_side = plan.working_side
        self._detector = load_detector(plan.settings, plan.files)
        self._attributes = load_attributes(plan.settings, plan.files)
        self_test.check(self.predict(self_test.PICTURE, FaceOptions(), Clock()))

    def predict(self, path: Path, options: FaceOptions, clock: Clock) -> Result:
        """The faces in the picture, the surest first; see docs/api.md for the members."""
        picture = imaging.read(path, self._working_side)
        clock.lap("decode")
        detect = self._detector.detect if options.detail == "normal" else detect_small(self._detector)
        found = detect(picture.pixels, options.min_confidence)
        detections = [face for face in found if face.is_within(picture.pixels)][: options.max_faces]
        clock.lap("detect")
        faces = [self._describe(picture, detection, options) for detection in detections]
        clock.lap("attributes")
        return {
            "image": {"width": picture.width, "height": picture.height, "format": picture.format},
            "faces": faces,
            "models": {"detector": self._detector.name} | self._attributes.names(options.attributes),
        }

    def encode(self, result: Result, media_type: str, path: Path) -> bytes:
        """The picture, at its working size, with boxes and labels."""
        picture = imaging.read(path, self._working_side)
        return imaging.encode(annotate.draw(picture, result["faces"]), media_type)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _describe(self, picture: imaging.Picture, detection: Detection, options: FaceOptions) -> Result:
        attributes = self._attributes.classify(picture.pixels, detection, options.attributes)
        return detection.shown_in(picture) | attributes
