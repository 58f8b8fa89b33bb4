"""The worker's half: one picture in, the landmarks of the person in it out, in the order of work. Knows no server and
no other pipeline.
"""

from pathlib import Path
from typing import Any

from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.holistic import HolisticOptions, HolisticSettings, annotate, model_names, self_test
from faceattr_aio.pipelines.holistic.answer import describe
from faceattr_aio.pipelines.holistic.loading import load
from faceattr_aio.pipelines.holistic.sharpness import refuse_blurred

Result = dict[str, Any]


class HolisticPipeline:
    """Loaded nets of one worker. Not safe for threads: each worker has its own."""

    def __init__(self, plan: LoadSpec) -> None:
        """Raises StartError when what was loaded cannot be used here, or fails its self-test, which also warms it."""
        assert isinstance(plan.settings, HolisticSettings)
        if plan.own_process:
            imaging.limit_threads()
        self.models = {name: file.sha256 for name, file in plan.files.items()}
        self._working_side = plan.working_side
        self._min_sharpness = plan.settings.min_sharpness
        self._person = load(plan.files)
        for complexity in 0, 1:
            options = HolisticOptions(complexity=complexity, min_sharpness=0)
            self_test.check(self.predict(self_test.PICTURE, options, Clock()))

    def predict(self, path: Path, options: HolisticOptions, clock: Clock) -> Result:
        """The landmarks of the most visible person; see docs/holistic.md for the members. Raises TooBlurred."""
        picture = imaging.read(path, min(options.working_side, self._working_side))
        clock.lap("decode")
        asked = options.min_sharpness
        refuse_blurred(picture.pixels, self._min_sharpness if asked is None else asked)
        person = self._person.find(picture.pixels, options.parts, options.complexity, clock)
        height, width = picture.pixels.shape[:2]
        return {
            "image": {"width": picture.width, "height": picture.height, "format": picture.format},
            **describe(person, options.parts, width, height),
            "models": model_names(options.parts),
        }

    def encode(self, result: Result, media_type: str, path: Path) -> bytes:
        """The picture, no larger than the server's working side, with the skeleton."""
        picture = imaging.read(path, self._working_side)
        return imaging.encode(annotate.draw(picture.pixels, result["landmarks"]), media_type)

    def close(self) -> None:
        """Nothing is held but memory."""
